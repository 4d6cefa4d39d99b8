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
/// What the method has to gain: it rounds more, and its three operators are harder to fuse with
/// others.
constexpr double kLeastGain = 1.05;
/// What is slower by more than that, its operators alone, is left aside.
constexpr double kMostBeforeFusion = 2;

/// Of a graph's plan: the best one, or that of every operator alone, which is found sooner.
double predicted_time(const graph::Graph& graph, const Machine& machine, bool fused) {
  const graph::Graph prepared = fusion::prepare(graph);
  const search::GroupTime time = prediction(prepared, machine);
  const fusion::FusionPlan plan = fused ? search::find_plan(prepared, machine, time)
                                        : search::find_unfused_plan(prepared, machine, time);
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
  const double most = predicted_time(direct, machine, false) / kLeastGain;
  std::map<int, graph::Graph> tiled;  // by tile
  std::map<int, double> alone;
  for (const int m : {2, 4, 6}) {
    if (rewrite::typical_error(m) > kLargestError) continue;
    rewrite::WinogradOptions options;
    options.output_tile = [m](const WinogradShape&) { return m; };
    options.transforms_weights = false;
    Result<graph::Graph> graph = rewrite::winograd(direct, options);
    if (!graph.ok()) continue;
    alone[m] = predicted_time(*graph, machine, false);
    tiled[m] = graph.take();
  }
  auto fastest_of = [&](const std::map<int, double>& times) {
    double least = most;
    int best = 0;
    for (const auto& [m, time] : times) {
      if (time < least) least = time, best = m;
    }
    return best;
  };
  if (const int best = fastest_of(alone)) return best;
  // What the operators pass through memory may stay in rings.
  std::map<int, double> together;
  for (const auto& [m, graph] : tiled) {
    if (alone[m] < kMostBeforeFusion * most) together[m] = predicted_time(graph, machine, true);
  }
  return fastest_of(together);
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
