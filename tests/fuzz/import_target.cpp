#include <fmt/format.h>

#include "fusion/prepare.h"
#include "graph/text.h"
#include "rewrite/rewrite.h"
#include "rewrite/winograd.h"
#include "tests/fuzz/imported_model.h"

namespace corf::fuzz {
namespace {

/// What is unsound is so at the end, too, but for what a later pass removes; which pass made it is
/// asked now and then.
Finding rewritten(graph::Graph graph, bool verify_each) {
  if (Finding unsound = look_at(graph, "import"); !unsound.empty()) return unsound;
  auto rewritten = rewrite::rewrite(std::move(graph), {}, {.verify_each = verify_each});
  if (!rewritten) return "rewriting fails: " + rewritten.error().message;
  auto winograd = rewrite::winograd(*rewritten, {});
  if (!winograd) return "Winograd's method fails: " + winograd.error().message;
  return look_at(fusion::prepare(*winograd), "preparation");
}

}  // namespace

Finding import_target(Choices choices) {
  Finding finding;
  ImportedModel model = imported_model(choices, {}, finding);
  if (!finding.empty()) return finding;
  if (choices.chance(64)) {
    damage_model(model.proto, choices);
    model.graph = import_proto(model.proto);
  }
  if (!model.graph) return look_at(model.graph.error());
  const bool verify_each = choices.chance(64);
  return rewritten(model.graph.take(), verify_each);
}

}  // namespace corf::fuzz
