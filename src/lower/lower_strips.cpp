#include "lower/lower_strips.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "fusion/matrix.h"
#include "fusion/resolve.h"
#include "fusion/walk_rows.h"
#include "lower/boxes.h"
#include "lower/lower_nest.h"
#include "lower/matrix_block.h"
#include "lower/packed_parts.h"
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
        rows_(fusion::row_expressions(walk_)),
        builder_(builder) {}

  void run() {
    builder_.call().partitions = schedule_.partitions;
    for (size_t i = 0; i < schedule_.outer.size(); ++i) {
      outer_.push_back(builder_.new_variable("block"));
    }
    if (schedule_.scatter) {
      outer_.push_back(builder_.new_variable("chunk"));
    }
    strip_ = builder_.new_variable("strip");
    for (const WalkRing& ring : walk_.rings) place(ring);
    if (schedule_.scatter) place_chunk_sums();
    for (size_t s = 0; s < group_.nests.size(); ++s) {
      if (walk_.stages[s].partial) place_row_sums(s);
    }
    for (size_t s = 0; s < group_.nests.size(); ++s) place_packed(s);
    std::vector<Stmt>& body = builder_.kernel().body;
    append(body, zero_stored_margins());
    for (const WalkRing& ring : walk_.rings) append(body, zero_sides(ring));
    append(body, blocks(0));
  }

 private:
  const fusion::StorageView& storage() const { return builder_.storage(); }
  const WalkStage& producer(const WalkRing& ring) const { return walk_.stages[ring.stages[0]]; }
  const graph::Value& value(const WalkRing& ring) const {
    return builder_.buffers().graph().values[ring.value];
  }

  /// An expression of the analysis over this kernel's variables.
  Expr here(const Expr& expr) const {
    return index::substitute(expr, [&](int id) -> std::optional<Expr> {
      return Expr::variable(id == fusion::kStripVariable ? strip_ : KernelBuilder::kPartition);
    });
  }

  /// The first point of the block at hand along the stage's dimension of an outer loop.
  Expr block_begin(const WalkStage& stage, size_t loop) const {
    return Expr::variable(outer_[loop]) * Expr(stage.outer_blocks[loop]);
  }

  const fusion::RowExpressions::Ring& rows_of(const WalkRing& ring) const {
    return rows_.rings[static_cast<size_t>(&ring - walk_.rings.data())];
  }

  /// The row that lies at the beginning of the ring's memory; of a ring that turns, the value's
  /// first.
  Expr front_row(const WalkRing& ring) const {
    return ring.place.turning_dim >= 0 ? Expr(0) : here(rows_of(ring).first);
  }

  /// Address of what lies at the beginning of the ring's memory.
  Expr front(const WalkRing& ring) const {
    const fusion::Storage& place = ring.place;
    const WalkStage& stage = producer(ring);
    Expr shift = front_row(ring) * Expr(place.strides[stage.stream_dim]);
    for (size_t i = 0; i < outer_.size(); ++i) {
      shift = shift + block_begin(stage, i) * Expr(place.strides[stage.outer_dims[i]]);
    }
    return shift;
  }

  void place(const WalkRing& ring) {
    const int root = ring.place.root;
    if (const auto shape = shape_of_lines(ring)) {
      const int64_t spare = MatrixBlock::kTilesOfRows * fusion::kMatrixRows * shape->row_lines;
      const int64_t num_lines = ceil_div(ring.root.size_elems, shape->pitch) + spare;
      builder_.place_lines(root, shape->pitch, shape->channels, num_lines,
                           writes_blocks(ring, shape->channels), front(ring));
      return;
    }
    builder_.place_ring(root, value(ring).dtype, ring.root.size_elems, front(ring));
  }

  /// The only stage that reads the root.
  std::optional<size_t> reader(int root) const {
    std::optional<size_t> result;
    for (size_t s = 0; s < group_.nests.size(); ++s) {
      for (const fusion::Access& load : group_.nests[s].nest->loads) {
        if (load.root != root) continue;
        if (result) return std::nullopt;
        result = s;
      }
    }
    return result;
  }

  /// Whether the stage that makes the ring writes vectors of channels, each within a block of the
  /// matrix unit's.
  bool writes_blocks(const WalkRing& ring, int64_t channels) const {
    if (channels == fusion::kMatrixChannels) return true;
    const auto& [nest, schedule] = group_.nests[ring.stages[0]];
    const int v = schedule.vector_axis, root = ring.place.root;
    if (v < 0 || fusion::kMatrixChannels % schedule.vector_tile != 0) return false;
    return std::all_of(nest->stores.begin(), nest->stores.end(), [&](const auto& store) {
      if (store.access.root != root) return true;
      return index::to_linear(store.access.address).coefficient(v) == 1;
    });
  }

  /// Of what reads a ring that can lie in parts: only the matrix unit does, all of its lines at
  /// once, and whoever makes it writes whole lines.
  std::optional<fusion::MatrixShape> shape_of_lines(const WalkRing& ring) const {
    const fusion::Storage& ring_place = ring.place;
    const std::optional<size_t> stage = reader(ring_place.root);
    const bool is_plain = ring.views.empty() && !ring.stored;
    if (!stage || !is_plain || ring_place.has_margins() || ring_place.turning_dim >= 0) {
      return std::nullopt;
    }
    const auto& [nest, schedule] = group_.nests[*stage];
    if (schedule.matrix == 0 || schedule.block_axis >= 0) return std::nullopt;
    const auto shape = fusion::matrix_shape(nest, storage(), schedule);
    if (!shape || nest->loads[shape->across].root != ring_place.root) return std::nullopt;
    const bool whole = shape->channels % fusion::kMatrixChannels == 0 && shape->channel_step == 1 &&
                       schedule.matrix >= shape->channels && shape->pitch >= shape->channels;
    if (!whole) return std::nullopt;
    for (const int64_t stride : ring_place.strides) {
      if (stride != 1 && stride % shape->pitch != 0) return std::nullopt;
    }
    // Nothing else moves within a strip.
    const auto& inner = shape->inner;
    for (int axis = 0; axis < static_cast<int>(nest->axes.size()); ++axis) {
      const fusion::NestAxis& walked = nest->axes[axis];
      const bool in_block = std::find(inner.begin(), inner.end(), axis) != inner.end();
      if (walked.reduction || in_block) continue;
      if (!index::depends_on(nest->loads[shape->across].address, axis)) continue;
      if (fusion::extent_in_strip(walk_.stages[*stage], walked) > 1) return std::nullopt;
    }
    for (const fusion::Nest::Store& store : group_.nests[ring.stages[0]].nest->stores) {
      if (store.access.root != ring_place.root) continue;
      const index::Linear address = index::to_linear(store.access.address);
      if (!store.access.guards.empty() || !address.is_affine() || address.constant != 0) {
        return std::nullopt;
      }
      const fusion::Nest& maker = group_.nests[ring.stages[0]].nest;
      for (const auto& [axis, step] : address.coefficients) {
        const bool in_line = step == 1 && maker.axes[axis].extent <= shape->channels;
        if (!in_line && step % shape->pitch != 0) return std::nullopt;
      }
    }
    return shape;
  }

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

  /// The ring from its front on: dimensions as they lie in scratch.
  Box whole(const WalkRing& ring) const {
    const fusion::Storage& place = ring.place;
    const WalkStage& stage = producer(ring);
    Box box;
    box.strides = place.strides;
    box.turning_dim = place.turning_dim;
    box.turning_rows = place.turning_rows;
    box.offset = Expr(place.offset);
    box.buffer = builder_.place(place.root, true).buffer;
    box.dtype = value(ring).dtype;
    const Shape& shape = value(ring).shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      box.ranges.push_back(
          BoxRange::fixed(-place.margin_before[d], shape[d] + place.margin_after[d]));
    }
    for (size_t i = 0; i < outer_.size(); ++i) {
      const int d = stage.outer_dims[i];
      box.ranges[d] = BoxRange::fixed(0, std::min(shape[d], stage.outer_blocks[i]));
    }
    box.ranges[stage.stream_dim] = BoxRange::fixed(0, ring.rows);
    return box;
  }

  /// Margins along the dimensions that no shared loop walks: written once, nothing touches them.
  std::vector<Stmt> zero_sides(const WalkRing& ring) const {
    std::vector<Stmt> result;
    const fusion::Storage& place = ring.place;
    const Shape& shape = value(ring).shape;
    for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
      if (is_shared(ring, d)) continue;
      const BoxRange sides[] = {BoxRange::fixed(-place.margin_before[d], 0),
                                BoxRange::fixed(shape[d], shape[d] + place.margin_after[d])};
      for (const BoxRange& side : sides) {
        if (side.length <= 0) continue;
        Box box = whole(ring);
        for (int i = 0; i < d; ++i) {
          if (!is_shared(ring, i)) box.ranges[i] = BoxRange::fixed(0, shape[i]);
        }
        box.ranges[d] = side;
        result.push_back(fill_box(box, place.margin_value, 1, builder_));
      }
    }
    return result;
  }

  bool is_shared(const WalkRing& ring, int d) const {
    const WalkStage& stage = producer(ring);
    if (d == stage.stream_dim) return true;
    return std::find(stage.outer_dims.begin(), stage.outer_dims.end(), d) != stage.outer_dims.end();
  }

  std::vector<Stmt> blocks(size_t loop) {
    std::vector<Stmt> result;
    for (const auto& [stage, packed] : packed_) {
      if (packed.loop == loop) append(result, packed.parts.pack_all());
    }
    if (loop == outer_.size()) {
      result.push_back(strip_loop());
      return result;
    }
    const bool chunks = loop == schedule_.outer.size();
    const Expr count(chunks ? walk_.num_chunks : num_blocks(loop));
    loop::For blocks_loop;
    blocks_loop.var = outer_[loop];
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
    loop.var = strip_;
    loop.lo = Expr(0);
    loop.hi = here(rows_.num_strips);
    for (size_t s = 0; s < group_.nests.size(); ++s) {
      for (const WalkRing& ring : walk_.rings) {
        if (ring.stages[0] == static_cast<int>(s)) append(loop.body, zero_beyond(ring));
      }
      append(loop.body, stage_loops(s));
      for (const WalkRing& ring : walk_.rings) {
        if (ring.stored && ring.stages[0] == static_cast<int>(s))
          append(loop.body, store_own(ring));
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
      return axis.shared == static_cast<int>(outer_.size());
    };
    const auto cut = std::find_if(nest.axes.begin(), nest.axes.end(),
                                  [](const fusion::NestAxis& axis) { return axis.in_parts(); });
    const auto walked = std::find_if(nest.axes.begin(), nest.axes.end(), is_stream);
    const int64_t rows = ceil_div(partition_rows(), walked->unit);
    const Expr begin = ceil_div(here(rows_.stages[last].begin), walked->unit);
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
    const auto window =
        std::find_if(nest.axes.begin(), nest.axes.end(),
                     [](const fusion::NestAxis& axis) { return axis.in_parts(); });
    part.axis = static_cast<int>(window - nest.axes.begin());
    parts_.emplace(s, std::move(part));
  }

  /// Memory for partial results of a stage, in the order of its loops: so many rows from `begin`
  /// on, or each in the place of one so many before.
  ReductionPart place_partial_results(size_t s, int64_t rows, const Expr& begin, bool turns) {
    const auto& [nest, schedule] = group_.nests[s];
    const WalkStage& stage = walk_.stages[s];
    const auto stream = static_cast<int>(outer_.size());
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
        part.shift = part.shift + Expr::variable(outer_[walked.shared]) * Expr(block * size);
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
    const Expr chunk = Expr::variable(outer_.back()), next = chunk + Expr(1);
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
    fusion::RowExpressions::Stage rows = rows_.stages[s];
    for (Expr* expr : {&rows.begin, &rows.free_prev, &rows.free_done, &rows.partition_end}) {
      *expr = here(*expr);
    }
    for (auto& [axis, range] : ranges) {
      if (nest->axes[axis].shared != static_cast<int>(outer_.size())) continue;
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
      if (walked.shared < static_cast<int>(outer_.size())) {
        // A block is whole units of the nest.
        const int64_t block = stage.outer_blocks[walked.shared] / walked.unit;
        const Expr begin = Expr::variable(outer_[walked.shared]) * Expr(block);
        ranges[axis] = {begin, min(begin + Expr(block), Expr(walked.extent))};
      } else {
        const Expr prev = here(rows_.stages[s].prev), done = here(rows_.stages[s].done);
        ranges[axis] = walked.unit == 1
                           ? AxisRange{prev, done}
                           : AxisRange{ceil_div(prev, walked.unit), ceil_div(done, walked.unit)};
      }
      ranges[axis].most = fusion::extent_in_strip(stage, walked);
    }
    return ranges;
  }

  /// Zeros for the rows before the value's first and behind its last, where a strip reads them.
  std::vector<Stmt> zero_beyond(const WalkRing& ring) const {
    const WalkStage& stage = producer(ring);
    const fusion::Storage& place = ring.place;
    const int d = stage.stream_dim;
    const Expr first = here(rows_of(ring).first), needed = here(rows_of(ring).needed);
    const Expr front = front_row(ring);
    std::vector<Stmt> result;
    Box box = whole(ring);
    if (place.margin_before[d] > 0) {
      box.ranges[d] = {first - front, min(Expr(0), needed) - front, ring.rows};
      result.push_back(fill_box(box, place.margin_value, 1, builder_));
    }
    if (place.margin_after[d] > 0) {
      box.ranges[d] = {max(Expr(stage.rows), first) - front, needed - front, ring.rows};
      result.push_back(fill_box(box, place.margin_value, 1, builder_));
    }
    return result;
  }

  /// Copies the rows of the strip that no partition behind this one stores.
  std::vector<Stmt> store_own(const WalkRing& ring) {
    const fusion::RowExpressions::Stage& rows = rows_.stages[ring.stages[0]];
    const WalkStage& stage = producer(ring);
    const Expr front = front_row(ring), prev = here(rows.prev);
    Box from = whole(ring);
    const Shape& shape = value(ring).shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      if (!is_shared(ring, static_cast<int>(d))) from.ranges[d] = BoxRange::fixed(0, shape[d]);
    }
    from.ranges[stage.stream_dim] = {prev - front, here(min(rows.done, rows.end)) - front,
                                     stage.rows_in_strip};
    const fusion::Storage& place = storage().plan().values[ring.value];
    Box to;
    to.strides = place.strides;
    to.offset = Expr(place.offset) + front * Expr(place.strides[stage.stream_dim]);
    to.buffer = builder_.place(place.root, true).buffer;
    to.dtype = from.dtype;
    for (size_t i = 0; i < outer_.size(); ++i) {
      const int d = stage.outer_dims[i];
      const Expr begin = block_begin(stage, i);
      to.offset = to.offset + begin * Expr(place.strides[d]);
      from.ranges[d].end = min(from.ranges[d].end, Expr(shape[d]) - begin);
    }
    std::vector<Stmt> result;
    result.push_back(copy_box(from, to, builder_));
    return result;
  }

  const fusion::GroupPlan& group_;
  const fusion::Walk& walk_;
  const fusion::StripSchedule& schedule_;
  const fusion::RowExpressions rows_;
  KernelBuilder& builder_;
  std::vector<int> outer_;  // variables of the blocks' loops
  int strip_ = -1;          // variable of the strips' loop
  std::map<size_t, ReductionPart> parts_;  // by stage with partial results
  struct Packed {
    PackedParts parts;
    size_t loop = 0;  // in front of which it is packed: a position in outer_, or behind them
  };
  std::map<size_t, Packed> packed_;  // by stage
};

}  // namespace

void lower_strips(const fusion::GroupPlan& group, KernelBuilder& builder) {
  StripLowering(group, builder).run();
}

}  // namespace corf::lower
