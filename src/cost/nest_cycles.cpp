#include "cost/nest_cycles.h"

#include <algorithm>
#include <optional>
#include <set>

#include "cost/model.h"
#include "fusion/byte_steps.h"
#include "fusion/steps_inside.h"
#include "graph/scalar_cost.h"
#include "support/checked.h"
#include "target/strided_lanes.h"

namespace corf::cost {
namespace {

using fusion::Access;
using fusion::Nest;
using fusion::NestOp;
using fusion::NestSchedule;
using fusion::Root;

class NestCycles {
 public:
  NestCycles(const fusion::StorageView& storage, const Nest& nest, const NestSchedule& schedule,
             std::vector<int64_t> extents, const Model& model)
      : storage_(storage),
        nest_(nest),
        schedule_(schedule),
        extents_(std::move(extents)),
        model_(model),
        machine_(model.machine),
        k_(model.k) {}

  double run() {
    find_folded();
    if (schedule_.matrix != 0) return matrix();
    const TileWork tile = tile_work();
    Slots inside, outside;  // of a vector of points
    for (int i = 0; i < static_cast<int>(nest_.ops.size()); ++i) {
      const NestOp& op = nest_.ops[i];
      Slots& slots = i < nest_.reduce_op ? inside : outside;
      slots.arithmetic += instructions_of(i);
      if (op.kind == NestOp::Kind::kLoad) {
        const Access& load = nest_.loads[op.access];
        slots.accesses += access_slots(load) * load_share(load, tile.rows);
      }
    }
    double steps = tile.steps, step_cycles;
    const auto sum = fusion::scaled_sum(nest_, storage_, schedule_.vector_axis);
    if (sum && schedule_.reduction_order.empty()) {  // taken axis by axis, all of it in the tile
      steps = 1;
      step_cycles = tile.vectors * scaled_sum_cycles(*sum);
    } else if (nest_.contraction) {
      step_cycles = contraction_step(tile);
    } else {
      inside.arithmetic += 1;
      step_cycles = std::max(tile.wide * tile.results() * cycles_of(inside),
                             nest_.reduce_op >= 0 ? 2.0 : 0.0);
    }
    for (const auto& store : nest_.stores) outside.accesses += access_slots(store.access);
    // A sum may begin with what is added to it.
    if (schedule_.lane_steps == 1 && nest_.contraction && nest_.contraction->addition >= 0) {
      outside.arithmetic -= 1;
    }
    double after = tile.results() * cycles_of(outside) + k_.tile;
    // Steps side by side are added up, and so are lanes.
    if (schedule_.lane_steps > 1) after += k_.lane_step * tile.sums();
    if (nest_.contraction && sums_lanes()) after += k_.lane_sum * tile.sums();
    const double reduction = nest_.reduce_op >= 0 ? steps * step_cycles + tile.sums() : 0;
    return tile.count * (reduction + after);
  }

 private:
  double instructions_of(int number) const {
    const NestOp& op = nest_.ops[number];
    if (op.kind != NestOp::Kind::kApply || folded_.contains(number)) return 0;
    return graph::num_instructions(op.op);
  }

  /// Operations that become no instructions: constants of another type, and, of quantising, what
  /// converting to bytes does as well, rounding and clipping at the upper end.
  void find_folded() {
    const auto applied = [&](int number, graph::ScalarOp wanted) -> const NestOp* {
      const NestOp& op = nest_.ops[number];
      return op.kind == NestOp::Kind::kApply && op.op == wanted ? &op : nullptr;
    };
    const auto constant = [&](int number) {
      const NestOp* cast = applied(number, graph::ScalarOp::kCast);
      const NestOp& op = nest_.ops[cast ? cast->args[0] : number];
      return op.kind == NestOp::Kind::kConstant ? &op : nullptr;
    };
    for (int i = 0; i < static_cast<int>(nest_.ops.size()); ++i) {
      const NestOp* cast = applied(i, graph::ScalarOp::kCast);
      if (cast && constant(i)) folded_.insert(i);
      if (!cast || size_bytes(cast->dtype) != 1) continue;
      const NestOp* high = applied(cast->args[0], graph::ScalarOp::kMin);
      const NestOp* low = high ? applied(high->args[0], graph::ScalarOp::kMax) : nullptr;
      if (!low || low->dtype != DType::kF32) continue;
      int rounded = low->args[0];
      if (const NestOp* shifted = applied(rounded, graph::ScalarOp::kAdd)) {
        const NestOp* zero_point = constant(shifted->args[1]);
        if (!zero_point) continue;
        if (zero_point->f64 == 0 && zero_point->i64 == 0) folded_.insert(rounded);
        rounded = shifted->args[0];
      }
      if (!applied(rounded, graph::ScalarOp::kRoundEven)) continue;
      folded_.insert({rounded, cast->args[0]});
    }
  }

  /// Instructions, of which two of either kind begin in a cycle.
  struct Slots {
    double arithmetic = 0, accesses = 0;
  };
  double cycles_of(const Slots& slots) const {
    const auto [fewer, more] = std::minmax(slots.arithmetic, slots.accesses);
    return (more + k_.beside * fewer) / 2;
  }

  /// The tiles of a nest, all alike.
  struct TileWork {
    double count = 1;
    double rows = 1;        // points besides the vector axis
    double vectors = 1;     // along it
    double wide = 1;        // vectors of a sum's steps at once
    double steps = 1;       // of the sum
    double lane_steps = 1;  // that a vector holds side by side

    /// Vectors of sums, and of what they yield.
    double sums() const { return vectors * rows; }
    double results() const { return sums() / lane_steps; }
  };

  /// Whether lanes run along the sum.
  bool sums_lanes() const {
    return schedule_.vector_axis >= 0 && nest_.axes[schedule_.vector_axis].reduction;
  }

  TileWork tile_work() const {
    TileWork work;
    const int v = schedule_.vector_axis;
    const int64_t lanes = machine_.f32_lanes();
    for (int axis = 0; axis < static_cast<int>(nest_.axes.size()); ++axis) {
      if (nest_.axes[axis].reduction) {
        work.steps *= double(extents_[axis]);
        continue;
      }
      if (axis == v) continue;
      const auto count = double(ceil_div(extents_[axis], tile_of(axis)));
      work.count *= count;
      work.rows *= double(extents_[axis]) / count;
    }
    work.steps *= fusion::share_of_steps(nest_, schedule_);
    work.lane_steps = double(schedule_.lane_steps);
    if (sums_lanes()) {
      work.wide = std::max(1.0, double(schedule_.vector_tile) / double(lanes));
      work.steps = std::max(1.0, work.steps / double(lanes) / work.wide);
    } else if (v >= 0) {
      const int64_t tile = std::min(schedule_.vector_tile, extents_[v]);
      auto vectors_of = [&](int64_t points) {
        return ceil_div(points * schedule_.lane_steps, lanes);
      };
      const int64_t full = extents_[v] / tile, rest = extents_[v] % tile;
      const auto count = double(ceil_div(extents_[v], tile));
      work.count *= count;
      work.vectors = double(full * vectors_of(tile) + vectors_of(rest)) / count;
    }
    work.steps /= work.lane_steps * double(schedule_.byte_steps);
    if (const int axis = fusion::byte_axis(schedule_); axis >= 0) {
      const auto filled = double(round_up(nest_.axes[axis].extent, schedule_.byte_steps));
      work.steps *= filled / double(nest_.axes[axis].extent);
    }
    return work;
  }

  /// Cycles of a step of a contraction's loop in one tile.
  double contraction_step(const TileWork& tile) const {
    double loads = tile.vectors + tile.rows;
    if (sums_lanes()) {
      loads = loads_of(nest_.contraction->factors[0]) + loads_of(nest_.contraction->factors[1]);
      loads *= tile.wide;
    } else if (is_window()) {
      // Neighbours share what they load, and rows of bytes that they interleave.
      loads = tile.sums() / 2 * (schedule_.byte_steps > 1 ? k_.interleaved : 1);
    }
    for (int i = 0; i < nest_.reduce_op; ++i) {
      if (nest_.ops[i].kind != NestOp::Kind::kLoad) continue;
      const double slots = access_slots(nest_.loads[nest_.ops[i].access]);
      if (slots > 4) loads = std::max(loads, tile.results() * slots);  // element by element
    }
    // As many loads as multiply-adds keep the two from overlapping fully.
    const std::optional<double> panel = panel_cycles(tile.vectors, tile.steps);
    const double bound = std::max(
        {tile.wide * tile.sums() / 2, k_.loads * loads / 2, k_.fewest_cycles, panel.value_or(0)});
    const double cycles = model_.stalls * bound + k_.load_slot * loads;
    // The loop's own instructions, and rows of a factor that are apart: small tiles suffer most.
    return panel ? cycles : cycles + k_.loop;
  }

  double matrix() const {
    const auto shape = fusion::matrix_shape(nest_, storage_, schedule_);
    if (!shape) return 0;
    Slots outside;  // of a vector of results
    for (int i = nest_.reduce_op; i < static_cast<int>(nest_.ops.size()); ++i) {
      const NestOp& op = nest_.ops[i];
      outside.arithmetic += instructions_of(i);
      if (op.kind == NestOp::Kind::kLoad) outside.accesses += access_slots(nest_.loads[op.access]);
    }
    for (const auto& store : nest_.stores) outside.accesses += access_slots(store.access);
    const fusion::MatrixWork work = fusion::matrix_work(nest_, schedule_, *shape, extents_);
    const bool ahead = fusion::packs_before_strips(nest_, schedule_, *shape);
    const double packed = ahead ? 0 : work.passes * work.packed;
    const double panels = shape->packs ? 0 : machine_.panel_cycles(work.panel_bytes, work.passes);
    // What is split at a time is read for each panel.
    const bool is_near = !shape->packs || work.block_bytes <= double(machine_.l1_bytes);
    const double split = machine_.split_cycles() * (is_near ? 1 : 2);
    const double products = machine_.matrix_product_cycles(work.sums) * work.products + panels;
    const double results = work.results * (2 + cycles_of(outside));
    // What follows the sums of a panel runs beside the products of the next one.
    const bool beside = extents_[schedule_.vector_axis] > schedule_.vector_tile;
    const double on_both = beside ? Machine::fetched_cycles(products, results) : products + results;
    return on_both + split * work.vectors + machine_.split_cycles() * packed;
  }

  /// Whether both factors run along the vectors: a depthwise convolution.
  bool is_window() const {
    const auto& factors = nest_.contraction->factors;
    return std::all_of(factors.begin(), factors.end(), [&](int load) {
      return index::depends_on(nest_.loads[load].address, schedule_.vector_axis);
    });
  }

  /// Points of a tile that read elements of their own.
  double loads_of(int load) const {
    double points = 1;
    for (const auto& tiled : schedule_.register_tile) {
      if (index::depends_on(nest_.loads[load].address, tiled.axis)) {
        points *= double(tile_of(tiled.axis));
      }
    }
    return points;
  }

  int64_t tile_of(int axis) const {
    for (const auto& tiled : schedule_.register_tile) {
      if (tiled.axis == axis) return std::min(tiled.extent, extents_[axis]);
    }
    return 1;
  }

  /// Cycles to take the whole sum for one vector of the points that a tile holds.
  double scaled_sum_cycles(const fusion::ScaledSum& sum) const {
    double values = 1, cycles = 0;
    for (const auto& tiled : schedule_.register_tile) values *= double(tile_of(tiled.axis));
    for (const auto& table : sum.tables) {
      values *= double(extents_[table.reduction_axis]) / double(tile_of(table.parallel_axis));
    }
    const Access& scaled = nest_.loads[nest_.ops[sum.op].access];
    cycles += values * access_slots(scaled) / 2;
    for (const auto& table : sum.tables) {
      const auto sums = double(tile_of(table.parallel_axis));
      // Zeros are left out of a table of which the tile spans all, as the code holds it.
      const bool in_code = tile_of(table.parallel_axis) == nest_.axes[table.parallel_axis].extent;
      cycles += (in_code ? k_.table_terms : 1) * values * sums / 2;
      values *= sums / double(extents_[table.reduction_axis]);
    }
    return cycles;
  }

  /// Cycles of a step to bring the vectors of the packed operand near: once for all tiles that use
  /// the panel if it then stays in the first level, for each tile otherwise; nullopt where nothing
  /// is packed.
  std::optional<double> panel_cycles(double vectors, double steps) const {
    const int v = schedule_.vector_axis;
    for (size_t i = 0; i < nest_.loads.size(); ++i) {
      const Access& load = nest_.loads[i];
      if (!fusion::is_packed(nest_, storage_, static_cast<int>(i), v)) continue;
      double reuse = 1;
      for (int axis = 0; axis < static_cast<int>(nest_.axes.size()); ++axis) {
        if (nest_.axes[axis].reduction || axis == v || index::depends_on(load.address, axis)) {
          continue;
        }
        reuse *= double(ceil_div(extents_[axis], tile_of(axis)));
      }
      const double bytes = vectors * double(machine_.vector_bytes());
      const bool stays = bytes * steps <= double(machine_.l1_bytes) / 2;
      return bytes / model_.rates.panel / (stays ? reuse : 1);
    }
    return {};
  }

  /// Slots to load or store one vector: more where its elements are apart.
  double access_slots(const Access& access) const {
    const int v = schedule_.vector_axis;
    if (v < 0 || !index::depends_on(access.address, v)) return 1;
    const index::Linear linear = index::to_linear(access.address);
    const bool packable = storage_.is_constant(access.root);
    if (linear.coefficient(v) == 1 || packable) return 1;
    for (const auto& tiled : schedule_.register_tile) {
      if (linear.coefficient(tiled.axis) != 1) continue;
      if (tiled.extent >= 8) return k_.transposed_wide;
      if (tiled.extent >= 4) return k_.transposed_narrow;
    }
    const int64_t stride = linear.coefficient(v);
    const int64_t elem_bytes = size_bytes(storage_.root(access.root).dtype);
    const double gathered = k_.gathered * double(machine_.f32_lanes());
    const bool is_shuffled = shuffles_strided_lanes(stride, elem_bytes, machine_.f32_lanes());
    return linear.is_affine() && is_shuffled ? std::min(gathered, k_.strided * double(stride))
                                             : gathered;
  }

  /// Loads that do not move along the register tile are shared by its rows.
  double load_share(const Access& access, double rows) const {
    for (const auto& tiled : schedule_.register_tile) {
      if (index::depends_on(access.address, tiled.axis)) return 1;
    }
    return 1 / rows;
  }

  const fusion::StorageView storage_;
  const Nest& nest_;
  const NestSchedule& schedule_;
  const std::vector<int64_t> extents_;
  const Model& model_;
  const Machine& machine_;
  const Coefficients& k_;
  std::set<int> folded_;
};

/// Bytes of a constant that the busiest worker reads.
double weight_bytes(const fusion::StorageView& storage, const Nest& nest,
                    const NestSchedule& schedule, const Access& access, double share) {
  double elems = 1;
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    if (index::depends_on(access.address, axis)) elems *= double(nest.axes[axis].extent);
  }
  const Root& root = storage.root(access.root);
  const int split = schedule.partition_axis;
  const bool divided = split >= 0 && index::depends_on(access.address, split);
  return (divided ? share : 1) * std::min(elems, double(root.size_elems)) *
         double(size_bytes(root.dtype));
}

}  // namespace

NestCost nest_cost(const fusion::StorageView& storage, const Nest& nest,
                   const NestSchedule& schedule, const Model& model) {
  NestCost cost;
  std::vector<int64_t> extents;
  for (const auto& axis : nest.axes) extents.push_back(axis.extent);
  if (const int axis = schedule.partition_axis; axis >= 0) {
    const int64_t tile = schedule.tile_extent(axis), tiles = ceil_div(extents[axis], tile);
    const int64_t most = ceil_div(tiles, schedule.partitions);
    cost.share = double(most) / double(tiles);
    extents[axis] = std::min(extents[axis], most * tile);
  }
  cost.compute = nest_cycles(storage, nest, schedule, extents, model);
  if (const int axis = schedule.partition_axis; axis >= 0) {
    cost.compute *= fusion::busiest_part(nest, schedule, axis, schedule.partitions);
  }
  double panels = 0;  // of the matrix unit
  std::set<graph::ValueId> values;
  for (const Access& load : nest.loads) {
    if (!storage.is_constant(load.root)) continue;
    if (!values.insert(load.value).second) continue;
    const double bytes = weight_bytes(storage, nest, schedule, load, cost.share);
    if (schedule.matrix == 0) {
      cost.streamed += bytes / model.weights_rate(storage.plan().constant_bytes);
    } else {
      panels += kPartBytes * bytes * model.weights_wait(storage.plan().constant_bytes);
    }
  }
  const bool fetched = schedule.prefetch == fusion::Prefetch::kPanel;
  cost.compute = fetched ? Machine::fetched_cycles(cost.compute, panels) : cost.compute + panels;
  return cost;
}

double nest_cycles(const fusion::StorageView& storage, const Nest& nest,
                   const NestSchedule& schedule, std::vector<int64_t> extents, const Model& model) {
  return NestCycles(storage, nest, schedule, std::move(extents), model).run();
}

}  // namespace corf::cost
