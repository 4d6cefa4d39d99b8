#include "cost/group_cost.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "fusion/matrix.h"
#include "support/checked.h"

namespace corf::cost {
namespace {

using fusion::Access;
using fusion::FusionGroup;
using fusion::Nest;
using fusion::NestOp;
using fusion::NestSchedule;
using fusion::Root;
using graph::ScalarOp;

constexpr double kL2Share = 0.55;  // of the second level that one kernel can count on

/// Bytes that one core reads in a cycle, all of them busy, and what does not depend on data. A
/// cycle is the time of two multiply-adds of a whole vector.
struct Rates {
  double cold;   // weights, which the rest of the network has driven out
  double panel;  // fetched ahead from the second level
  double l1, l2, l3, dram;
  double passed;   // from a kernel to the next, within the second level
  double visit;    // cycles to begin a stage in a strip: bounds, what has to be near
  double barrier;  // cycles of a barrier, and of the caches that are cold behind it
};

/// What a kernel sees of the measured bandwidths is a part of them, since it writes too and does
/// not read all the time. Where nothing was measured, figures of a core with two units.
Rates rates_of(const Machine& machine) {
  constexpr double kVisit_ns = 215, kBarrier_ns = 1600;
  if (machine.fma_gflops_core <= 0 || machine.l2_gbps_core <= 0 || machine.l3_gbps_core <= 0 ||
      machine.dram_gbps_all <= 0) {
    return {4, 24, 48, 16, 12, 6, 14, 800, 6000};
  }
  const double cycle_ns = 4.0 * machine.f32_lanes() / machine.fma_gflops_core;
  const double l2 = 0.4 * machine.l2_gbps_core * cycle_ns;
  const double l3 = std::min(l2, 1.1 * machine.l3_gbps_core * cycle_ns);
  const double dram = std::min(l3, 0.95 * machine.dram_gbps_all / machine.threads * cycle_ns);
  // Workers read parts of what others have written.
  const double passed = std::max(l3, 0.6 * l2);
  return {0.8 * dram,
          1.5 * l2,
          3 * l2,
          l2,
          l3,
          dram,
          passed,
          kVisit_ns / cycle_ns,
          kBarrier_ns / cycle_ns};
}

/// Instruction slots of an operation on one vector.
double slots_of(ScalarOp op) {
  switch (op) {
    case ScalarOp::kExp:
    case ScalarOp::kLog:
      return 20;
    case ScalarOp::kErf:
    case ScalarOp::kTanh:
    case ScalarOp::kSigmoid:
      return 30;
    case ScalarOp::kPow:
    case ScalarOp::kSin:
    case ScalarOp::kCos:
      return 60;
    case ScalarOp::kDiv:
    case ScalarOp::kSqrt:
      return 10;
    default:
      return 1;
  }
}

/// Cycles of one worker that walks the whole nest with `extents` points along its axes.
class NestCycles {
 public:
  NestCycles(const fusion::StoragePlan& storage, const Nest& nest, const NestSchedule& schedule,
             std::vector<int64_t> extents, const Machine& machine)
      : storage_(storage),
        nest_(nest),
        schedule_(schedule),
        extents_(std::move(extents)),
        machine_(machine),
        rates_(rates_of(machine)) {}

  double run() const {
    if (schedule_.matrix != 0) return matrix();
    double tiles = 1, rows_used = 1;
    for (int axis = 0; axis < static_cast<int>(nest_.axes.size()); ++axis) {
      if (nest_.axes[axis].reduction || axis == schedule_.vector_axis) continue;
      const int64_t tile = tile_of(axis);
      const auto count = double(ceil_div(extents_[axis], tile));
      tiles *= count;
      rows_used *= double(extents_[axis]) / count;
    }
    const int v = schedule_.vector_axis;
    const double lanes = machine_.f32_lanes();
    double vectors = 1, vector_tiles = 1;
    if (v >= 0 && !nest_.axes[v].reduction) {
      const int64_t all = ceil_div(extents_[v], machine_.f32_lanes());
      const int64_t tile = std::max<int64_t>(1, schedule_.vector_tile / machine_.f32_lanes());
      vector_tiles = double(ceil_div(all, tile));
      vectors = double(all) / vector_tiles;
    }
    double steps = 1;
    for (int axis = 0; axis < static_cast<int>(nest_.axes.size()); ++axis) {
      if (nest_.axes[axis].reduction) steps *= double(extents_[axis]);
    }
    if (v >= 0 && nest_.axes[v].reduction) steps = std::max(1.0, steps / lanes);
    double inside = 0, outside = 0;  // slots of a vector of points
    for (int i = 0; i < static_cast<int>(nest_.ops.size()); ++i) {
      const NestOp& op = nest_.ops[i];
      double slots = op.kind == NestOp::Kind::kApply ? slots_of(op.op) : 0;
      if (op.kind == NestOp::Kind::kLoad) {
        const Access& load = nest_.loads[op.access];
        slots = access_slots(load) * load_share(load, rows_used);
      }
      (i < nest_.reduce_op ? inside : outside) += slots;
    }
    const double results = vectors * rows_used;
    double step_cycles;
    if (const auto sum = fusion::scaled_sum(nest_, storage_, v)) {
      steps = 1;
      step_cycles = vectors * scaled_sum_cycles(*sum);
    } else if (nest_.is_contraction()) {
      double loads = vectors + rows_used;
      if (is_window()) loads = results / 2;  // neighbours share what they load
      for (int i = 0; i < nest_.reduce_op; ++i) {
        if (nest_.ops[i].kind != NestOp::Kind::kLoad) continue;
        const double slots = access_slots(nest_.loads[nest_.ops[i].access]);
        if (slots > 4) loads = std::max(loads, results * slots);  // element by element
      }
      // As many loads as multiply-adds keep the two from overlapping fully.
      constexpr double kLoads = 1.12, kStalls = 1.12;
      const std::optional<double> panel = panel_cycles(vectors, steps);
      const double bound = std::max({results / 2, kLoads * loads / 2, 4.0, panel.value_or(0)});
      step_cycles = kStalls * bound + 0.03 * loads;
      // The loop's own instructions, and rows of a factor that are apart: small tiles suffer most.
      if (!panel) step_cycles += 0.5;
    } else {
      step_cycles = std::max(results * (inside + 1) / 2, nest_.reduce_op >= 0 ? 2.0 : 0.0);
    }
    for (const auto& store : nest_.stores) outside += access_slots(store.access);
    const double after = results * outside / 2 + 6;
    const double reduction = nest_.reduce_op >= 0 ? steps * step_cycles + results : 0;
    return tiles * vector_tiles * (reduction + after);
  }

 private:
  double matrix() const {
    const auto shape = fusion::matrix_shape(nest_, storage_, schedule_);
    if (!shape) return 0;
    double outside = 0;  // slots of a vector of results
    for (int i = nest_.reduce_op; i < static_cast<int>(nest_.ops.size()); ++i) {
      const NestOp& op = nest_.ops[i];
      if (op.kind == NestOp::Kind::kApply) outside += slots_of(op.op);
      if (op.kind == NestOp::Kind::kLoad) outside += access_slots(nest_.loads[op.access]);
    }
    for (const auto& store : nest_.stores) outside += access_slots(store.access);
    const fusion::MatrixWork work = fusion::matrix_work(nest_, schedule_, *shape, extents_);
    return machine_.matrix_product_cycles(work.sums) * work.products +
           machine_.split_cycles() * work.vectors + work.results * (2 + outside / 2);
  }

  /// Whether both factors run along the vectors: a depthwise convolution.
  bool is_window() const {
    const NestOp& product = nest_.ops[nest_.ops[nest_.reduce_op].args[0]];
    return std::all_of(product.args.begin(), product.args.end(), [&](int arg) {
      const Access& access = nest_.loads[nest_.ops[arg].access];
      return index::depends_on(access.address, schedule_.vector_axis);
    });
  }

  int64_t tile_of(int axis) const {
    for (const auto& tiled : schedule_.register_tile) {
      if (tiled.axis == axis) return std::min(tiled.extent, extents_[axis]);
    }
    return 1;
  }

  /// Cycles to take the whole sum for one vector of the points that a tile holds.
  double scaled_sum_cycles(const fusion::ScaledSum& sum) const {
    constexpr double kTerms = 0.7;  // the share of a table's entries that are not zero
    double values = 1, cycles = 0;
    for (const auto& table : sum.tables) values *= double(extents_[table.reduction_axis]);
    const Access& scaled = nest_.loads[nest_.ops[sum.op].access];
    cycles += values * access_slots(scaled) / 2;
    for (const auto& table : sum.tables) {
      cycles += kTerms * values * double(extents_[table.parallel_axis]) / 2;
      values *= double(extents_[table.parallel_axis]) / double(extents_[table.reduction_axis]);
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
      return bytes / rates_.panel / (stays ? reuse : 1);
    }
    return {};
  }

  /// Slots to load or store one vector: more where its elements are apart.
  double access_slots(const Access& access) const {
    const int v = schedule_.vector_axis;
    if (v < 0 || !index::depends_on(access.address, v)) return 1;
    const index::Linear linear = index::to_linear(access.address);
    const bool packable = storage_.roots[access.root].kind == Root::Kind::kConstant;
    if (linear.coefficient(v) == 1 || packable) return 1;
    for (const auto& tiled : schedule_.register_tile) {
      if (linear.coefficient(tiled.axis) != 1) continue;
      if (tiled.extent >= 8) return 4;
      if (tiled.extent >= 4) return 7;
    }
    return 1.5 * double(machine_.f32_lanes());
  }

  /// Loads that do not move along the register tile are shared by its rows.
  double load_share(const Access& access, double rows) const {
    for (const auto& tiled : schedule_.register_tile) {
      if (index::depends_on(access.address, tiled.axis)) return 1;
    }
    return 1 / rows;
  }

  const fusion::StoragePlan& storage_;
  const Nest& nest_;
  const NestSchedule& schedule_;
  const std::vector<int64_t> extents_;
  const Machine& machine_;
  const Rates rates_;
};

std::vector<int64_t> extents_of(const Nest& nest) {
  std::vector<int64_t> extents;
  for (const auto& axis : nest.axes) extents.push_back(axis.extent);
  return extents;
}

double bytes_of(const graph::Graph& graph, graph::ValueId value) {
  const graph::Value& info = graph.values[value];
  return double(num_elems(info.shape) * size_bytes(info.dtype));
}

/// Whether a materialised value is in no cache any more when it is read again.
bool is_far(double bytes, const Machine& machine) { return bytes > double(machine.l3_bytes) / 2; }

/// What is written is first read, and leaves the cache once more.
constexpr double kPassesToWrite = 2;

/// The factors of a contraction are read element by element, a few rows at a time: where they are
/// in no cache, that waits for most of them.
double passes_to_read(const Nest& nest, double bytes, const Machine& machine) {
  constexpr double kWaits = 1.3;
  return nest.is_contraction() && is_far(bytes, machine) ? kWaits : 1;
}

/// Bytes a cycle at which a worker reads a materialised value again.
double rate(double bytes, const Machine& machine) {
  const Rates rates = rates_of(machine);
  if (bytes / machine.threads <= 0.75 * double(machine.l2_bytes)) return rates.passed;
  return is_far(bytes, machine) ? rates.dram : rates.l3;
}

/// The share of the whole work that the busiest worker does.
double busiest_share(int64_t pieces, int64_t partitions) {
  return double(ceil_div(pieces, partitions)) / double(pieces);
}

/// The share of the rows that the busiest worker makes, strips being shared out whole.
double busiest_rows(int64_t rows, int64_t strip, int64_t partitions) {
  const int64_t strips = ceil_div(rows, strip);
  int64_t most = 0;
  for (int64_t part = 0; part < partitions; ++part) {
    const int64_t from = part * strips / partitions, to = (part + 1) * strips / partitions;
    most = std::max(most, std::min(to * strip, rows) - std::min(from * strip, rows));
  }
  return double(most) / double(rows);
}

/// Whether workers read parts of the value rather than all of it.
bool is_divided(const Nest& nest, const NestSchedule& schedule, graph::ValueId value) {
  const int split = schedule.partition_axis;
  return split >= 0 && std::any_of(nest.loads.begin(), nest.loads.end(), [&](const Access& load) {
           return load.value == value && index::depends_on(load.address, split);
         });
}

GroupCost predict_single(const graph::Graph& graph, const fusion::StoragePlan& storage,
                         const FusionGroup& group, const Machine& machine) {
  const Rates rates = rates_of(machine);
  GroupCost cost;
  for (const auto& [nest, schedule] : group.nests) {
    double share = 1;
    if (schedule.partition_axis >= 0) {
      int64_t tile = schedule.partition_axis == schedule.vector_axis ? schedule.vector_tile : 1;
      for (const auto& tiled : schedule.register_tile) {
        if (tiled.axis == schedule.partition_axis) tile = tiled.extent;
      }
      const int64_t extent = nest.axes[schedule.partition_axis].extent;
      share = busiest_share(ceil_div(extent, tile), schedule.partitions);
    }
    cost.compute += share * NestCycles(storage, nest, schedule, extents_of(nest), machine).run();
    std::map<graph::ValueId, bool> values;  // whether it is the group's own result
    for (const Access& load : nest.loads) values.emplace(load.value, false);
    for (const auto& store : nest.stores) values[store.access.value] = true;
    for (const auto& [value, written] : values) {
      const double bytes = bytes_of(graph, value);
      if (storage.roots[storage.values[value].root].kind == Root::Kind::kConstant) {
        // Every worker reads what its part of the nest needs.
        cost.streamed += (is_divided(nest, schedule, value) ? share : 1) * bytes / rates.cold;
        continue;
      }
      const double times = written ? kPassesToWrite : passes_to_read(nest, bytes, machine);
      cost.memory += share * times * bytes / rate(bytes, machine);
    }
    cost.barrier += rates.barrier;
  }
  return cost;
}

GroupCost predict_strips(const graph::Graph& graph, const fusion::StoragePlan& storage,
                         const FusionGroup& group, const fusion::StripAnalysis& strips,
                         const Machine& machine) {
  const Rates rates = rates_of(machine);
  const fusion::StripSchedule& schedule = *group.strips;
  const Shape& points = graph.values[group.stages.back().stored[0]].shape;
  double blocks = 1, share = 1;
  for (size_t i = 0; i < schedule.outer.size(); ++i) {
    const int64_t count = ceil_div(points[schedule.outer[i].dim], schedule.outer[i].block);
    blocks *= double(count);
    if (schedule.partition_loop == static_cast<int>(i)) {
      share = busiest_share(count, schedule.partitions);
    }
  }
  // Chunks take partial results from memory and leave them there.
  double partial_bytes = 0;
  if (schedule.scatter) {
    blocks *= double(strips.num_chunks);
    partial_bytes = 4 * double(num_elems(points)) / double(schedule.partitions);
  }
  const int64_t last_rows = strips.stages.back().rows;
  const int64_t num_strips = ceil_div(last_rows, schedule.strip);
  if (schedule.partition_loop == static_cast<int>(schedule.outer.size())) {
    share = busiest_rows(last_rows, schedule.strip, schedule.partitions);
  }
  const double ring_bytes = double(fusion::ring_bytes(strips, storage)) + partial_bytes;
  std::set<graph::ValueId> rings, divided;  // divided: each worker reads its part
  std::map<graph::ValueId, double> others;  // how often their bytes pass
  // What a strip reads whatever its rows: bytes of one strip, and of all of them.
  struct Revisited {
    double bytes = 0, all_bytes = 0;
  };
  std::map<graph::ValueId, Revisited> revisited;
  // Strips in which the stage has something to make.
  auto visits_of = [&](const fusion::StripStage& stage) {
    const double units = std::max(1.0, double(stage.rows_made) / double(stage.unit));
    return blocks * std::min(double(num_strips), units);
  };
  for (const fusion::StripRing& ring : strips.rings) rings.insert(ring.value);
  const auto stream = static_cast<int>(strips.stages.back().outer_dims.size());
  const int chunks = schedule.scatter ? stream - 1 : -1;
  for (size_t s = 0; s < group.nests.size(); ++s) {
    const Nest& nest = group.nests[s].nest;
    for (const Access& load : nest.loads) {
      if (rings.count(load.value)) continue;
      double bytes = bytes_of(graph, load.value);
      bool walked = false, in_chunks = false;
      for (size_t axis = 0; axis < nest.axes.size(); ++axis) {
        const int shared = nest.axes[axis].shared;
        if (shared < 0 || !index::depends_on(load.address, static_cast<int>(axis))) continue;
        if (shared == stream) {
          walked = true;
        } else {
          if (shared == chunks) in_chunks = true;
          if (shared == schedule.partition_loop && shared != chunks) divided.insert(load.value);
          const auto block = double(strips.stages[s].outer_blocks[shared]);
          bytes *= std::min(1.0, block / double(nest.axes[axis].extent * nest.axes[axis].unit));
        }
      }
      if (walked) {
        double& passes = others[load.value];
        double times = passes_to_read(nest, bytes_of(graph, load.value), machine);
        // The last stage reads the rest in the last chunk.
        const bool every_chunk = schedule.scatter && !in_chunks && s + 1 < group.nests.size();
        if (every_chunk) times *= double(strips.num_chunks);
        passes = std::max(passes, times);
      } else {
        revisited[load.value] = {bytes, bytes * visits_of(strips.stages[s])};
      }
    }
    for (const auto& store : nest.stores) {
      if (!rings.count(store.access.value)) others[store.access.value] = kPassesToWrite;
    }
  }
  double revisited_bytes = 0, all_visits_bytes = 0, first_visit_bytes = 0;
  for (const auto& [value, read] : revisited) {
    revisited_bytes += read.bytes;
    all_visits_bytes += read.all_bytes;
    first_visit_bytes += (divided.count(value) ? share : 1) * bytes_of(graph, value);
  }
  // What is read once a strip drives out itself, but not rings, which are used right away.
  const double near_bytes = kL2Share * double(machine.l2_bytes);
  GroupCost cost;
  for (size_t s = 0; s < group.nests.size(); ++s) {
    const auto& [nest, stage_schedule] = group.nests[s];
    const fusion::StripStage& stage = strips.stages[s];
    std::vector<int64_t> extents;
    for (const fusion::NestAxis& axis : nest.axes) {
      extents.push_back(fusion::extent_in_strip(stage, axis));
    }
    const double made = double(stage.rows_made) / double(stage.unit);
    const double per_strip = NestCycles(storage, nest, stage_schedule, extents, machine).run();
    const double strips_equal =
        made / double(std::max<int64_t>(1, ceil_div(stage.rows_in_strip, stage.unit)));
    cost.compute += share * blocks * std::max(1.0, strips_equal) * per_strip;
    // Strips for which a stage has nothing to make cost next to nothing.
    cost.compute += share * visits_of(stage) * rates.visit;
  }
  // Cycles for a byte that lies among so many: beyond what is sure to stay near, the more there are
  // the more of them have gone.
  auto byte_cycles = [&](double bytes, double near_rate) {
    const double too_many = (bytes - near_bytes) / (double(machine.l2_bytes) - near_bytes);
    const double gone = std::clamp(too_many, 0.0, 1.0);
    return (1 - gone) / near_rate + gone / rates.l3;
  };
  const double level = byte_cycles(ring_bytes, rates.l2);
  const double first = first_visit_bytes / rates.cold;
  const double again = byte_cycles(ring_bytes + revisited_bytes, 2 * rates.l2);
  cost.streamed += std::max(first, share * all_visits_bytes * again);
  for (const fusion::StripRing& ring : strips.rings) {
    // Written once and read once.
    const double bytes = bytes_of(graph, ring.value);
    const Root& root = storage.roots[storage.values[ring.value].root];
    const bool near = root.size_elems * size_bytes(root.dtype) <= machine.l1_bytes / 2;
    cost.memory += share * 2 * bytes * (near ? 1 / rates.l1 : level);
  }
  for (const auto& [value, passes] : others) {
    const double bytes = bytes_of(graph, value);
    cost.memory += share * passes * bytes / rate(bytes, machine);
  }
  cost.memory += 2 * double(strips.num_chunks - 1) * partial_bytes * level;
  cost.barrier = rates.barrier;
  return cost;
}

}  // namespace

double GroupCost::total() const {
  return std::max(compute, streamed + memory / 2) + memory / 2 + barrier;
}

GroupCost predict(const graph::Graph& graph, const fusion::StoragePlan& storage,
                  const FusionGroup& group, const fusion::StripAnalysis* strips,
                  const Machine& machine) {
  if (strips) return predict_strips(graph, storage, group, *strips, machine);
  return predict_single(graph, storage, group, machine);
}

}  // namespace corf::cost
