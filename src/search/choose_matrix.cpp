#include "search/choose_matrix.h"

#include <algorithm>
#include <limits>

#include "fusion/matrix.h"
#include "search/schedule_step.h"

namespace corf::search {
namespace {

using fusion::MatrixShape;
using fusion::MatrixWork;
using fusion::NestSchedule;

/// Fewer channels leave most of a product empty.
constexpr int64_t kLeastChannels = 16;

/// Rows of a block where nothing is gained by more.
constexpr int64_t kEnoughRows = 256;

class MatrixChooser : ScheduleStep {
 public:
  MatrixChooser(const fusion::Nest& nest, const fusion::StoragePlan& storage,
                const Machine& machine, std::vector<int64_t> granules, NestSchedule& schedule)
      : ScheduleStep(nest, storage, machine, std::move(granules), schedule) {}

  /// False if the nest has no such form.
  bool run() {
    const int v = schedule_.vector_axis;
    int along = 0, across = 0;
    if (v < 0 || nest_.axes[v].reduction || !operands(along, across)) return false;
    if (!fusion::is_packed(nest_, storage_, along, v)) return false;
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (nest_.axes[axis].reduction && granules_[axis] != 0) return false;
    }
    start_over(v);
    if (!choose_lanes()) return false;
    std::vector<int> rows = row_axes(along, across);
    if (rows.empty()) return false;
    // Whole axes from the innermost on, as long as a block of them stays near; then blocks of one.
    for (size_t inner = 1; inner <= rows.size(); ++inner) {
      const std::vector<int> tried(rows.begin(), rows.begin() + static_cast<int64_t>(inner));
      set_order(tried);
      const auto shape = fusion::matrix_shape(nest_, storage_, schedule_);
      if (!shape || shape->channels < kLeastChannels) break;
      shape_ = *shape;
      inner_ = tried;
      if (block_bytes(extents()) > budget()) break;
    }
    if (inner_.empty()) return false;
    set_order(inner_);
    choose_split();
    choose_block();
    return true;
  }

  double cycles() const {
    std::vector<int64_t> points = extents();
    const int axis = schedule_.partition_axis;
    if (axis >= 0) points[axis] = ceil_div(points[axis], schedule_.partitions);
    return cycles(points);
  }

 private:
  void start_over(int v) {
    schedule_ = NestSchedule{};
    schedule_.vector_axis = v;
    schedule_.matrix = true;
  }

  std::vector<int64_t> extents() const {
    std::vector<int64_t> result;
    for (const auto& axis : nest_.axes) result.push_back(axis.extent);
    return result;
  }

  bool choose_lanes() {
    const int v = schedule_.vector_axis;
    for (int64_t tile : {2 * fusion::kMatrixLanes, fusion::kMatrixLanes}) {
      schedule_.vector_tile = std::min(extent(v), tile);
      if (fits(v, schedule_.vector_tile)) return true;
    }
    return false;
  }

  /// Axes whose points share the packed operand, the shortest step in memory first.
  std::vector<int> row_axes(int along, int across) const {
    std::vector<int> rows;
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (axis == schedule_.vector_axis || nest_.axes[axis].reduction) continue;
      if (depends(nest_.loads[across], axis) && !depends(nest_.loads[along], axis)) {
        rows.push_back(axis);
      }
    }
    const Linear linear = index::to_linear(nest_.loads[across].address);
    std::stable_sort(rows.begin(), rows.end(), [&](int a, int b) {
      return linear.coefficient(a) < linear.coefficient(b);
    });
    return rows;
  }

  /// `inner`: the innermost first.
  void set_order(const std::vector<int>& inner) {
    const Linear store = index::to_linear(nest_.stores[0].access.address);
    auto& order = schedule_.parallel_order;
    order.clear();
    for (int axis = 0; axis < num_axes(); ++axis) {
      const bool outside = std::find(inner.begin(), inner.end(), axis) == inner.end();
      if (outside && !nest_.axes[axis].reduction && axis != schedule_.vector_axis) {
        order.push_back(axis);
      }
    }
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return std::abs(store.coefficient(a)) > std::abs(store.coefficient(b));
    });
    order.push_back(schedule_.vector_axis);
    order.insert(order.end(), inner.rbegin(), inner.rend());
    schedule_.reduction_order.clear();
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (nest_.axes[axis].reduction) schedule_.reduction_order.push_back(axis);
    }
    schedule_.register_tile.clear();
    const int p = inner.front();
    const bool contiguous = store.coefficient(p) == 1;  // tiles are transposed in registers
    const int64_t most = contiguous ? lanes_ : 4;
    const int64_t tile = fitting(p, std::min(extent(p), most));
    if (tile > 1) schedule_.register_tile.push_back({p, tile});
  }

  double block_bytes(const std::vector<int64_t>& points) const {
    constexpr double kLineBytes = 2.0 * fusion::kParts;
    return double(shape_.num_lines(points) * shape_.padded_channels()) * kLineBytes;
  }

  double packed_bytes() const {
    double bytes = 2.0 * fusion::kParts * double(round_up(extent(schedule_.vector_axis), 16)) *
                   double(shape_.padded_channels());
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (nest_.axes[axis].reduction && axis != shape_.channel_axis) bytes *= double(extent(axis));
    }
    return bytes;
  }

  /// Bytes of a block that stay near while all panels pass.
  double budget() const {
    const auto l2 = double(machine_.l2_bytes);
    return packed_bytes() <= l2 / 3 ? l2 / 4 : l2 / 2;
  }

  double cycles(const std::vector<int64_t>& points) const {
    const MatrixWork work = fusion::matrix_work(nest_, schedule_, shape_, points);
    return machine_.matrix_product_cycles(work.sums) * work.products +
           Machine::split_cycles() * work.vectors + 3 * work.results;
  }

  /// Workers take parts of the axis that leaves the busiest one the least work.
  void choose_split() {
    const int64_t workers = machine_.threads;
    double best = cycles(extents());
    if (workers == 1 || best < 4096) return;
    for (int axis : schedule_.parallel_order) {
      int64_t tile = axis == schedule_.vector_axis ? schedule_.vector_tile : 1;
      for (const auto& tiled : schedule_.register_tile) {
        if (tiled.axis == axis) tile = tiled.extent;
      }
      const int64_t tiles = ceil_div(extent(axis), tile), parts = std::min(workers, tiles);
      if (parts < 2) continue;
      std::vector<int64_t> points = extents();
      points[axis] = std::min(extent(axis), ceil_div(tiles, parts) * tile);
      const double busiest = cycles(points);
      if (busiest >= 0.98 * best) continue;
      best = busiest;
      schedule_.partition_axis = axis;
      schedule_.partitions = parts;
    }
  }

  void choose_block() {
    const int axis = inner_.back();
    int64_t tile = 1;
    for (const auto& tiled : schedule_.register_tile) {
      if (tiled.axis == axis) tile = tiled.extent;
    }
    std::vector<int64_t> points = extents();
    if (axis == schedule_.partition_axis) {
      points[axis] = std::min(extent(axis), ceil_div(ceil_div(extent(axis), tile),
                                                     schedule_.partitions) * tile);
    }
    const int64_t all = points[axis];
    double rows_of_one = 1;
    for (int other : inner_) rows_of_one *= other == axis ? 1 : double(points[other]);
    points[axis] = 1;
    const bool has_halo = shape_.num_lines(points) > rows_of_one * double(shape_.row_lines);
    const bool panels_stay = packed_bytes() <= double(machine_.l2_bytes) / 3;
    int64_t most = all;
    auto too_large = [&](int64_t n) {
      points[axis] = n;
      if (block_bytes(points) > budget()) return true;
      return panels_stay && !has_halo && rows_of_one * double(n) > kEnoughRows;
    };
    while (most > tile && too_large(most)) most = std::max(tile, most - tile);
    if (most >= all) return;
    // Equal blocks.
    const int64_t blocks = ceil_div(all, most);
    schedule_.block_axis = axis;
    schedule_.block_tiles = ceil_div(ceil_div(all, blocks), tile);
  }

  MatrixShape shape_;
  std::vector<int> inner_;
};

}  // namespace

std::optional<NestSchedule> choose_matrix(const fusion::Nest& nest,
                                          const fusion::StoragePlan& storage,
                                          const Machine& machine,
                                          const std::vector<int64_t>& granules,
                                          const NestSchedule& vectors) {
  if (!machine.has_matrix_unit()) return std::nullopt;
  NestSchedule schedule = vectors;
  MatrixChooser chooser(nest, storage, machine, granules, schedule);
  if (!chooser.run()) return std::nullopt;
  // Vectors reach about that share of the peak.
  constexpr double kShareOfPeak = 0.75;
  double points = 1;
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    const int64_t extent = nest.axes[axis].extent;
    points *= axis == vectors.vector_axis ? double(round_up(extent, machine.f32_lanes()))
                                          : double(extent);
  }
  const double of_vectors = points / (2 * machine.f32_lanes()) / kShareOfPeak /
                            double(std::max<int64_t>(1, vectors.partitions));
  if (chooser.cycles() > of_vectors) return std::nullopt;
  return schedule;
}

}  // namespace corf::search
