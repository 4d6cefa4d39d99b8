#include "search/choose_tile.h"

#include <limits>
#include <optional>

#include "fusion/byte_steps.h"
#include "fusion/lane_steps.h"
#include "graph/scalar_cost.h"
#include "search/schedule_step.h"
#include "search/tile_window.h"

namespace corf::search {
namespace {

class TileChooser : ScheduleStep {
 public:
  using ScheduleStep::ScheduleStep;

  void run() {
    choose_vector_axis();
    if (choose_coefficients()) {
      tile_coefficients();
    } else if (nest_.reduce_op < 0) {
      tile_elementwise();
    } else if (schedule_.vector_axis >= 0 && nest_.axes[schedule_.vector_axis].reduction) {
      if (nest_.contraction) {
        tile_summed_lanes();
      } else {
        tile_vector_reduction(4);
      }
    } else if (outer_product_axis() >= 0 || is_matrix_vector()) {
      tile_outer_product();
    } else {
      tile_window(nest_, storage_, machine_, granules_, schedule_);
    }
  }

 private:
  /// Cost of reading or writing along `axis`: free in steps of 0 or 1, dear otherwise.
  double access_cost(const Access& access, int axis, bool packable) const {
    for (const Access::Guard& guard : access.guards) {
      if (index::depends_on(guard.expr, axis)) return 6;
    }
    if (!depends(access, axis)) return 0.3;
    Linear linear = index::to_linear(access.address);
    if (index::depends_on(linear.rest, axis)) return 12;
    if (linear.coefficient(axis) == 1) return 1;
    if (packable) return 1;
    return contiguous_axis(access, axis) >= 0 ? 3 : 12;
  }

  /// A window's loads would go through registers at every step.
  double load_cost(int number, int axis) const {
    const NestOp& op = nest_.ops[number];
    const bool packable = is_packed(nest_, storage_, op.access, axis);
    const double cost = access_cost(nest_.loads[op.access], axis, packable);
    return number < nest_.reduce_op && cost == 3 ? 12 : cost;
  }

  /// The partner of the vector axis where some access runs along it instead.
  int transposed_axis() const {
    const int v = schedule_.vector_axis;
    auto partner = [&](const Access& access) {
      const Linear linear = index::to_linear(access.address);
      const int64_t stride = linear.coefficient(v);
      return stride == 0 || stride == 1 ? -1 : contiguous_axis(access, v);
    };
    for (const Access& load : nest_.loads) {
      if (int axis = partner(load); axis >= 0) return axis;
    }
    for (const Nest::Store& store : nest_.stores) {
      if (int axis = partner(store.access); axis >= 0) return axis;
    }
    return -1;
  }

  void choose_vector_axis() {
    double best = std::numeric_limits<double>::max();
    for (int axis = 0; axis < num_axes(); ++axis) {
      double cost = 0;
      bool reduction = nest_.axes[axis].reduction;
      if (reduction && (is_arg_reduction() || granules_[axis] != 0 || takes_digits())) continue;
      // Chunks of channels are whole vectors.
      if (granules_[axis] % lanes_ != 0) continue;
      // What happens once a sum matters the less the longer it is; lanes are then added up.
      const double steps = std::max<double>(1, reduction_points() / double(lanes_));
      for (int i = 0; i < static_cast<int>(nest_.ops.size()); ++i) {
        if (nest_.ops[i].kind != NestOp::Kind::kLoad) continue;
        const double one = load_cost(i, axis) + (reduction ? 0.2 : 0);
        cost += i > nest_.reduce_op ? one / steps : one;
      }
      for (const Nest::Store& store : nest_.stores) {
        cost += (reduction ? 8 : access_cost(store.access, axis, false)) / steps;
      }
      // Lanes that the axis leaves empty may take a second step of the sum.
      const int64_t n = extent(axis) * (may_take_steps(axis) ? fusion::kLaneSteps : 1);
      const double used = double(n) / double(vector_ops(n) * lanes_);
      cost /= std::max(used, 1e-3);
      if (cost < best - 1e-9 ||
          (cost < best + 1e-9 && extent(axis) > extent(schedule_.vector_axis))) {
        best = cost;
        schedule_.vector_axis = axis;
      }
    }
    if (schedule_.vector_axis >= 0) schedule_.vector_tile = extent(schedule_.vector_axis);
  }

  /// A sum scaled by tables that the code can hold: its vectors run along the axis that is
  /// innermost in what is scaled and in the store.
  bool choose_coefficients() {
    for (int axis = 0; axis < num_axes(); ++axis) {
      auto sum = fusion::scaled_sum(nest_, storage_, axis);
      if (!sum || !fits_tile(*sum)) continue;
      if (!runs_along(nest_.loads[nest_.ops[sum->op].access], axis)) continue;
      if (!can_store_along(nest_.stores[0].access, axis)) continue;
      scaled_sum_ = std::move(sum);
      schedule_.vector_axis = axis;
      return true;
    }
    return false;
  }

  /// Stores may go through registers where their elements follow one another along another axis.
  bool can_store_along(const Access& access, int axis) const {
    return runs_along(access, axis) ||
           (depends(access, axis) && contiguous_axis(access, axis) >= 0);
  }

  /// Whether the sum's axes are short enough to lie inside of a register tile. One table's sums are
  /// registers; between two tables, values pass through the first level.
  bool fits_tile(const fusion::ScaledSum& sum) const {
    constexpr int64_t kLongestAxis = 16, kMostSums = 64;
    int64_t sums = 1;
    for (const auto& table : sum.tables) {
      if (extent(table.reduction_axis) > kLongestAxis) return false;
      sums *= extent(table.parallel_axis);
    }
    return sum.tables.size() == 1 ? sums + 4 <= machine_.num_vector_registers() : sums <= kMostSums;
  }

  /// All sums of one vector at once, so that each element that is loaded serves them all; more
  /// vectors where registers allow.
  void tile_coefficients() {
    const int registers = machine_.num_vector_registers();
    constexpr int kHeldCoefficients = 4;
    int64_t sums = 1;
    for (const auto& table : scaled_sum_->tables) {
      schedule_.unrolled_reductions.push_back(table.reduction_axis);
      schedule_.register_tile.push_back({table.parallel_axis, extent(table.parallel_axis)});
      sums *= extent(table.parallel_axis);
    }
    const int64_t n = extent(schedule_.vector_axis);
    const bool two = 2 * sums + 2 + kHeldCoefficients <= registers && n >= 2 * lanes_;
    schedule_.vector_tile = std::min(n, two ? 2 * lanes_ : lanes_);
  }

  /// Vectors at once, which fill each other's gaps; long bodies fill their own, and each vector
  /// more is as much code again.
  int64_t widest_tile() const {
    constexpr int64_t kMost = 4;
    constexpr double kMostInstructions = 512;
    double instructions = 1;
    for (const fusion::NestOp& op : nest_.ops) {
      if (op.kind == fusion::NestOp::Kind::kApply) instructions += graph::num_instructions(op.op);
    }
    return std::clamp(static_cast<int64_t>(kMostInstructions / instructions), int64_t{1}, kMost);
  }

  void tile_elementwise() {
    const int v = schedule_.vector_axis;
    if (v < 0) return;
    if (const int other = transposed_axis(); other >= 0) {
      schedule_.vector_tile = std::min(extent(v), lanes_);
      const int64_t tile = fitting(other, std::min(extent(other), lanes_));
      if (tile > 1) schedule_.register_tile.push_back({other, tile});
      return;
    }
    // Elements that are apart lie in lines of their own, which have to stay until they are full.
    const int64_t step = index::to_linear(nest_.stores[0].access.address).coefficient(v);
    int64_t widest = std::abs(step) > 1 ? lanes_ : widest_tile() * lanes_;
    while (!fits(v, widest)) widest -= lanes_;
    schedule_.vector_tile = std::min(extent(v), widest);
    if (schedule_.vector_tile >= 2 * lanes_) return;
    // Short vectors: several points of the next axis at once.
    int next = best_tile_axis([&](int) { return true; });
    if (next >= 0)
      schedule_.register_tile.push_back({next, fitting(next, even_tile(extent(next), 4))});
  }

  /// Whole tiles if there are such; of long rows, not of a single vector, whose steps would wait
  /// for one another.
  void tile_vector_reduction(int64_t most_vectors) {
    constexpr int64_t kLongRow = 16;  // vectors; a choice: the rest costs one of them
    const int v = schedule_.vector_axis;
    const int64_t least = extent(v) >= kLongRow * lanes_ ? std::min<int64_t>(2, most_vectors) : 1;
    schedule_.vector_tile = std::min<int64_t>(extent(v), most_vectors * lanes_);
    for (int64_t vectors = most_vectors; vectors >= least; --vectors) {
      if (extent(v) % (vectors * lanes_) == 0) {
        schedule_.vector_tile = vectors * lanes_;
        break;
      }
    }
  }

  /// Lanes along the sum: each vector of one factor that is loaded serves all points of the tile
  /// along the other's axes.
  void tile_summed_lanes() {
    const auto [lhs, rhs] = nest_.contraction->factors;
    auto only = [&](int with, int without) {
      return best_tile_axis([&](int axis) {
        return depends(nest_.loads[with], axis) && !depends(nest_.loads[without], axis);
      });
    };
    const int p = only(lhs, rhs), q = only(rhs, lhs);
    double best = std::numeric_limits<double>::max();
    int64_t rows = 1, columns = 1;
    for (int64_t c = 1; c <= std::min<int64_t>(q < 0 ? 1 : extent(q), 16); ++c) {
      for (int64_t r = 1; r <= std::min<int64_t>(p < 0 ? 1 : extent(p), 16); ++r) {
        if (r * c + std::min(r, c) + 1 > machine_.num_vector_registers()) break;
        if (!fits(p, r) || !fits(q, c)) continue;
        const double cost = summed_lanes_cost(p, r, q, c);
        if (cost < best) best = cost, rows = r, columns = c;
      }
    }
    if (rows > 1) schedule_.register_tile.push_back({p, rows});
    if (columns > 1) schedule_.register_tile.push_back({q, columns});
    // Where points are few, several vectors of each hide the latency of an FMA.
    tile_vector_reduction(std::clamp<int64_t>(8 / (rows * columns), 1, 4));
  }

  /// Instruction slots of all tiles of so many points along two axes.
  double summed_lanes_cost(int p, int64_t rows, int q, int64_t columns) const {
    const double steps = reduction_points() / double(lanes_);
    double cost = 0;
    for_tiles(p < 0 ? 1 : extent(p), rows, [&](int64_t r, int64_t row_tiles) {
      for_tiles(q < 0 ? 1 : extent(q), columns, [&](int64_t c, int64_t column_tiles) {
        // As of outer products; the lanes of each sum are then added up.
        const double per_step = std::max({double(r * c), 1.12 * double(r + c), 8.0});
        cost += double(row_tiles * column_tiles) * (per_step * steps + 8.0 * double(r * c) + 12.0);
      });
    });
    return cost;
  }

  /// The axis whose points share the vectors of one operand: pixels of a convolution, rows of a
  /// matrix product.
  int outer_product_axis() const {
    const auto roles = factors();
    if (!roles) return -1;
    return best_tile_axis([&](int axis) {
      return depends(nest_.loads[roles->across], axis) && !depends(nest_.loads[roles->along], axis);
    });
  }

  bool is_matrix_vector() const { return factors().has_value(); }

  /// A register tile of a contraction: vectors along the vector axis, points along one or two axes.
  struct OuterProductTile {
    int64_t vectors = 1, rows = 1, outer_rows = 1, lane_steps = 1;
    int64_t sums() const { return vectors * rows * outer_rows; }
  };

  static constexpr int64_t kMostVectors = 12;
  /// Each word serves many steps, between which its registers are held, and panels that are read
  /// once come from memory the faster the longer each of their lines is worked on. Source: measured
  /// on a Zen 5, where 12 vectors take 1.6 times as long as 4.
  static constexpr int64_t kMostVectorsOfWords = 4;

  /// Minimises instruction slots over the whole nest: FMAs, loads, tails and idle workers.
  void tile_outer_product() {
    // All digits of a word at once: how far each is shifted is then part of the code.
    if (takes_digits()) schedule_.unrolled_reductions.push_back(nest_.contraction->digit_axis);
    const int v = schedule_.vector_axis, shared = outer_product_axis();
    // Points that share no vectors still leave as vectors where memory runs along them.
    const int p = shared >= 0 ? shared : contiguous_axis(nest_.stores[0].access, v);
    points_share_ = shared >= 0;
    const fusion::FactorRoles roles = factors().value_or(fusion::FactorRoles{});
    // A second axis helps where the first one is short.
    const int q = shared < 0 ? -1 : best_tile_axis([&](int axis) {
      return axis != p && depends(nest_.loads[roles.across], axis) &&
             !depends(nest_.loads[roles.along], axis);
    });
    const int64_t points = p >= 0 ? extent(p) : 1;
    const int64_t outer_most = q >= 0 && points <= 16 ? std::min<int64_t>(extent(q), 4) : 1;
    transposed_stores_ = p >= 0 ? count_transposed_stores(p) : 0;
    double best = std::numeric_limits<double>::max();
    OuterProductTile chosen;
    auto try_rows = [&](OuterProductTile tile) {
      for (tile.outer_rows = 1; tile.outer_rows <= outer_most; ++tile.outer_rows) {
        for (tile.rows = 1; tile.rows <= std::min<int64_t>(points, 30); ++tile.rows) {
          if (!fits(p, tile.rows) || !fits(q, tile.outer_rows) || !fits_registers(tile)) continue;
          const double cost = outer_product_cost(tile, p, q);
          if (cost < best) best = cost, chosen = tile;
        }
      }
    };
    const std::vector<int> reductions = ordered_reductions();
    if (!reductions.empty() && schedule_.unrolled_reductions.empty()) {
      schedule_.byte_steps = fusion::steps_at_once(nest_, storage_, v, reductions.back());
    }
    const int64_t most_steps = points > 1 && may_take_steps(v) ? fusion::kLaneSteps : 1;
    for (int64_t steps = 1; steps <= most_steps; ++steps) {
      const int64_t widest = takes_digits() ? kMostVectorsOfWords : kMostVectors;
      const int64_t most = std::min(vector_ops(extent(v) * steps), widest);
      for (int64_t vectors = 1; vectors <= most; ++vectors) {
        if (vectors * lanes_ % steps != 0 || !fits(v, vectors * lanes_ / steps)) continue;
        try_rows({vectors, 1, 1, steps});
      }
    }
    schedule_.vector_tile = std::min(extent(v), chosen.vectors * lanes_ / chosen.lane_steps);
    schedule_.lane_steps = chosen.lane_steps;
    if (chosen.rows > 1) schedule_.register_tile.push_back({p, chosen.rows});
    if (chosen.outer_rows > 1) schedule_.register_tile.push_back({q, chosen.outer_rows});
    schedule_.reduction_unroll = chosen.sums() < 12 ? 2 : 1;
  }

  bool fits_registers(const OuterProductTile& tile) const {
    const int64_t rows = tile.rows * tile.outer_rows;
    const int64_t needed = tile.sums() + tile.vectors + (tile.vectors > 1 && rows > 1 ? 1 : 0);
    return needed <= machine_.num_vector_registers() - (tile.vectors == 1 ? 1 : 0);
  }

  /// Whether vectors would not be full of lanes alone, and may hold two steps of the axis that
  /// choose_loops walks innermost.
  bool may_take_steps(int v) const {
    const bool has_rows = std::any_of(nest_.axes.begin(), nest_.axes.end(), [&](const auto& axis) {
      return !axis.reduction && axis.extent > 1 && &axis != &nest_.axes[v];
    });
    if (!has_rows || nest_.axes[v].reduction || extent(v) % lanes_ == 0 ||
        !schedule_.unrolled_reductions.empty())
      return false;
    const std::vector<int> order = ordered_reductions();
    return !order.empty() && fusion::takes_lane_steps(nest_, storage_, v, order.back());
  }

  /// Calls f(size, count) for the whole tiles of an axis and for the one that is left over.
  template <typename F>
  static void for_tiles(int64_t extent, int64_t size, F f) {
    if (extent / size > 0) f(size, extent / size);
    if (extent % size > 0) f(extent % size, int64_t{1});
  }

  double outer_product_cost(const OuterProductTile& tile, int p, int q) const {
    // To take a vector of numbers out of words and scale it, beside the multiply-adds.
    constexpr double kDigitSlots = 2;
    const auto steps = double(tile.lane_steps);
    const int64_t all_vectors = vector_ops(extent(schedule_.vector_axis) * tile.lane_steps);
    const double k = reduction_points() / steps / double(schedule_.byte_steps);
    const double panel_bytes = k * double(tile.vectors * machine_.vector_bytes());
    // A panel that does not stay in the first level is read from the second by every tile.
    const double far_load = panel_bytes > double(machine_.l1_bytes) / 2 ? 0.3 : 0;
    double cost = 0;
    for_tiles(all_vectors, tile.vectors, [&](int64_t vectors, int64_t panels) {
      for_tiles(p >= 0 ? extent(p) : 1, tile.rows, [&](int64_t rows, int64_t row_tiles) {
        for_tiles(q >= 0 ? extent(q) : 1, tile.outer_rows, [&](int64_t outer, int64_t outers) {
          const double fmas = double(vectors * rows * outer);
          const double loads = double((points_share_ ? vectors : vectors * rows) + rows * outer);
          // Eight independent sums hide the latency of an FMA at two a cycle.
          // As many loads as FMAs keep the two from overlapping fully.
          double per_step = std::max({fmas * product_slots(), 1.12 * loads, 8.0}) + 0.05 * loads;
          if (takes_digits()) per_step += kDigitSlots * double(vectors);
          per_step += far_load * double(vectors);
          double stores = p >= 0 ? store_slots(vectors, rows) * double(outer) : fmas;
          stores /= steps;
          const double taken_up = steps > 1 ? 3 * fmas : 0;
          cost += double(panels * row_tiles * outers) *
                  (per_step * k + 3.0 * fmas / steps + taken_up + stores + 12.0);
        });
      });
    });
    return cost / balance_with(tile, p, q);
  }

  /// Of a product with its addition, in those of an f32's. Source: measured on a Zen 5, where 1
  /// makes SqueezeNet in bytes 1.17 times as slow and six other models no different.
  double product_slots() const { return schedule_.byte_steps == fusion::kByteSteps ? 0.5 : 1; }

  /// Where memory runs along axis p the tile is transposed in registers.
  int64_t count_transposed_stores(int p) const {
    return std::count_if(nest_.stores.begin(), nest_.stores.end(), [&](const Nest::Store& store) {
      const Linear linear = index::to_linear(store.access.address);
      return linear.coefficient(schedule_.vector_axis) != 1 && linear.coefficient(p) == 1 &&
             store.access.guards.empty();
    });
  }

  /// Slots to store a tile of that many vectors and rows; transposed ones leave in runs of up to a
  /// vector's length.
  double store_slots(int64_t vectors, int64_t rows) const {
    const auto all = static_cast<int64_t>(nest_.stores.size());
    const auto plain = double((all - transposed_stores_) * vectors * rows);
    int64_t runs = rows / lanes_;
    for (int64_t rest = rows % lanes_; rest > 0; rest &= rest - 1) ++runs;
    return plain + double(transposed_stores_ * vectors) *
                       (2.0 * double(lanes_ * runs) + 4.0 * double(rows));
  }

  /// The share of the workers' time that is used, split along the best axis.
  double balance_with(const OuterProductTile& tile, int p, int q) const {
    const int64_t workers = machine_.threads;
    double best = 0;
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (nest_.axes[axis].reduction) continue;
      int64_t tiles = extent(axis);
      if (axis == p) tiles = ceil_div(tiles, tile.rows);
      if (axis == q) tiles = ceil_div(tiles, tile.outer_rows);
      if (axis == schedule_.vector_axis) {
        tiles = ceil_div(vector_ops(tiles * tile.lane_steps), tile.vectors);
      }
      best = std::max(best, double(tiles) / double(ceil_div(tiles, workers) * workers));
    }
    return std::max(best, 1.0 / double(workers));
  }

  std::optional<fusion::ScaledSum> scaled_sum_;  // whose tables a tile holds whole
  int64_t transposed_stores_ = 0;                // of the nest, in tiles of an outer product
  bool points_share_ = true;                     // vectors that are loaded, in such tiles
};

}  // namespace

void choose_tile(const fusion::Nest& nest, const fusion::StorageView& storage,
                 const Machine& machine, const std::vector<int64_t>& granules,
                 fusion::NestSchedule& schedule) {
  TileChooser(nest, storage, machine, granules, schedule).run();
}

}  // namespace corf::search
