#include "cost/strip_cost.h"

#include <algorithm>
#include <map>
#include <set>

#include "cost/nest_cycles.h"
#include "cost/traffic.h"
#include "fusion/matrix.h"
#include "support/checked.h"

namespace corf::cost {
namespace {

using fusion::Access;
using fusion::GroupPlan;
using fusion::Nest;

/// The share of the whole work that the busiest worker does.
double busiest_share(int64_t pieces, int64_t partitions) {
  return double(ceil_div(pieces, partitions)) / double(pieces);
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
    loops = std::max(loops, nest->axes[axis].shared + 1);
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

/// A group in strips, part by part of its cost.
class StripCost {
 public:
  StripCost(const graph::Graph& graph, const fusion::StorageView& storage, const GroupPlan& group,
            const Model& model, const fusion::Before& before)
      : graph_(graph),
        storage_(storage),
        group_(group),
        model_(model),
        before_(before),
        walk_(*group.walk),
        schedule_(walk_.schedule),
        points_(graph.values[group.stages.back().stored[0]].shape) {}

  GroupCost run() {
    count_loops();
    for (size_t s = 0; s < group_.nests.size(); ++s) count_stage(s);
    if (schedule_.splits_stream()) share_rows();
    for (size_t s = 0; s < group_.nests.size(); ++s) collect(s);
    for (const auto& [value, read] : revisited_) {
      revisited_bytes_ += read.bytes;
      packs_ |= read.packed;
    }
    for (size_t s = 0; s < group_.nests.size(); ++s) add_stage(s);
    add_revisited();
    add_values();
    const bool apart = schedule_.partitions > 1 || !before_.on_one_worker;
    cost_.barrier = apart ? model_.rates.barrier : 0;
    return cost_;
  }

 private:
  /// What other groups have written.
  struct Read {
    double passes = 0, share = 0;
    double again = 0;  // passes of the stages that read the same rows after the first
    int root = -1;
    int64_t span = 0;
  };
  struct Write {
    double passes = 0, share = 0;
  };
  /// What a strip reads whatever its rows: bytes of one strip, and of a worker's others.
  struct Revisited {
    size_t stage = 0;
    double bytes = 0, again_bytes = 0;
    double share = 1;         // of the stage's rows, of the busiest worker
    bool cold = false;        // constants; activations count as read by the first visit
    bool waited_for = false;  // by the matrix unit, of bytes in parts
    bool packed = false;      // by the kernel, in front of the strips
  };

  void count_loops() {
    double share = 1;
    for (size_t i = 0; i < schedule_.outer.size(); ++i) {
      const int64_t count = ceil_div(points_[schedule_.outer[i].dim], schedule_.outer[i].block);
      blocks_ *= double(count);
      if (schedule_.partition_loop == static_cast<int>(i)) {
        share = busiest_share(count, schedule_.partitions);
      }
    }
    shares_.assign(walk_.stages.size(), share);
    const int64_t rows = walk_.stages.back().rows;
    num_strips_ = double(ceil_div(rows, schedule_.strip));
    // Chunks take partial results from memory and leave them there.
    if (schedule_.scatter) {
      blocks_ *= double(walk_.num_chunks);
      partial_bytes_ = 4 * double(num_elems(points_)) / double(schedule_.partitions);
    }
    ring_bytes_ = double(fusion::ring_bytes(walk_)) + partial_bytes_;
    for (size_t s = 0; s < walk_.stages.size(); ++s) {
      const auto& partial = walk_.stages[s].partial;
      if (partial) ring_bytes_ += partial_row_bytes(s) * double(partial->rows);
    }
  }

  /// Of a row's partial results, in one block of the outer loops.
  double partial_row_bytes(size_t s) const {
    const fusion::WalkStage& stage = walk_.stages[s];
    const Shape& points = graph_.values[group_.stages[s].stored[0]].shape;
    double elems = double(num_elems(points)) / double(std::max<int64_t>(1, stage.rows));
    for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
      const auto extent = double(points[stage.outer_dims[i]]);
      elems *= std::min(1.0, double(stage.outer_blocks[i]) / extent);
    }
    return 4 * elems;
  }

  /// What all workers compute of the stage, in cycles.
  void count_stage(size_t s) {
    const auto& [nest, schedule] = group_.nests[s];
    const fusion::WalkStage& stage = walk_.stages[s];
    std::vector<int64_t>& extents = extents_.emplace_back();
    for (const fusion::NestAxis& axis : nest->axes) {
      extents.push_back(fusion::extent_in_strip(stage, axis));
    }
    const double taps = stage.partial ? double(stage.partial->taps.count) : 1;
    const double made = double(stage.rows_made) / double(stage.unit);
    const double per_strip = taps * nest_cycles(storage_, nest, schedule, extents, model_);
    const double strips_equal =
        made / double(std::max<int64_t>(1, ceil_div(stage.rows_in_strip, stage.unit)));
    // Strips for which a stage has nothing to make cost next to nothing.
    computed_.push_back(blocks_ * std::max(1.0, strips_equal) * per_strip +
                        visits_of(stage) * taps * model_.rates.visit);
  }

  /// The part of each stage's rows that the worker makes who has the most to compute.
  void share_rows() {
    auto part_of = [&](size_t s, size_t partition) {
      const fusion::WalkStage& stage = walk_.stages[s];
      return double(stage.partition_rows[partition]) /
             double(std::max<int64_t>(1, stage.rows_made));
    };
    size_t busiest = 0;
    double most = -1;
    for (size_t partition = 0; partition < walk_.stages[0].partition_rows.size(); ++partition) {
      double cycles = 0;
      for (size_t s = 0; s < computed_.size(); ++s) cycles += part_of(s, partition) * computed_[s];
      if (cycles > most) most = cycles, busiest = partition;
    }
    for (size_t s = 0; s < computed_.size(); ++s) shares_[s] = part_of(s, busiest);
  }

  /// Strips in which the stage has something to make.
  double visits_of(const fusion::WalkStage& stage) const {
    const double units = std::max(1.0, double(stage.rows_made) / double(stage.unit));
    return blocks_ * std::min(num_strips_, units);
  }

  /// What the stage reads and writes that is in no ring.
  void collect(size_t s) {
    const auto& [nest, schedule] = group_.nests[s];
    const auto shape =
        schedule.matrix != 0 ? fusion::matrix_shape(nest, storage_, schedule) : std::nullopt;
    for (const Access& load : nest->loads) {
      if (walk_.ring_of(load.value)) continue;
      collect_load(s, load, shape && &load == &nest->loads[shape->along]);
    }
    for (const auto& store : nest->stores) {
      const fusion::WalkRing* ring = walk_.ring_of(store.access.value);
      if (ring && !ring->stored) continue;
      const double runs =
          broken_runs(store.access, nest, walk_.stream_loop(), walk_.stages[s], model_);
      const double passes = passes_to_write(store.access, group_.nests[s],
                                            bytes_of(graph_, store.access.value), model_);
      writes_[store.access.value] = {runs * passes, shares_[s]};
    }
  }

  /// `in_parts`: of bfloat16 numbers, packed for the matrix unit.
  void collect_load(size_t s, const Access& load, bool in_parts) {
    const Nest& nest = group_.nests[s].nest;
    const fusion::WalkStage& stage = walk_.stages[s];
    const int stream = walk_.stream_loop(), chunks = schedule_.scatter ? stream - 1 : -1;
    const double whole = bytes_of(graph_, load.value);
    double bytes = whole;
    bool walked = false, in_chunks = false;
    for (size_t axis = 0; axis < nest.axes.size(); ++axis) {
      const int shared = nest.axes[axis].shared;
      if (shared < 0 || !index::depends_on(load.address, static_cast<int>(axis))) continue;
      if (shared == stream) {
        walked = true;
        continue;
      }
      if (shared == chunks) in_chunks = true;
      if (shared == schedule_.partition_loop && shared != chunks) divided_.insert(load.value);
      const auto block = double(stage.outer_blocks[shared]);
      bytes *= std::min(1.0, block / double(nest.axes[axis].extent * nest.axes[axis].unit));
    }
    const bool constant = storage_.is_constant(load.root);
    if (!constant) {
      Read& read = reads_[load.value];
      double times = passes_to_read(load, group_.nests[s], whole, model_);
      // The last stage reads the rest in the last chunk.
      const bool every_chunk = schedule_.scatter && !in_chunks && s + 1 < group_.nests.size();
      if (every_chunk) times *= double(walk_.num_chunks);
      times *= broken_runs(load, nest, stream, stage, model_);
      if (walked) read.again += std::min(times, read.passes);
      read.passes = std::max(read.passes, times);
      read.share = std::max(read.share, shares_[s]);
      read.root = load.root;
      read.span = std::max(read.span, fusion::split_span(group_, s, load));
    }
    if (!constant && walked) return;
    if (in_parts) bytes *= kPartBytes;
    if (walked) bytes /= num_strips_;
    if (walked && schedule_.splits_stream()) divided_.insert(load.value);
    const double again = std::max(0.0, shares_[s] * visits_of(stage) - 1);
    revisited_[load.value] = {.stage = s,
                              .bytes = bytes,
                              .again_bytes = bytes * again,
                              .share = shares_[s],
                              .cold = constant,
                              .waited_for = in_parts,
                              .packed = in_parts && !constant};
  }

  void add_stage(size_t s) {
    cost_.compute += shares_[s] * computed_[s];
    cost_.compute +=
        packing_cycles(graph_, storage_, group_, s, extents_[s], shares_[s], walk_.num_chunks);
  }

  /// Cycles for a byte that lies among so many.
  double byte_cycles(double bytes, double near_rate) const {
    const double gone_part = gone(bytes, model_.k.near_share, model_);
    return (1 - gone_part) / near_rate + gone_part / model_.rates.l3;
  }

  /// The part of panels that strips go over again and again, and of the rings between them, that
  /// does not stay. What is read once a strip drives out itself, but not rings, which are used
  /// right away.
  double lost_part() const {
    const auto level = double(model_.machine.l2_bytes);
    const double bytes = ring_bytes_ + revisited_bytes_ - model_.k.near_share * level;
    return std::clamp(bytes / level, 0.0, 1.0);
  }

  void add_revisited() {
    const Rates& rates = model_.rates;
    const int64_t constant_bytes = storage_.plan().constant_bytes;
    const double cold_rate = model_.weights_rate(constant_bytes);
    const double wait = model_.weights_wait(constant_bytes);
    const double all_bytes = ring_bytes_ + revisited_bytes_;
    const double again = byte_cycles(all_bytes, model_.k.revisited * rates.l2);
    const double waits_again = gone(all_bytes, model_.k.near_share, model_) / rates.l3;
    double streamed_first = 0, streamed_again = 0;
    std::vector<double> streamed_by(walk_.stages.size());
    for (const auto& [value, read] : revisited_) {
      const double all = bytes_of(graph_, value) * (read.waited_for ? kPartBytes : 1);
      const double needed = read.cold ? (divided_.count(value) ? read.share : 1) * all : 0;
      if (read.packed) {
        cost_.compute += read.again_bytes * lost_part() / (model_.k.panels_ahead * rates.l3);
      } else if (read.waited_for) {
        cost_.compute += std::max(needed * wait, read.again_bytes * waits_again);
      } else {
        streamed_first += needed / cold_rate;
        streamed_by[read.stage] += needed / cold_rate;
        streamed_again += read.again_bytes * again;
        // A strip's few rows leave little to do while weights come from behind the second level.
        if (read.cold) cost_.compute += read.again_bytes * waits_again;
      }
    }
    cost_.streamed += std::max(streamed_first, streamed_again);
    for (size_t s = 0; s < streamed_by.size(); ++s) {
      cost_.waited += std::max(0.0, streamed_by[s] - shares_[s] * computed_[s]);
    }
  }

  /// Rings, partial results, and what goes to and comes from other groups: it passes through the
  /// caches beside the rings.
  void add_values() {
    const Rates& rates = model_.rates;
    double passing_bytes = 0;
    for (const auto& [value, write] : writes_) passing_bytes += bytes_of(graph_, value);
    for (const auto& [value, read] : reads_) passing_bytes += bytes_of(graph_, value);
    const Passing passing(model_, passing_bytes);
    passing_bytes /= blocks_ * num_strips_;
    const double level = byte_cycles(ring_bytes_ + passing_bytes, rates.l2);
    for (const fusion::WalkRing& ring : walk_.rings) {
      // Written once, and read by each stage that takes it.
      const double bytes = bytes_of(graph_, ring.value);
      const int64_t held = ring.root.size_elems * size_bytes(ring.root.dtype);
      const bool near = held <= model_.machine.l1_bytes / 2;
      const double passed = shares_[ring.stages[0]] * (1 + readers_of(ring.value)) * bytes;
      cost_.memory += passed * (near ? 1 / rates.l1 : level);
      if (!packs_ || near) continue;
      cost_.compute += lost_part() * passed * (1 / rates.l3 - 1 / rates.l2);
    }
    for (size_t s = 0; s < walk_.stages.size(); ++s) add_partial_rows(s, level);
    // The matrix unit does not work meanwhile.
    auto waits = [&](double bytes) { return packs_ && is_far(bytes, model_) ? 2.0 : 1.0; };
    for (const auto& [value, write] : writes_) {
      const double bytes = bytes_of(graph_, value);
      cost_.memory +=
          waits(bytes) * write.share * write.passes * bytes * passing.write_cycles(bytes);
    }
    for (const auto& [value, read] : reads_) {
      const double bytes = bytes_of(graph_, value) - made_bytes(value, read.root);
      if (bytes <= 0) continue;
      const Reading reading(model_, passing, before_, read.share, schedule_.partitions == 1);
      reading.add(waits(bytes) * read.passes, bytes, read.root, read.span, cost_);
      const bool near = bytes / (blocks_ * num_strips_) <= double(model_.machine.l1_bytes) / 2;
      cost_.memory += read.again * read.share * bytes * (near ? 1 / rates.l1 : level);
    }
    cost_.memory += 2 * double(walk_.num_chunks - 1) * partial_bytes_ * level;
  }

  double readers_of(graph::ValueId value) const {
    return double(std::count_if(group_.nests.begin(), group_.nests.end(), [&](const auto& nest) {
      const auto& loads = nest.nest->loads;
      return std::any_of(loads.begin(), loads.end(),
                         [&](const Access& load) { return load.value == value; });
    }));
  }

  /// Each tap but the first takes up what the taps before have left, each but the last leaves it.
  void add_partial_rows(size_t s, double level) {
    const fusion::WalkStage& stage = walk_.stages[s];
    if (!stage.partial) return;
    const double row = partial_row_bytes(s);
    const bool near = row * double(stage.partial->rows) <= double(model_.machine.l1_bytes) / 2;
    const double bytes = blocks_ * row * double(stage.rows_made);
    const auto times = double(2 * (stage.partial->taps.count - 1));
    cost_.memory += shares_[s] * times * bytes * (near ? 1 / model_.rates.l1 : level);
  }

  /// Of what is read, itself or as parts of a view of it, those that the group has just written.
  double made_bytes(graph::ValueId value, int root) const {
    if (writes_.count(value)) return bytes_of(graph_, value);
    double bytes = 0;
    for (const auto& [made, write] : writes_)
      bytes += storage_.plan().values[made].root == root ? bytes_of(graph_, made) : 0;
    return bytes;
  }

  const graph::Graph& graph_;
  const fusion::StorageView& storage_;
  const GroupPlan& group_;
  const Model& model_;
  const fusion::Before& before_;
  const fusion::Walk& walk_;
  const fusion::StripSchedule& schedule_;
  const Shape& points_;
  double blocks_ = 1;  // of the outer loops, chunks among them
  /// By stage: of what is made of it, what the busiest worker makes; cycles of all; its nest's
  /// extents in a strip.
  std::vector<double> shares_, computed_;
  std::vector<std::vector<int64_t>> extents_;
  double num_strips_ = 1;  // of a block
  double partial_bytes_ = 0, ring_bytes_ = 0, revisited_bytes_ = 0;
  bool packs_ = false;                      // some kernel does, in front of the strips
  std::set<graph::ValueId> divided_;        // of which each worker reads its part
  std::map<graph::ValueId, Write> writes_;  // of what other groups read
  std::map<graph::ValueId, Read> reads_;
  std::map<graph::ValueId, Revisited> revisited_;
  GroupCost cost_;
};

}  // namespace

GroupCost strip_cost(const graph::Graph& graph, const fusion::StorageView& storage,
                     const GroupPlan& group, const Model& model, const fusion::Before& before) {
  return StripCost(graph, storage, group, model, before).run();
}

}  // namespace corf::cost
