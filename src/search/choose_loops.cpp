#include "search/choose_loops.h"

#include <set>

#include "fusion/steps_inside.h"
#include "search/schedule_step.h"

namespace corf::search {
namespace {

/// Where more tiles share a panel, its first use does not weigh.
constexpr double kMostTilesToFetch = 32;

class LoopChooser : ScheduleStep {
 public:
  using ScheduleStep::ScheduleStep;

  void run(std::optional<int> split_axis) {
    schedule_.reduction_order = ordered_reductions();
    order_loops();
    split(split_axis);
    block_windows();
    choose_prefetch();
    unroll_long_products();
  }

 private:
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
    const auto roles = factors();
    if (v < 0 || nest_.axes[v].reduction || !roles) {
      has_windows_ = !schedule_.unrolled_reductions.empty() && !slides_along(v);
      if (has_windows_) move_vector_axis_before_tiled();
      return;
    }
    const auto [along, across] = *roles;
    // A panel of one operand, reused by all points of a block of the other, of one product of
    // matrices after the other.
    move_vector_axis_before_tiled();
    auto& order = schedule_.parallel_order;
    auto is_batch = [&](int axis) {
      return axis != v && !nest_.axes[axis].reduction && depends(nest_.loads[along], axis) &&
             depends(nest_.loads[across], axis);
    };
    const auto batches = std::stable_partition(order.begin(), order.end(), is_batch);
    const double budget = double(machine_.l2_bytes) / 2;
    auto in_product = [&](int axis) { return !is_batch(axis); };
    const double shared_by = batches == order.begin() ? machine_.threads : 1;
    double across_bytes = 4 * footprint(nest_.loads[across], in_product) / shared_by;
    double along_bytes = 4 * footprint(nest_.loads[along], in_product);
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
    block_rows(along, across, budget, across_bytes);
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
    const auto roles = factors();
    if (v < 0 || nest_.axes[v].reduction || !roles) return;
    const int along = roles->along;
    if (!is_packed(nest_, storage_, along, v) || schedule_.lane_steps > 1 ||
        schedule_.byte_steps > 1) {
      return;
    }
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
  /// would only press on the registers, unless these are so few that a step is short: it then is
  /// repeated until the loop's own instructions do not weigh.
  void unroll_long_products() {
    constexpr int64_t kLongLoop = 64, kLongLoopOfPanels = 16;
    const auto roles = factors();
    if (!roles || !schedule_.unrolled_reductions.empty()) return;
    const bool packed = is_packed(nest_, storage_, roles->along, schedule_.vector_axis);
    if (packed && machine_.num_vector_registers() > 16) return;
    const auto& order = schedule_.reduction_order;
    if (order.empty() || (!packed && order.size() != 1)) return;
    const int64_t steps = extent(order.back());
    if (steps < (packed ? kLongLoopOfPanels : kLongLoop)) return;
    const int most = packed ? 4 : 2;
    for (int unroll = most; unroll > schedule_.reduction_unroll; unroll /= 2) {
      if (steps % unroll == 0) schedule_.reduction_unroll = unroll;
    }
  }

  void move_vector_axis_before_tiled() {
    auto& order = schedule_.parallel_order;
    if (schedule_.register_tile.empty()) return;
    const int v = schedule_.vector_axis;
    order.erase(std::find(order.begin(), order.end(), v));
    order.insert(std::find(order.begin(), order.end(), schedule_.register_tile[0].axis), v);
  }

  /// Neighbouring windows overlap. What the next row of them reads again stays in the first level
  /// if only so many vectors are taken at a time. Where everything comes from far away, long runs
  /// of memory matter more; a third level that is about as fast as the second is not far.
  void block_windows() {
    const int v = schedule_.vector_axis;
    if (!has_windows_ || schedule_.register_tile.empty()) return;
    if (v < 0 || nest_.axes[v].reduction || nest_.axes[v].shared >= 0) return;
    auto load = std::find_if(nest_.loads.begin(), nest_.loads.end(), [&](const Access& access) {
      return !is_constant(access) && depends(access, v);
    });
    if (load == nest_.loads.end()) return;
    double bytes = 0;
    for (const Access& access : nest_.loads) bytes += is_constant(access) ? 0 : span_bytes(access);
    for (const Nest::Store& store : nest_.stores) bytes += span_bytes(store.access);
    const bool has_fast_l3 = machine_.l3_gbps_core > machine_.l2_gbps_core / 3;
    const double most_bytes = has_fast_l3 ? double(machine_.l3_bytes) / 2
                                          : 0.75 * machine_.threads * double(machine_.l2_bytes);
    if (bytes > most_bytes) return;
    const Linear linear = index::to_linear(load->address);
    const std::set<int64_t> row = row_of_windows(linear);
    if (row.empty() || !overlaps(row, linear)) return;
    constexpr int64_t kLineBytes = 64;
    const int64_t tile_bytes = schedule_.vector_tile * size_bytes(storage_.root(load->root).dtype);
    const int64_t row_bytes = static_cast<int64_t>(row.size()) * tile_bytes;
    // Less than a line brings no fewer lines near, and each of them once for each tile.
    const int64_t tiles =
        std::max({int64_t{1}, machine_.l1_bytes / 2 / row_bytes, kLineBytes / tile_bytes});
    if (tiles >= num_tiles(v)) return;
    schedule_.block_axis = v;
    schedule_.block_tiles = tiles;
  }

  /// Whether windows move along the axis within a run of memory: then the vectors of a row are
  /// taken one after the other, as they lie.
  bool slides_along(int v) const {
    if (v < 0 || nest_.axes[v].reduction) return false;
    return std::any_of(nest_.loads.begin(), nest_.loads.end(), [&](const Access& access) {
      if (is_constant(access)) return false;
      const Linear linear = index::to_linear(access.address);
      const int64_t run = std::abs(linear.coefficient(v)) * extent(v);
      for (int axis = 0; axis < num_axes(); ++axis) {
        const int64_t step = std::abs(linear.coefficient(axis));
        if (nest_.axes[axis].reduction && step > 0 && step < run) return true;
      }
      return false;
    });
  }

  /// From the first element that the nest touches to the last.
  double span_bytes(const Access& access) const {
    const Linear linear = index::to_linear(access.address);
    double elems = 1;
    for (int axis = 0; axis < num_axes(); ++axis) {
      elems += double(std::abs(linear.coefficient(axis)) * (extent(axis) - 1));
    }
    return 4 * elems;
  }

  /// Offsets of what the windows along the tiled axes read at one point of the vector axis; empty
  /// if these are too many to stay near.
  std::set<int64_t> row_of_windows(const Linear& linear) const {
    std::set<int64_t> offsets{0};
    for (int axis = 0; axis < num_axes(); ++axis) {
      const int64_t step = linear.coefficient(axis);
      const bool tiled = schedule_.tile_extent(axis) > 1 && axis != schedule_.vector_axis;
      if (step == 0 || !(tiled || nest_.axes[axis].reduction)) continue;
      std::set<int64_t> longer;
      for (int64_t i = 0; i < extent(axis); ++i) {
        for (int64_t offset : offsets) longer.insert(offset + i * step);
      }
      offsets = std::move(longer);
      if (static_cast<int64_t>(offsets.size()) * machine_.vector_bytes() > machine_.l1_bytes)
        return {};
    }
    return offsets;
  }

  /// Whether a step of a loop around the vector axis' reads some of it again.
  bool overlaps(const std::set<int64_t>& row, const Linear& linear) const {
    for (int axis : schedule_.parallel_order) {
      if (axis == schedule_.vector_axis) return false;
      const int64_t step = linear.coefficient(axis);
      if (num_tiles(axis) < 2 || step == 0) continue;
      if (std::any_of(row.begin(), row.end(),
                      [&](int64_t offset) { return row.count(offset + step) > 0; })) {
        return true;
      }
    }
    return false;
  }

  /// Neither operand stays near: walk the points in blocks that do, panels inside.
  void block_rows(int along, int across, double budget, double across_bytes) {
    auto& order = schedule_.parallel_order;
    int axis = -1;
    for (int candidate : order) {
      if (candidate == schedule_.vector_axis || !depends(nest_.loads[across], candidate)) continue;
      if (nest_.axes[candidate].shared >= 0 || depends(nest_.loads[along], candidate)) continue;
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
      balance /= fusion::busiest_part(nest_, schedule_, axis, workers);
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

  bool has_windows_ = false;  // of an operator that is no contraction, unrolled in the tile
};

}  // namespace

void choose_loops(const fusion::Nest& nest, const fusion::StorageView& storage,
                  const Machine& machine, std::optional<int> split_axis,
                  fusion::NestSchedule& schedule) {
  LoopChooser(nest, storage, machine, {}, schedule).run(split_axis);
}

}  // namespace corf::search
