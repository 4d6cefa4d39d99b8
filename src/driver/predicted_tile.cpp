#include "driver/predicted_tile.h"

#include <map>
#include <memory>

#include "driver/prediction.h"
#include "fusion/prepare.h"
#include "fusion/split_span.h"
#include "search/find_plan.h"

namespace corf::driver {
namespace {

using rewrite::WinogradShape;

constexpr double kLargestError = 1e-5;
/// What the method has to gain: it rounds more, and its three operators are harder to fuse.
constexpr double kLeastGain = 1.05;

double predicted_time(const graph::Graph& graph, const Machine& machine) {
  const graph::Graph prepared = fusion::prepare(graph);
  const search::GroupTime time = prediction(prepared, machine);
  const fusion::FusionPlan plan = search::find_unfused_plan(prepared, machine, time);
  fusion::DoneSoFar done;
  double sum = 0;
  for (const fusion::GroupPlan& group : plan.groups) {
    if (!group.nests.empty()) sum += time(plan.storage, group, done.before_next());
    done.add(group);
  }
  return sum;
}

int fastest_tile(const WinogradShape& shape, const Machine& machine) {
  const graph::Graph direct = rewrite::lone_convolution(shape);
  double least = predicted_time(direct, machine) / kLeastGain;
  int best = 0;
  for (const int m : {2, 4, 6}) {
    if (rewrite::typical_error(m) > kLargestError) continue;
    rewrite::WinogradOptions options;
    options.output_tile = [m](const WinogradShape&) { return m; };
    options.transforms_weights = false;
    const Result<graph::Graph> tiled = rewrite::winograd(direct, options);
    if (!tiled.ok()) continue;
    const double time = predicted_time(*tiled, machine);
    if (time < least) least = time, best = m;
  }
  return best;
}

}  // namespace

std::function<int(const WinogradShape&)> predicted_output_tile(const Machine& machine) {
  return [&machine,
          known = std::make_shared<std::map<WinogradShape, int>>()](const WinogradShape& shape) {
    const auto [at, fresh] = known->try_emplace(shape, 0);
    if (fresh) at->second = fastest_tile(shape, machine);
    return at->second;
  };
}

}  // namespace corf::driver
