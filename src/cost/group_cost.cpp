#include "cost/group_cost.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "cost/model.h"
#include "cost/nest_cycles.h"
#include "fusion/matrix.h"
#include "support/budget.h"
#include "support/checked.h"

namespace corf::cost {
namespace {

using fusion::Access;
using fusion::GroupPlan;
using fusion::Nest;
using fusion::NestSchedule;
using fusion::Root;

double bytes_of(const graph::Graph& graph, graph::ValueId value) {
  const graph::Value& info = graph.values[value];
  return double(num_elems(info.shape) * size_bytes(info.dtype));
}

/// Whether a materialised value is in no cache any more when it is read again.
bool is_far(double bytes, const Model& model) { return bytes > double(model.machine.l3_bytes) / 2; }

/// Places that a tile reads at the same time, each on pages of its own.
double streams_of(const Access& load, const fusion::ScheduledNest& scheduled) {
  constexpr double kPageBytes = 4096;
  const index::Linear address = index::to_linear(load.address);
  double streams = 1;
  auto add = [&](int axis, int64_t extent) {
    const auto step = double(std::abs(address.coefficient(axis)));
    if (sizeof(float) * step >= kPageBytes) streams *= double(extent);
  };
  for (const auto& tiled : scheduled.schedule.register_tile) add(tiled.axis, tiled.extent);
  for (const int axis : scheduled.schedule.unrolled_reductions) {
    add(axis, scheduled.nest.axes[axis].extent);
  }
  return streams;
}

/// Of a value of so many bytes. The factors of a contraction are read element by element, a few
/// rows at a time: where they are in no cache, that waits for most of them. So do tiles that read
/// in more places than are fetched ahead.
double passes_to_read(const Access& load, const fusion::ScheduledNest& scheduled, double bytes,
                      const Model& model) {
  if (!is_far(bytes, model)) return 1;
  const double factors = scheduled.nest.contraction ? model.k.far_factors : 1;
  return std::max(factors, streams_of(load, scheduled) / model.k.streams_ahead);
}

/// The part that is gone of what lies among so many bytes: none up to `sure` of the second level,
/// more of it the more there are, all of it 1 - near_share of the level further on.
double gone(double bytes, double sure, const Model& model) {
  const auto level = double(model.machine.l2_bytes);
  return std::clamp((bytes / level - sure) / (1 - model.k.near_share), 0.0, 1.0);
}

/// What goes by when a kernel reads and writes materialised values: all of them push each other
/// out.
class Passing {
 public:
  /// `touched`: bytes of all workers.
  Passing(const Model& model, double touched)
      : model_(model), gone_(gone(touched / model.machine.threads, model.k.sure_share, model)) {}

  double gone_part() const { return gone_; }
  /// Cycles in which a worker reads a byte again, if a value has so many.
  double read_cycles(double bytes) const { return cycles(bytes, model_.rates.passed); }
  /// And writes one: what others have read of it costs its reader.
  double write_cycles(double bytes) const { return cycles(bytes, model_.rates.l2); }

 private:
  double cycles(double bytes, double near_rate) const {
    if (is_far(bytes, model_)) return 1 / model_.rates.dram;
    return (1 - gone_) / near_rate + gone_ / model_.rates.l3;
  }

  const Model& model_;
  const double gone_;
};

/// How many times the bytes of a value cost where a strip touches short runs of them: their first
/// lines are not fetched ahead, and what shares a line with the next strip moves twice.
double broken_runs(const Access& access, const Nest& nest, int stream,
                   const fusion::WalkStage& stage, const Model& model) {
  constexpr double kLine = 64;
  double run = 0;  // elements
  for (size_t axis = 0; axis < nest.axes.size(); ++axis) {
    if (nest.axes[axis].shared != stream) continue;
    const int64_t step = std::abs(index::to_linear(access.address).coefficient(int(axis)));
    run = std::max(run, double(step * fusion::extent_in_strip(stage, nest.axes[axis])));
  }
  return run > 0 ? 1 + model.k.lines_not_ahead * kLine / (sizeof(float) * run) : 1;
}

/// The same of results that leave panel by panel, each row of a block a few lines at a time.
double panel_runs(const fusion::StorageView& storage, const Nest& nest,
                  const NestSchedule& schedule, const Model& model) {
  constexpr double kLine = 64;
  if (schedule.matrix == 0) return 1;
  const auto shape = fusion::matrix_shape(nest, storage, schedule);
  if (!shape || !shape->packs) return 1;
  return 1 + model.k.panel_lines_not_ahead * kLine / (sizeof(float) * double(schedule.vector_tile));
}

/// What it costs a worker to read materialised values again.
class Reading {
 public:
  /// `share`: of the loops, that the busiest worker walks.
  Reading(const Model& model, const Passing& passing, const fusion::WrittenSpans& written,
          double share)
      : model_(model), passing_(passing), written_(written), share_(share) {}

  /// `passes`: over so many bytes.
  void add(double passes, double bytes, int root, int64_t read_span, GroupCost& cost) const {
    const std::optional<int64_t> span = written_ ? written_(root) : std::nullopt;
    const double mine = read_span == 0 ? bytes : share_ * bytes;
    const Rates& rates = model_.rates;
    if (!span || is_far(bytes, model_)) {
      cost.memory += passes * mine * passing_.read_cycles(bytes);
      return;
    }
    const bool own = fusion::same_split(*span, read_span);
    const double near = own || model_.machine.threads == 1 ? mine : mine / model_.machine.threads;
    const double lost = passing_.gone_part();
    cost.memory += passes * ((1 - lost) * near / rates.l2 + lost * mine / rates.l3);
    cost.remote += (1 - lost) * (mine - near) / rates.remote;
  }

 private:
  const Model& model_;
  const Passing& passing_;
  const fusion::WrittenSpans& written_;
  const double share_;
};

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

/// Of activations.
double touched_bytes(const graph::Graph& graph, const fusion::StorageView& storage,
                     const Nest& nest) {
  std::set<graph::ValueId> values;
  for (const auto& store : nest.stores) values.insert(store.access.value);
  for (const Access& load : nest.loads) {
    if (!storage.is_constant(load.root)) values.insert(load.value);
  }
  double bytes = 0;
  for (const graph::ValueId value : values) bytes += bytes_of(graph, value);
  return bytes;
}

GroupCost predict_single(const graph::Graph& graph, const fusion::StorageView& storage,
                         const GroupPlan& group, const Model& model,
                         const fusion::WrittenSpans& written) {
  const Rates& rates = model.rates;
  GroupCost cost;
  for (size_t n = 0; n < group.nests.size(); ++n) {
    const auto& [nest, schedule] = group.nests[n];
    const NestCost alone = nest_cost(storage, nest, schedule, model);
    const double share = alone.share;
    cost.compute += alone.compute;
    cost.streamed += alone.streamed;
    const Passing passing(model, touched_bytes(graph, storage, nest));
    const Reading reading(model, passing, written, share);
    std::set<graph::ValueId> values;
    for (const auto& store : nest.stores) {
      const double bytes = bytes_of(graph, store.access.value);
      if (!values.insert(store.access.value).second) continue;
      const double runs = is_far(bytes, model) ? panel_runs(storage, nest, schedule, model) : 1;
      cost.memory += share * model.k.passes_to_write * runs * bytes * passing.write_cycles(bytes);
    }
    for (const Access& load : nest.loads) {
      if (!values.insert(load.value).second) continue;
      if (storage.is_constant(load.root)) continue;
      const double bytes = bytes_of(graph, load.value);
      reading.add(passes_to_read(load, group.nests[n], bytes, model), bytes, load.root,
                  fusion::split_span(group, n, load), cost);
    }
    cost.barrier += rates.barrier;
  }
  return cost;
}

/// Of the busiest worker, for what a stage packs in front of the walk. `share`: of the loops that
/// the workers divide.
double packing_cycles(const graph::Graph& graph, const fusion::StorageView& storage,
                      const GroupPlan& group, size_t stage, const std::vector<int64_t>& extents,
                      double share, int64_t num_chunks) {
  const auto& [nest, schedule] = group.nests[stage];
  if (schedule.matrix == 0) return 0;
  const auto shape = fusion::matrix_shape(nest, storage, schedule);
  if (!shape || !fusion::packs_before_strips(nest, schedule, *shape)) return 0;
  int loops = 0;
  for (int axis : fusion::packed_axes(nest, schedule, *shape)) {
    loops = std::max(loops, nest.axes[axis].shared + 1);
  }
  const Shape& points = graph.values[group.stages.back().stored[0]].shape;
  double times = group.walk->schedule.partition_loop < loops ? share : 1;
  for (const fusion::StripSchedule::Outer& outer : group.walk->schedule.outer) {
    if (loops-- > 0) times *= double(ceil_div(points[outer.dim], outer.block));
  }
  if (loops > 0) times *= double(num_chunks);
  return times * Machine::split_cycles() *
         fusion::matrix_work(nest, schedule, *shape, extents).packed;
}

GroupCost predict_strips(const graph::Graph& graph, const fusion::StorageView& storage,
                         const GroupPlan& group, const Model& model,
                         const fusion::WrittenSpans& written) {
  const Rates& rates = model.rates;
  const Machine& machine = model.machine;
  const fusion::Walk& walk = *group.walk;
  const fusion::StripSchedule& schedule = walk.schedule;
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
    blocks *= double(walk.num_chunks);
    partial_bytes = 4 * double(num_elems(points)) / double(schedule.partitions);
  }
  const int64_t last_rows = walk.stages.back().rows;
  const int64_t num_strips = ceil_div(last_rows, schedule.strip);
  const bool split_stream = schedule.splits_stream();
  if (split_stream) {
    share = busiest_rows(last_rows, schedule.strip, schedule.partitions);
  }
  const double ring_bytes = double(fusion::ring_bytes(walk)) + partial_bytes;
  std::set<graph::ValueId> rings, divided;  // divided: each worker reads its part
  std::map<graph::ValueId, double> writes;  // passes of what other groups read
  struct Read {
    double passes = 0;
    int root = -1;
    int64_t span = 0;
  };
  std::map<graph::ValueId, Read> reads;  // of what other groups have written
  // What a strip reads whatever its rows: bytes of one strip, and of a worker's others.
  struct Revisited {
    double bytes = 0, again_bytes = 0;
    bool cold = false;        // constants; activations count as read by the first visit
    bool waited_for = false;  // by the matrix unit, of bytes in parts
    bool packed = false;      // by the kernel, in front of the strips
  };
  std::map<graph::ValueId, Revisited> revisited;
  // Strips in which the stage has something to make.
  auto visits_of = [&](const fusion::WalkStage& stage) {
    const double units = std::max(1.0, double(stage.rows_made) / double(stage.unit));
    return blocks * std::min(double(num_strips), units);
  };
  for (const fusion::WalkRing& ring : walk.rings) rings.insert(ring.value);
  const int stream = walk.stream_loop();
  const int chunks = schedule.scatter ? stream - 1 : -1;
  for (size_t s = 0; s < group.nests.size(); ++s) {
    const Nest& nest = group.nests[s].nest;
    const NestSchedule& nest_schedule = group.nests[s].schedule;
    const auto shape = nest_schedule.matrix != 0
                           ? fusion::matrix_shape(nest, storage, nest_schedule)
                           : std::nullopt;
    for (const Access& load : nest.loads) {
      if (rings.count(load.value)) continue;
      const bool in_parts = shape && &load == &nest.loads[shape->along];
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
          const auto block = double(walk.stages[s].outer_blocks[shared]);
          bytes *= std::min(1.0, block / double(nest.axes[axis].extent * nest.axes[axis].unit));
        }
      }
      const bool constant = storage.is_constant(load.root);
      if (!constant) {
        Read& read = reads[load.value];
        double times = passes_to_read(load, group.nests[s], bytes_of(graph, load.value), model);
        // The last stage reads the rest in the last chunk.
        const bool every_chunk = schedule.scatter && !in_chunks && s + 1 < group.nests.size();
        if (every_chunk) times *= double(walk.num_chunks);
        times *= broken_runs(load, nest, stream, walk.stages[s], model);
        read.passes = std::max(read.passes, times);
        read.root = load.root;
        read.span = std::max(read.span, fusion::split_span(group, s, load));
      }
      if (constant || !walked) {
        if (in_parts) bytes *= kPartBytes;
        if (walked) bytes /= double(num_strips);
        if (walked && split_stream) divided.insert(load.value);
        const double again = std::max(0.0, share * visits_of(walk.stages[s]) - 1);
        revisited[load.value] = {bytes, bytes * again, constant, in_parts, in_parts && !constant};
      }
    }
    for (const auto& store : nest.stores) {
      if (rings.count(store.access.value)) continue;
      writes[store.access.value] =
          model.k.passes_to_write * broken_runs(store.access, nest, stream, walk.stages[s], model);
    }
  }
  double revisited_bytes = 0;
  bool packs = false;
  for (const auto& [value, read] : revisited) {
    revisited_bytes += read.bytes;
    packs |= read.packed;
  }
  // What is read once a strip drives out itself, but not rings, which are used right away.
  const double near_bytes = model.k.near_share * double(machine.l2_bytes);
  GroupCost cost;
  for (size_t s = 0; s < group.nests.size(); ++s) {
    const auto& [nest, stage_schedule] = group.nests[s];
    const fusion::WalkStage& stage = walk.stages[s];
    std::vector<int64_t> extents;
    for (const fusion::NestAxis& axis : nest.axes) {
      extents.push_back(fusion::extent_in_strip(stage, axis));
    }
    const double made = double(stage.rows_made) / double(stage.unit);
    const double per_strip = nest_cycles(storage, nest, stage_schedule, extents, model);
    const double strips_equal =
        made / double(std::max<int64_t>(1, ceil_div(stage.rows_in_strip, stage.unit)));
    cost.compute += share * blocks * std::max(1.0, strips_equal) * per_strip;
    // Strips for which a stage has nothing to make cost next to nothing.
    cost.compute += share * visits_of(stage) * rates.visit;
    cost.compute += packing_cycles(graph, storage, group, s, extents, share, walk.num_chunks);
  }
  // Cycles for a byte that lies among so many.
  auto byte_cycles = [&](double bytes, double near_rate) {
    const double gone_part = gone(bytes, model.k.near_share, model);
    return (1 - gone_part) / near_rate + gone_part / rates.l3;
  };
  // What a strip reads and writes of other groups' values goes through the caches beside the rings.
  double passing_bytes = 0;
  for (const auto& [value, passes] : writes) passing_bytes += bytes_of(graph, value);
  for (const auto& [value, read] : reads) passing_bytes += bytes_of(graph, value);
  const Passing passing(model, passing_bytes);
  passing_bytes /= blocks * double(num_strips);
  const double level = byte_cycles(ring_bytes + passing_bytes, rates.l2);
  const double cold_rate = model.weights_rate(storage.plan().constant_bytes);
  const double wait = model.weights_wait(storage.plan().constant_bytes);
  const double again = byte_cycles(ring_bytes + revisited_bytes, model.k.revisited * rates.l2);
  const double waits_again =
      gone(ring_bytes + revisited_bytes, model.k.near_share, model) / rates.l3;
  // Of panels that strips go over again and again, and of the rings between them, some stay.
  const double lost =
      std::clamp((ring_bytes + revisited_bytes - near_bytes) / double(machine.l2_bytes), 0.0, 1.0);
  double streamed_first = 0, streamed_again = 0;
  for (const auto& [value, read] : revisited) {
    const double all = bytes_of(graph, value) * (read.waited_for ? kPartBytes : 1);
    const double needed = read.cold ? (divided.count(value) ? share : 1) * all : 0;
    if (read.packed) {
      cost.compute += read.again_bytes * lost / (model.k.panels_ahead * rates.l3);
    } else if (read.waited_for) {
      cost.compute += std::max(needed * wait, read.again_bytes * waits_again);
    } else {
      streamed_first += needed / cold_rate;
      streamed_again += read.again_bytes * again;
      // A strip's few rows leave little to do while weights come from behind the second level.
      if (read.cold) cost.compute += read.again_bytes * waits_again;
    }
  }
  cost.streamed += std::max(streamed_first, streamed_again);
  for (const fusion::WalkRing& ring : walk.rings) {
    // Written once and read once.
    const double bytes = bytes_of(graph, ring.value);
    const bool near = ring.root.size_elems * size_bytes(ring.root.dtype) <= machine.l1_bytes / 2;
    cost.memory += share * 2 * bytes * (near ? 1 / rates.l1 : level);
    if (packs && !near) cost.compute += lost * share * 2 * bytes * (1 / rates.l3 - 1 / rates.l2);
  }
  // The matrix unit does not work meanwhile.
  auto waits = [&](double bytes) { return packs && is_far(bytes, model) ? 2.0 : 1.0; };
  for (const auto& [value, passes] : writes) {
    const double bytes = bytes_of(graph, value);
    cost.memory += waits(bytes) * share * passes * bytes * passing.write_cycles(bytes);
  }
  const Reading reading(model, passing, written, share);
  for (const auto& [value, read] : reads) {
    if (writes.count(value)) continue;
    const double bytes = bytes_of(graph, value);
    reading.add(waits(bytes) * read.passes, bytes, read.root, read.span, cost);
  }
  cost.memory += 2 * double(walk.num_chunks - 1) * partial_bytes * level;
  cost.barrier = rates.barrier;
  return cost;
}

}  // namespace

double GroupCost::total(const Coefficients& k) const {
  const double hidden = k.hidden_memory * memory;
  return std::max(compute + k.seen_weights * streamed, streamed + hidden) + (memory - hidden) +
         remote + barrier;
}

GroupCost predict(const graph::Graph& graph, const fusion::StoragePlan& storage,
                  const GroupPlan& group, const Model& model, const fusion::WrittenSpans& written) {
  look_at_budget();
  const fusion::StorageView view(storage, group.walk);
  if (group.walk) return predict_strips(graph, view, group, model, written);
  return predict_single(graph, view, group, model, written);
}

}  // namespace corf::cost
