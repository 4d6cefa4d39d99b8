#include "driver/predicted_tile.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>

#include "driver/prediction.h"
#include "fusion/prepare.h"
#include "fusion/split_span.h"
#include "search/find_plan.h"
#include "support/checked.h"

namespace corf::driver {
namespace {

using rewrite::WinogradShape;

constexpr std::array kTiles = {2, 4, 6};
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
  for (const int m : kTiles) {
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

/// Points of whole tiles for each point of the result.
double points_in_tiles(const WinogradShape& shape, int64_t m) {
  const auto in_tiles = static_cast<double>(round_up(shape.height, m) * round_up(shape.width, m));
  return in_tiles / static_cast<double>(shape.height * shape.width);
}

/// The greater by the smaller.
double ratio(double a, double b) { return std::max(a / b, b / a); }

double ratio_of_points(const WinogradShape& a, const WinogradShape& b) {
  const auto points = [](const WinogradShape& shape) {
    return static_cast<double>(shape.batch * shape.height * shape.width);
  };
  return ratio(points(a), points(b));
}

bool is_near(const WinogradShape& a, const WinogradShape& b) {
  constexpr double kMostPoints = 1.5, kMostInTiles = 1.1;
  if (a.channels != b.channels || a.outputs != b.outputs || a.planes != b.planes) return false;
  if (ratio_of_points(a, b) > kMostPoints) return false;
  return std::ranges::all_of(kTiles, [&](int64_t m) {
    return ratio(points_in_tiles(a, m), points_in_tiles(b, m)) <= kMostInTiles;
  });
}

std::optional<int> nearest_tile(const KnownTiles::Tiles& tiles, const WinogradShape& shape) {
  std::optional<int> nearest;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [known, tile] : tiles) {
    if (!is_near(known, shape)) continue;
    const double distance = ratio_of_points(known, shape);
    if (distance < least) least = distance, nearest = tile;
  }
  return nearest;
}

}  // namespace

KnownTiles::Tiles KnownTiles::all() const {
  const std::lock_guard lock(mutex_);
  return tiles_;
}

void KnownTiles::insert(const WinogradShape& shape, int tile) {
  const std::lock_guard lock(mutex_);
  if (tiles_.size() >= kMostKept) tiles_.clear();
  tiles_.emplace(shape, tile);
}

std::function<int(const WinogradShape&)> predicted_output_tile(const Machine& machine,
                                                               KnownTiles* known) {
  // Of earlier models only: what one model alone gets does not depend on its convolutions' order.
  const auto earlier =
      std::make_shared<const KnownTiles::Tiles>(known ? known->all() : KnownTiles::Tiles());
  return [&machine, known, earlier,
          own = std::make_shared<KnownTiles::Tiles>()](const WinogradShape& shape) {
    const auto [at, fresh] = own->try_emplace(shape, 0);
    if (!fresh) return at->second;
    if (const auto exact = earlier->find(shape); exact != earlier->end()) {
      return at->second = exact->second;
    }
    if (const std::optional<int> near = nearest_tile(*earlier, shape)) return at->second = *near;
    at->second = fastest_tile(shape, machine);
    if (known) known->insert(shape, at->second);
    return at->second;
  };
}

}  // namespace corf::driver
