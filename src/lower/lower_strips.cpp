#include "lower/lower_strips.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "fusion/matrix.h"
#include "fusion/resolve.h"
#include "fusion/walk_rows.h"
#include "lower/lower_nest.h"
#include "lower/matrix_block.h"
#include "lower/packed_parts.h"
#include "lower/strip_rings.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::lower {
namespace {

using fusion::WalkRing;
using fusion::WalkStage;
using index::Expr;
using loop::Stmt;

void append(std::vector<Stmt>& to, std::vector<Stmt> from) {
  for (Stmt& stmt : from) to.push_back(std::move(stmt));
}

class StripLowering {
 public:
  StripLowering(const fusion::GroupPlan& group, KernelBuilder& builder)
      : group_(group),
        walk_(*group.walk),
        schedule_(walk_.schedule),
        loops_{group, fusion::row_expressions(walk_), {}, -1},
        builder_(builder) {}

  void run() {
    builder_.call().partitions = schedule_.partitions;
    for (size_t i = 0; i < schedule_.outer.size(); ++i) {
      loops_.outer.push_back(builder_.new_variable("block"));
    }
    if (schedule_.scatter) {
      loops_.outer.push_back(builder_.new_variable("chunk"));
    }
    loops_.strip = builder_.new_variable("strip");
    for (const WalkRing& ring : walk_.rings) {
      rings_.emplace_back(ring, loops_, builder_);
      rings_.back().place();
    }
    if (schedule_.scatter) place_chunk_sums();
    for (size_t s = 0; s < group_.nests.size(); ++s) {
      if (walk_.stages[s].partial) place_row_sums(s);
    }
    for (size_t s = 0; s < group_.nests.size(); ++s) place_packed(s);
    std::vector<Stmt>& body = builder_.kernel().body;
    append(body, zero_stored_margins());
    for (const StripRing& ring : rings_) append(body, ring.zero_sides());
    append(body, blocks(0));
  }

 private:
  const fusion::StorageView& storage() const { return builder_.storage(); }

  std::vector<Stmt> zero_stored_margins() {
    std::vector<Stmt> result;
    for (const auto& [nest, schedule] : group_.nests) {
      for (const fusion::Nest::Store& store : nest->stores) {
        const fusion::Root& root = storage().root(store.access.root);
        if (root.kind == fusion::Root::Kind::kRing || root.value < 0) continue;
        if (storage().place(store.access.value).root != store.access.root) continue;
        append(result, zero_margins(store.access.value, schedule_.partitions, builder_));
      }
    }
    for (const WalkRing& ring : walk_.rings) {
      if (ring.stored) append(result, zero_margins(ring.value, schedule_.partitions, builder_));
    }
    return result;
  }

  std::vector<Stmt> blocks(size_t loop) {
    std::vector<Stmt> result;
    for (const auto& [stage, packed] : packed_) {
      if (packed.loop == loop) append(result, packed.parts.pack_all());
    }
    if (loop == loops_.outer.size()) {
      result.push_back(strip_loop());
      return result;
    }
    const bool chunks = loop == schedule_.outer.size();
    const Expr count(chunks ? walk_.num_chunks : num_blocks(loop));
    loop::For blocks_loop;
    blocks_loop.var = loops_.outer[loop];
    blocks_loop.lo = Expr(0);
    blocks_loop.hi = count;
    if (!chunks && schedule_.partition_loop == static_cast<int>(loop)) {
      const Expr part = Expr::variable(KernelBuilder::kPartition), parts(schedule_.partitions);
      blocks_loop.lo = floor_div(part * count, parts);
      blocks_loop.hi = floor_div((part + Expr(1)) * count, parts);
    }
    blocks_loop.body = blocks(loop + 1);
    result.push_back(std::move(blocks_loop));
    return result;
  }

  int64_t num_blocks(size_t loop) const {
    const graph::ValueId result = group_.stages.back().stored[0];
    const Shape& points = builder_.buffers().graph().values[result].shape;
    return ceil_div(points[schedule_.outer[loop].dim], schedule_.outer[loop].block);
  }

  Stmt strip_loop() {
    loop::For loop;
    loop.var = loops_.strip;
    loop.lo = Expr(0);
    loop.hi = loops_.here(loops_.rows.num_strips);
    for (size_t s = 0; s < group_.nests.size(); ++s) {
      for (const StripRing& ring : rings_) {
        if (ring.begins_with(s)) append(loop.body, ring.zero_beyond());
      }
      append(loop.body, stage_loops(s));
      for (const StripRing& ring : rings_) {
        if (ring.begins_with(s)) append(loop.body, ring.store_own());
      }
    }
    return loop;
  }

  /// What one strip makes of the stage.
  std::vector<Stmt> stage_loops(size_t s) {
    if (schedule_.scatter && s + 1 == group_.nests.size()) return scatter_chunk();
    if (walk_.stages[s].partial) return scatter_rows(s);
    const auto packed = packed_.find(s);
    return nest_loops(group_.nests[s].nest, group_.nests[s].schedule, ranges_of(s), builder_,
                      nullptr, packed == packed_.end() ? nullptr : &packed->second.parts);
  }

  /// Memory for what the matrix unit reads in the stage's strips, where that can be packed before
  /// them.
  void place_packed(size_t s) {
    const auto& [nest, schedule] = group_.nests[s];
    if (schedule.matrix == 0) return;
    const auto shape = fusion::matrix_shape(nest, storage(), schedule);
    CORF_ASSERT(shape, "a schedule for the matrix unit does not fit its nest");
    if (!fusion::packs_before_strips(nest, schedule, *shape)) return;
    if (is_stored(nest->loads[shape->along].root)) return;
    size_t loop = 0;
    for (int axis : fusion::packed_axes(nest, schedule, *shape)) {
      loop = std::max(loop, static_cast<size_t>(nest->axes[axis].shared + 1));
    }
    packed_.emplace(s, Packed{PackedParts(nest, schedule, *shape, ranges_of(s), builder_), loop});
  }

  bool is_stored(int root) const {
    for (const fusion::ScheduledNest& scheduled : group_.nests) {
      for (const fusion::Nest::Store& store : scheduled.nest->stores) {
        if (store.access.root == root) return true;
      }
    }
    return false;
  }

  /// Memory for the last stage's partial results: all that a worker has of them in one run through
  /// the chunks.
  void place_chunk_sums() {
    const size_t last = group_.nests.size() - 1;
    const fusion::Nest& nest = group_.nests[last].nest;
    const auto is_stream = [&](const fusion::NestAxis& axis) {
      return axis.shared == static_cast<int>(loops_.outer.size());
    };
    const auto cut = std::find_if(nest.axes.begin(), nest.axes.end(),
                                  [](const fusion::NestAxis& axis) { return axis.in_parts(); });
    const auto walked = std::find_if(nest.axes.begin(), nest.axes.end(), is_stream);
    const int64_t rows = ceil_div(partition_rows(), walked->unit);
    const Expr begin = ceil_div(loops_.here(loops_.rows.stages[last].begin), walked->unit);
    ReductionPart part =
        place_partial_results(last, std::min(walked->extent, rows), begin, /*turns=*/false);
    part.axis = static_cast<int>(cut - nest.axes.begin());
    part.range = ranges_of(last).at(part.axis);
    part.steps = walk_.stages[last].outer_blocks.back() / cut->unit;
    part.equal = cut->extent % part.steps == 0;
    parts_.emplace(last, std::move(part));
  }

  /// Memory for partial results of the rows that have begun and are not finished.
  void place_row_sums(size_t s) {
    const fusion::Nest& nest = group_.nests[s].nest;
    ReductionPart part =
        place_partial_results(s, walk_.stages[s].partial->rows, Expr(0), /*turns=*/true);
    const auto window = std::find_if(nest.axes.begin(), nest.axes.end(),
                                     [](const fusion::NestAxis& axis) { return axis.in_parts(); });
    part.axis = static_cast<int>(window - nest.axes.begin());
    parts_.emplace(s, std::move(part));
  }

  /// Memory for partial results of a stage, in the order of its loops: so many rows from `begin`
  /// on, or each in the place of one so many before.
  ReductionPart place_partial_results(size_t s, int64_t rows, const Expr& begin, bool turns) {
    const auto& [nest, schedule] = group_.nests[s];
    const WalkStage& stage = walk_.stages[s];
    const auto stream = static_cast<int>(loops_.outer.size());
    std::vector<int> order;  // innermost first
    for (auto axis = schedule.parallel_order.rbegin(); axis != schedule.parallel_order.rend();
         ++axis) {
      if (*axis != schedule.vector_axis) order.push_back(*axis);
    }
    const int v = schedule.vector_axis;
    if (v >= 0 && !nest->axes[v].reduction) order.insert(order.begin(), v);
    int64_t size = 1;
    ReductionPart part;
    part.address = part.shift = Expr(0);
    for (int axis : order) {
      const fusion::NestAxis& walked = nest->axes[axis];
      int64_t extent = walked.extent;
      Expr place = Expr::variable(axis);
      if (walked.shared == stream) {
        if (turns) place = mod(place, Expr(rows));
        part.shift = part.shift + begin * Expr(size);
        extent = rows;
      } else if (walked.shared >= 0) {
        const int64_t block = stage.outer_blocks[walked.shared] / walked.unit;
        part.shift = part.shift + Expr::variable(loops_.outer[walked.shared]) * Expr(block * size);
        extent = std::min(extent, block);
      }
      part.address = part.address + place * Expr(size);
      // Whole cache lines for the points around the vectors.
      constexpr int64_t kLineElems = 16;
      size *= axis == order.front() && extent >= kLineElems ? round_up(extent, kLineElems) : extent;
    }
    part.buffer = builder_.new_scratch("partial", nest->ops[nest->reduce_op].dtype, size);
    return part;
  }

  /// The most rows of the last stage that one partition makes.
  int64_t partition_rows() const {
    const WalkStage& stage = walk_.stages.back();
    const bool split = schedule_.splits_stream();
    const int64_t strips = ceil_div(stage.rows, schedule_.strip);
    return ceil_div(strips, split ? schedule_.partitions : 1) * schedule_.strip;
  }

  /// The last stage, whose sums begin in the first chunk and are finished in the last one.
  std::vector<Stmt> scatter_chunk() {
    const size_t s = group_.nests.size() - 1;
    const auto& [nest, schedule] = group_.nests[s];
    const std::map<int, AxisRange> ranges = ranges_of(s);
    const Expr chunk = Expr::variable(loops_.outer.back()), next = chunk + Expr(1);
    const Expr last(walk_.num_chunks - 1);
    std::vector<Stmt> result;
    auto add = [&](bool is_first, bool is_last, const Expr& lo, const Expr& hi) {
      ReductionPart part = parts_.at(s);
      part.first = is_first;
      part.last = is_last;
      loop::For when;  // runs once or never
      when.var = builder_.new_variable("when");
      when.lo = lo;
      when.hi = hi;
      when.body = nest_loops(nest, schedule, ranges, builder_, &part);
      result.push_back(std::move(when));
    };
    add(true, false, chunk, min(next, Expr(1)));
    if (walk_.num_chunks > 2) add(false, false, max(chunk, Expr(1)), min(next, last));
    add(false, true, max(chunk, last), next);
    return result;
  }

  /// A stage whose rows take the rows before it as they come, tap by tap: each tap of the window is
  /// added to those rows for which the strip has made what it reads.
  std::vector<Stmt> scatter_rows(size_t s) {
    const int64_t last = walk_.stages[s].partial->taps.count - 1;
    std::vector<Stmt> result = add_tap(s, Expr(0), /*is_first=*/true, /*is_last=*/false);
    if (last > 1) {
      loop::For taps;
      taps.var = builder_.new_variable("tap");
      taps.lo = Expr(1);
      taps.hi = Expr(last);
      taps.body = add_tap(s, Expr::variable(taps.var), /*is_first=*/false, /*is_last=*/false);
      result.push_back(std::move(taps));
    }
    append(result, add_tap(s, Expr(last), /*is_first=*/false, /*is_last=*/true));
    return result;
  }

  std::vector<Stmt> add_tap(size_t s, const Expr& tap, bool is_first, bool is_last) {
    const auto& [nest, schedule] = group_.nests[s];
    const WalkStage& stage = walk_.stages[s];
    ReductionPart part = parts_.at(s);
    part.range.begin = stage.partial->taps.position(tap);
    part.range.end = part.range.begin + Expr(1);
    part.first = is_first;
    part.last = is_last;
    std::map<int, AxisRange> ranges = ranges_of(s);
    fusion::RowExpressions::Stage rows = loops_.rows.stages[s];
    for (Expr* expr : {&rows.begin, &rows.free_prev, &rows.free_done, &rows.partition_end}) {
      *expr = loops_.here(*expr);
    }
    for (auto& [axis, range] : ranges) {
      if (nest->axes[axis].shared != static_cast<int>(loops_.outer.size())) continue;
      std::tie(range.begin, range.end) = rows_of_tap(stage, rows, tap);
    }
    return nest_loops(nest, schedule, ranges, builder_, &part);
  }

  std::map<int, AxisRange> ranges_of(size_t s) const {
    const WalkStage& stage = walk_.stages[s];
    const fusion::Nest& nest = group_.nests[s].nest;
    std::map<int, AxisRange> ranges;
    for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
      const fusion::NestAxis& walked = nest.axes[axis];
      if (walked.shared < 0) continue;
      if (walked.shared < static_cast<int>(loops_.outer.size())) {
        // A block is whole units of the nest.
        const int64_t block = stage.outer_blocks[walked.shared] / walked.unit;
        const Expr begin = Expr::variable(loops_.outer[walked.shared]) * Expr(block);
        ranges[axis] = {begin, min(begin + Expr(block), Expr(walked.extent))};
      } else {
        const Expr prev = loops_.here(loops_.rows.stages[s].prev),
                   done = loops_.here(loops_.rows.stages[s].done);
        ranges[axis] = walked.unit == 1
                           ? AxisRange{prev, done}
                           : AxisRange{ceil_div(prev, walked.unit), ceil_div(done, walked.unit)};
      }
      ranges[axis].most = fusion::extent_in_strip(stage, walked);
    }
    return ranges;
  }

  const fusion::GroupPlan& group_;
  const fusion::Walk& walk_;
  const fusion::StripSchedule& schedule_;
  StripLoops loops_;
  KernelBuilder& builder_;
  std::vector<StripRing> rings_;
  std::map<size_t, ReductionPart> parts_;  // by stage with partial results
  struct Packed {
    PackedParts parts;
    size_t loop =
        0;  // in front of which it is packed: a position in StripLoops::outer, or behind them
  };
  std::map<size_t, Packed> packed_;  // by stage
};

}  // namespace

void lower_strips(const fusion::GroupPlan& group, KernelBuilder& builder) {
  StripLowering(group, builder).run();
}

}  // namespace corf::lower
