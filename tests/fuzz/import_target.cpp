#include <fmt/format.h>

#include "fusion/prepare.h"
#include "graph/text.h"
#include "rewrite/rewrite.h"
#include "rewrite/winograd.h"
#include "tests/fuzz/imported_model.h"

namespace corf::fuzz {
namespace {

Finding rewritten(graph::Graph graph) {
  if (Finding unsound = look_at(graph, "import"); !unsound.empty()) return unsound;
  auto rewritten = rewrite::rewrite(std::move(graph), {}, {.verify_each = true});
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
  return model.graph ? rewritten(model.graph.take()) : look_at(model.graph.error());
}

}  // namespace corf::fuzz
