#include "search/choose_loops.h"

#include "search/schedule_step.h"

namespace corf::search {
namespace {

/// Where more tiles share a panel, its first use does not weigh.
constexpr double kMostTilesToFetch = 32;

class LoopChooser : ScheduleStep {
 public:
  using ScheduleStep::ScheduleStep;

  void run(std::optional<int> split_axis) {
    order_reductions();
    order_loops();
    split(split_axis);
    choose_prefetch();
    unroll_long_products();
  }

 private:
  bool is_constant(const Access& access) const {
    return storage_.roots[access.root].kind == fusion::Root::Kind::kConstant;
  }

  void order_reductions() {
    for (int axis = 0; axis < num_axes(); ++axis) {
      bool unrolled = std::count(schedule_.unrolled_reductions.begin(),
                                 schedule_.unrolled_reductions.end(), axis) > 0;
      if (nest_.axes[axis].reduction && !unrolled) schedule_.reduction_order.push_back(axis);
    }
    // The first operand that is not rearranged decides: its innermost axis turns fastest.
    int lead = 0;
    for (size_t i = 0; i < nest_.loads.size(); ++i) {
      if (!is_constant(nest_.loads[i])) {
        lead = static_cast<int>(i);
        break;
      }
    }
    if (nest_.loads.empty()) return;
    Linear linear = index::to_linear(nest_.loads[lead].address);
    std::stable_sort(schedule_.reduction_order.begin(), schedule_.reduction_order.end(),
                     [&](int a, int b) {
                       return std::abs(linear.coefficient(a)) > std::abs(linear.coefficient(b));
                     });
  }

  int64_t num_tiles(int axis) const { return ceil_div(extent(axis), schedule_.tile_extent(axis)); }

  /// Distinct elements that a load touches over the axes for which `inside` holds.
  template <typename Inside>
  double footprint(const Access& access, Inside inside) const {
    double elems = 1;
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (inside(axis) && depends(access, axis)) elems *= double(extent(axis));
    }
    return elems;
  }

  void order_loops() {
    Linear store = index::to_linear(nest_.stores[0].access.address);
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (!nest_.axes[axis].reduction) schedule_.parallel_order.push_back(axis);
    }
    std::stable_sort(schedule_.parallel_order.begin(), schedule_.parallel_order.end(),
                     [&](int a, int b) {
                       return std::abs(store.coefficient(a)) > std::abs(store.coefficient(b));
                     });
    const bool in_tile = schedule_.reduction_order.empty();
    if (in_tile && fusion::scaled_sum(nest_, storage_, schedule_.vector_axis)) return;
    const int v = schedule_.vector_axis;
    int along = 0, across = 0;
    if (v < 0 || nest_.axes[v].reduction || !operands(along, across)) {
      if (!schedule_.unrolled_reductions.empty()) move_vector_axis_before_tiled();
      return;
    }
    // A panel of one operand, reused by all points of a block of the other.
    move_vector_axis_before_tiled();
    const double budget = double(machine_.l2_bytes) / 2;
    auto all = [](int) { return true; };
    double across_bytes = 4 * footprint(nest_.loads[across], all) / machine_.threads;
    double along_bytes = 4 * footprint(nest_.loads[along], all);
    auto& order = schedule_.parallel_order;
    // All panels stay near: rows outermost, unless so few tiles share a panel that its first use
    // weighs; then it is fetched while the panel before is at work.
    if (along_bytes <= budget / 2 && (across_bytes > budget || !is_worth_fetching(along))) return;
    if (across_bytes <= budget) {
      // All points stay near: each panel is read once.
      order.erase(std::find(order.begin(), order.end(), v));
      auto at = std::find_if(order.begin(), order.end(),
                             [&](int axis) { return !depends(nest_.loads[along], axis); });
      order.insert(at, v);
      return;
    }
    block_rows(across, budget, across_bytes);
  }

  bool is_worth_fetching(int along) const {
    if (!is_packed(nest_, storage_, along, schedule_.vector_axis)) return false;
    double tiles = 1;
    for (int axis : schedule_.parallel_order) {
      if (!depends(nest_.loads[along], axis)) tiles *= double(num_tiles(axis));
    }
    return tiles / double(machine_.threads) <= kMostTilesToFetch;
  }

  /// Packed operands are read once for each run and come from afar.
  void choose_prefetch() {
    const int v = schedule_.vector_axis;
    int along = 0, across = 0;
    if (v < 0 || nest_.axes[v].reduction || !operands(along, across)) return;
    if (!is_packed(nest_, storage_, along, v)) return;
    double tiles = 1;  // that share a panel
    const auto& order = schedule_.parallel_order;
    for (size_t i = order.size(); i-- > 0 && order[i] != v;) {
      int64_t n = num_tiles(order[i]);
      if (order[i] == schedule_.block_axis) n = std::min(n, schedule_.block_tiles);
      tiles *= double(n);
      if (order[i] == schedule_.partition_axis) tiles /= double(schedule_.partitions);
      if (depends(nest_.loads[along], order[i])) return;
    }
    // A panel that all rows read over and over is near already.
    for (size_t i = 0; i < order.size() && order[i] != v; ++i) {
      if (!depends(nest_.loads[along], order[i])) return;
    }
    const double all_bytes = 4 * footprint(nest_.loads[along], [](int) { return true; });
    if (tiles > kMostTilesToFetch || all_bytes <= double(machine_.l1_bytes)) return;
    const double panel_bytes = 4 * reduction_points() * double(schedule_.vector_tile);
    const bool two_panels_stay = 2 * panel_bytes <= 0.75 * double(machine_.l2_bytes);
    if (tiles == 1 || !two_panels_stay) {
      schedule_.prefetch = fusion::Prefetch::kAhead;
      return;
    }
    schedule_.prefetch = fusion::Prefetch::kPanel;
    // A cache line serves several steps: one request for all of them, if they are copies of one
    // long loop. A window's few columns, unrolled, would keep their operands in registers.
    constexpr int kLongLoop = 8;
    if (extent(schedule_.reduction_order.back()) < kLongLoop) return;
    const double elems = double(schedule_.vector_tile) / tiles;
    const int steps = elems <= 4 ? 4 : elems <= 8 ? 2 : 1;
    schedule_.reduction_unroll = std::max(schedule_.reduction_unroll, steps);
  }

  /// A loop's own instructions take the place of multiply-adds: a long one over factors that lie as
  /// they were computed has two steps. Where a panel is packed there is less to add up, and copies
  /// would only press on the registers.
  void unroll_long_products() {
    constexpr int64_t kLongLoop = 64;
    int along = 0, across = 0;
    if (!operands(along, across) || is_packed(nest_, storage_, along, schedule_.vector_axis))
      return;
    if (schedule_.reduction_order.size() != 1 || !schedule_.unrolled_reductions.empty()) return;
    const int64_t steps = extent(schedule_.reduction_order[0]);
    if (steps < kLongLoop || steps % 2 != 0) return;
    schedule_.reduction_unroll = std::max(schedule_.reduction_unroll, 2);
  }

  void move_vector_axis_before_tiled() {
    auto& order = schedule_.parallel_order;
    if (schedule_.register_tile.empty()) return;
    const int v = schedule_.vector_axis;
    order.erase(std::find(order.begin(), order.end(), v));
    order.insert(std::find(order.begin(), order.end(), schedule_.register_tile[0].axis), v);
  }

  /// Neither operand stays near: walk the points in blocks that do, panels inside.
  void block_rows(int across, double budget, double across_bytes) {
    auto& order = schedule_.parallel_order;
    int axis = -1;
    for (int candidate : order) {
      if (candidate == schedule_.vector_axis || !depends(nest_.loads[across], candidate)) continue;
      if (nest_.axes[candidate].shared >= 0) continue;
      if (axis < 0 || num_tiles(candidate) > num_tiles(axis)) axis = candidate;
    }
    if (axis < 0) return;
    double tile_bytes = across_bytes * machine_.threads / double(num_tiles(axis));
    schedule_.block_axis = axis;
    schedule_.block_tiles = std::max<int64_t>(1, static_cast<int64_t>(budget / tile_bytes));
    order.erase(std::find(order.begin(), order.end(), schedule_.vector_axis));
    order.insert(std::find(order.begin(), order.end(), axis), schedule_.vector_axis);
  }

  void split(std::optional<int> wanted) {
    double points = reduction_points();
    for (const auto& axis : nest_.axes) points *= axis.reduction ? 1 : double(axis.extent);
    double work = points * std::max<double>(1, double(nest_.ops.size()) / 4);
    const int64_t workers = machine_.threads;
    if (workers == 1 || work < 4096) return;
    double best = 0;
    for (int axis : schedule_.parallel_order) {
      if (wanted && axis != *wanted) continue;
      int64_t tiles = num_tiles(axis);
      double balance = double(tiles) / double(ceil_div(tiles, workers) * workers);
      // What every worker has to read costs; of equals the outermost, so that parts are contiguous.
      double score = balance * (1 - 0.25 * shared_share(axis));
      if (score > best + 0.02) best = score, schedule_.partition_axis = axis;
    }
    if (schedule_.partition_axis >= 0) {
      schedule_.partitions = std::min(workers, num_tiles(schedule_.partition_axis));
    }
    if (schedule_.partitions <= 1) schedule_.partition_axis = -1, schedule_.partitions = 1;
  }

  /// The share of the operands' elements that all workers read if `axis` is split.
  double shared_share(int axis) const {
    double shared = 0, total = 1;
    for (const Access& access : nest_.loads) {
      double elems = footprint(access, [](int) { return true; });
      total += elems;
      if (!depends(access, axis)) shared += elems;
    }
    return shared / total;
  }
};

}  // namespace

void choose_loops(const fusion::Nest& nest, const fusion::StoragePlan& storage,
                  const Machine& machine, std::optional<int> split_axis,
                  fusion::NestSchedule& schedule) {
  LoopChooser(nest, storage, machine, {}, schedule).run(split_axis);
}

}  // namespace corf::search
