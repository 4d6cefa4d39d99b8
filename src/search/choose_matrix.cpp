#include "search/choose_matrix.h"

#include <algorithm>

#include "fusion/matrix.h"
#include "search/schedule_step.h"

namespace corf::search {
namespace {

using fusion::MatrixShape;
using fusion::MatrixWork;
using fusion::NestSchedule;

/// Fewer channels leave most of a product empty.
constexpr int64_t kLeastChannels = 16;

/// Rows of a block where nothing is gained by more, and what is split should stay in the first
/// level; more of them where going over all panels again costs; channels of a part where little is
/// gained.
constexpr int64_t kEnoughRows = 64, kManyRows = 256, kEnoughChannels = 256;

class MatrixChooser : ScheduleStep {
 public:
  MatrixChooser(const fusion::Nest& nest, const fusion::StorageView& storage,
                const Machine& machine, std::vector<int64_t> granules, NestSchedule& schedule)
      : ScheduleStep(nest, storage, machine, std::move(granules), schedule) {}

  /// False if the nest has no such form.
  bool run(std::optional<int> split_axis) {
    const int v = schedule_.vector_axis;
    const auto roles = factors();
    if (v < 0 || nest_.axes[v].reduction || !roles) return false;
    if (!can_pack(roles->along)) return false;
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (nest_.axes[axis].reduction && granules_[axis] != 0) return false;
    }
    start_over(v);
    if (!choose_lanes()) return false;
    std::vector<int> rows = row_axes(roles->along, roles->across);
    if (rows.empty()) return false;
    // Whole axes from the innermost on, as long as a block of them stays near; then blocks of one.
    for (size_t inner = 1; inner <= rows.size(); ++inner) {
      const std::vector<int> tried(rows.begin(), rows.begin() + static_cast<int64_t>(inner));
      set_order(tried);
      const auto shape = fusion::matrix_shape(nest_, storage_, schedule_);
      if (!shape || shape->channels < kLeastChannels) break;
      shape_ = *shape;
      inner_ = tried;
      schedule_.matrix = shape_.padded_channels();
      if (block_bytes(extents()) > budget()) break;
    }
    if (inner_.empty()) return false;
    set_order(inner_);
    choose_split(split_axis);
    choose_block();
    return true;
  }

  /// Of the busiest worker.
  double cycles() const {
    std::vector<int64_t> points = extents();
    const int axis = schedule_.partition_axis;
    if (axis >= 0) points[axis] = ceil_div(points[axis], schedule_.partitions);
    return busiest_cycles(points, axis, schedule_.partitions);
  }

  /// Vectors reach about that share of the peak, and read the packed operand as it is.
  double cycles_of_vectors(const NestSchedule& vectors) const {
    constexpr double kShareOfPeak = 0.75;
    double points = 1;
    for (int axis = 0; axis < num_axes(); ++axis) {
      const int64_t filled = round_up(extent(axis) * vectors.lane_steps, lanes_);
      points *= axis == vectors.vector_axis ? double(filled) / double(vectors.lane_steps)
                                            : double(extent(axis));
    }
    const double all = points / (2 * double(lanes_)) / kShareOfPeak;
    return std::max(all / double(std::max<int64_t>(1, vectors.partitions)),
                    packed_cycles(vectors.partition_axis, vectors.partitions) * 4 / kPartBytes);
  }

 private:
  void start_over(int v) {
    schedule_ = NestSchedule{};
    schedule_.vector_axis = v;
    schedule_.matrix = 1;  // until the shape is known
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

  /// Constants, and values whose vectors become lanes as they are.
  bool can_pack(int along) const {
    const int v = schedule_.vector_axis;
    return fusion::is_packed(nest_, storage_, along, v) ||
           index::to_linear(nest_.loads[along].address).coefficient(v) == 1;
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
    std::stable_sort(rows.begin(), rows.end(),
                     [&](int a, int b) { return linear.coefficient(a) < linear.coefficient(b); });
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
    // What follows the sums runs beside products if there are enough, best in short pieces.
    double steps = 1.0 / double(fusion::kMatrixChannels);
    for (int axis : schedule_.reduction_order) steps *= double(extent(axis));
    const int64_t most = contiguous ? lanes_ : steps > 1 ? 2 : 4;
    const int64_t tile = fitting(p, std::min(extent(p), most));
    if (tile > 1) schedule_.register_tile.push_back({p, tile});
  }

  static constexpr double kPartBytes = 2.0 * fusion::kParts;  // of an element

  /// Of what is split at a time.
  double block_bytes(const std::vector<int64_t>& points) const {
    return double(shape_.num_lines(points) * schedule_.matrix) * kPartBytes;
  }

  double packed_bytes() const {
    double bytes = kPartBytes * double(extent(schedule_.vector_axis) * shape_.padded_channels());
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (nest_.axes[axis].reduction && axis != shape_.channel_axis) bytes *= double(extent(axis));
    }
    return bytes;
  }
  /// Those that are packed for each block are best made for many rows.
  bool panels_stay() const {
    if (shape_.packs) return packs_before_strips();
    return packed_bytes() <= double(machine_.l2_bytes) / 3;
  }
  bool packs_before_strips() const { return fusion::packs_before_strips(nest_, schedule_, shape_); }

  /// Bytes of a block that stay near while all panels pass.
  double budget() const { return double(machine_.l2_bytes) / (panels_stay() ? 4 : 3); }

  /// Cycles to bring the packed operand from memory, where all workers read at once.
  double packed_cycles(int axis, int64_t parts) const {
    if (shape_.packs || machine_.dram_gbps_all <= 0 || machine_.fma_gflops_core <= 0) return 0;
    // From the second level they are part of the products' time.
    if (machine_.keeps_near(storage_.plan().constant_bytes)) return 0;
    double outer = 1;
    for (int other = 0; other < num_axes(); ++other) {
      if (depends(nest_.loads[shape_.along], other) && !nest_.axes[other].reduction &&
          other != schedule_.vector_axis) {
        outer *= double(extent(other));
      }
    }
    const bool shared = axis >= 0 && !depends(nest_.loads[shape_.along], axis);
    const double bytes = outer * packed_bytes() * double(shared ? parts : 1);
    constexpr double kShareOfBandwidth = 0.66;
    const double gbps = kShareOfBandwidth * machine_.constants_gbps(storage_.plan().constant_bytes);
    return bytes / gbps / machine_.cycle_ns();
  }

  double cycles(const std::vector<int64_t>& points) const {
    const MatrixWork work = fusion::matrix_work(nest_, schedule_, shape_, points);
    const double panels = shape_.packs ? 0 : machine_.panel_cycles(work.panel_bytes, work.passes);
    return machine_.matrix_product_cycles(work.sums) * work.products + panels +
           Machine::split_cycles() * (work.vectors + packed_vectors(work)) + 6 * work.results;
  }

  /// `points`: of the busiest worker, where `parts` of them share `axis`.
  double busiest_cycles(const std::vector<int64_t>& points, int axis, int64_t parts) const {
    const double products = cycles(points), panels = packed_cycles(axis, parts);
    return panels_stay() ? products + panels : Machine::fetched_cycles(products, panels);
  }

  /// What strips share is not theirs to pack.
  double packed_vectors(const MatrixWork& work) const {
    return packs_before_strips() ? 0 : work.passes * work.packed;
  }

  /// Workers take parts of the axis that leaves the busiest one the least work.
  void choose_split(std::optional<int> wanted) {
    const int64_t workers = machine_.threads;
    double best = busiest_cycles(extents(), -1, 1);
    if (workers == 1 || best < 4096) return;
    for (int axis : schedule_.parallel_order) {
      if (wanted && axis != *wanted) continue;
      const int64_t tile = schedule_.tile_extent(axis);
      const int64_t tiles = ceil_div(extent(axis), tile), parts = std::min(workers, tiles);
      if (parts < 2) continue;
      std::vector<int64_t> points = extents();
      points[axis] = std::min(extent(axis), ceil_div(tiles, parts) * tile);
      const double busiest = busiest_cycles(points, axis, parts);
      if (busiest >= 0.98 * best) continue;
      best = busiest;
      schedule_.partition_axis = axis;
      schedule_.partitions = parts;
    }
  }

  /// Whether a panel is asked for while the one before is at work: it comes from behind the first
  /// level, where tile loads would wait for it.
  bool is_worth_fetching() const {
    return !shape_.packs && packed_bytes() > double(machine_.l1_bytes) / 2;
  }

  /// From `most` points of the blocks' axis up to `limit`: those whose tiles of rows are the
  /// fullest.
  int64_t fullest_block(std::vector<int64_t> points, int64_t most, int64_t limit) const {
    constexpr double kLeastGain = 1.03;
    const int axis = inner_.back();
    const int64_t tile = schedule_.tile_extent(axis);
    auto tiles_of_one = [&](int64_t n) {
      points[axis] = n;
      return double(shape_.row_tiles(points)) / double(n);
    };
    double least = tiles_of_one(most);
    for (int64_t n = most + tile; n <= limit; n += tile) {
      const double tiles = tiles_of_one(n);
      if (block_bytes(points) > budget()) break;
      if (kLeastGain * tiles > least) continue;
      least = tiles;
      most = n;
    }
    return most;
  }

  /// Rows of a block and channels of a part. Where all panels stay near, blocks are short; where
  /// they do not, each is brought once for as many rows as there are.
  void choose_block() {
    const int axis = inner_.back();
    const int64_t tile = schedule_.tile_extent(axis);
    std::vector<int64_t> points = extents();
    if (schedule_.partition_axis >= 0) {
      int64_t& part = points[schedule_.partition_axis];
      const int64_t unit = schedule_.partition_axis == axis ? tile : 1;
      part = std::min(part, ceil_div(ceil_div(part, unit), schedule_.partitions) * unit);
    }
    const int64_t all = points[axis];
    double rows_of_one = 1;
    for (int other : inner_) rows_of_one *= other == axis ? 1 : double(points[other]);
    points[axis] = 1;
    const bool has_halo = shape_.num_lines(points) > rows_of_one * double(shape_.row_lines);
    const bool stay = panels_stay();
    if (!stay) schedule_.matrix = std::min(schedule_.matrix, kEnoughChannels);
    const double enough_rows =
        machine_.panel_cycles(packed_bytes(), 1) > 0 ? kManyRows : kEnoughRows;
    auto too_large = [&](int64_t n) {
      points[axis] = n;
      if (block_bytes(points) > budget()) return true;
      if (shape_.packs && !stay) return rows_of_one * double(n) > kManyRows;
      return stay && !has_halo && rows_of_one * double(n) > enough_rows;
    };
    int64_t most = all;
    while (most > tile && too_large(most)) most = std::max(tile, most - tile);
    most = fullest_block(points, most, std::min(all, int64_t(kManyRows / rows_of_one)));
    if (most < all) {
      // Equal blocks.
      most = ceil_div(ceil_div(all, ceil_div(all, most)), tile) * tile;
      schedule_.block_axis = axis;
      schedule_.block_tiles = ceil_div(most, tile);
    }
    points[axis] = std::min(all, most);
    if (is_worth_fetching()) schedule_.prefetch = fusion::Prefetch::kPanel;
    if (stay) {
      choose_near_channels(points);
      return;
    }
    const double line_bytes = double(shape_.num_lines(points)) * kPartBytes;
    const int64_t channels = shape_.padded_channels();
    constexpr int64_t kBlock = fusion::kMatrixChannels;
    const auto fitting_channels = std::max<int64_t>(
        schedule_.matrix, static_cast<int64_t>(budget() / line_bytes) / kBlock * kBlock);
    const int64_t parts = ceil_div(channels, std::min(channels, fitting_channels));
    schedule_.matrix = round_up(ceil_div(channels, parts), kBlock);
  }

  /// Where sums of all panels take little room, what is split at a time may stay in the first
  /// level.
  void choose_near_channels(const std::vector<int64_t>& points) {
    const double near_bytes = double(machine_.l1_bytes) / 4;  // beside panels and results
    double sums_bytes = sizeof(float) * double(extent(schedule_.vector_axis));
    for (int axis : inner_) sums_bytes *= double(points[axis]);
    if (sums_bytes > 2 * near_bytes) return;
    if (block_bytes(points) <= 2 * near_bytes) return;
    const double channel_bytes = block_bytes(points) / double(schedule_.matrix);
    const auto channels = static_cast<int64_t>(near_bytes / channel_bytes);
    // Panels of constants are best read in longer runs.
    const int64_t fewest = shape_.packs ? 1 : 2;
    const int64_t blocks = std::max(fewest, channels / fusion::kMatrixChannels);
    schedule_.matrix = std::min(schedule_.matrix, blocks * fusion::kMatrixChannels);
  }

  MatrixShape shape_;
  std::vector<int> inner_;
};

}  // namespace

std::optional<NestSchedule> choose_matrix(const fusion::Nest& nest,
                                          const fusion::StorageView& storage,
                                          const Machine& machine,
                                          const std::vector<int64_t>& granules,
                                          std::optional<int> split_axis,
                                          const NestSchedule& vectors) {
  if (!machine.has_matrix_unit()) return std::nullopt;
  NestSchedule schedule = vectors;
  MatrixChooser chooser(nest, storage, machine, granules, schedule);
  if (!chooser.run(split_axis)) return std::nullopt;
  // What must be gained: the unit is predicted less well than vectors.
  constexpr double kLeastGain = 1.1;
  if (kLeastGain * chooser.cycles() > chooser.cycles_of_vectors(vectors)) return std::nullopt;
  return schedule;
}

}  // namespace corf::search
