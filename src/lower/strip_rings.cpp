#include "lower/strip_rings.h"

#include <algorithm>

#include "fusion/resolve.h"
#include "lower/matrix_block.h"
#include "support/checked.h"

namespace corf::lower {

using fusion::WalkRing;
using fusion::WalkStage;
using index::Expr;
using loop::Stmt;

Expr StripLoops::here(const Expr& expr) const {
  return index::substitute(expr, [&](int id) -> std::optional<Expr> {
    return Expr::variable(id == fusion::kStripVariable ? strip : KernelBuilder::kPartition);
  });
}

Expr StripLoops::block_begin(const WalkStage& stage, size_t loop) const {
  return Expr::variable(outer[loop]) * Expr(stage.outer_blocks[loop]);
}

StripRing::StripRing(const WalkRing& ring, const StripLoops& loops, KernelBuilder& builder)
    : ring_(ring),
      loops_(loops),
      group_(loops.group),
      walk_(*loops.group.walk),
      builder_(builder) {}

const WalkStage& StripRing::producer() const { return walk_.stages[ring_.stages[0]]; }
const graph::Value& StripRing::value() const {
  return builder_.buffers().graph().values[ring_.value];
}

const fusion::RowExpressions::Ring& StripRing::rows_of() const {
  return loops_.rows.rings[static_cast<size_t>(&ring_ - walk_.rings.data())];
}

Expr StripRing::front_row() const {
  return ring_.place.turning_dim >= 0 ? Expr(0) : loops_.here(rows_of().first);
}

Expr StripRing::front() const {
  const fusion::Storage& place = ring_.place;
  const WalkStage& stage = producer();
  Expr shift = front_row() * Expr(place.strides[stage.stream_dim]);
  for (size_t i = 0; i < loops_.outer.size(); ++i) {
    shift = shift + loops_.block_begin(stage, i) * Expr(place.strides[stage.outer_dims[i]]);
  }
  return shift;
}

std::optional<size_t> StripRing::reader(int root) const {
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

bool StripRing::writes_blocks(int64_t channels) const {
  if (channels == fusion::kMatrixChannels) return true;
  const auto& [nest, schedule] = group_.nests[ring_.stages[0]];
  const int v = schedule.vector_axis, root = ring_.place.root;
  if (v < 0 || fusion::kMatrixChannels % schedule.vector_tile != 0) return false;
  return std::all_of(nest->stores.begin(), nest->stores.end(), [&](const auto& store) {
    if (store.access.root != root) return true;
    return index::to_linear(store.access.address).coefficient(v) == 1;
  });
}

std::optional<fusion::MatrixShape> StripRing::shape_of_lines() const {
  const fusion::Storage& ring_place = ring_.place;
  const std::optional<size_t> stage = reader(ring_place.root);
  const bool is_plain = ring_.views.empty() && !ring_.stored;
  if (!stage || !is_plain || ring_place.has_margins() || ring_place.turning_dim >= 0) {
    return std::nullopt;
  }
  const auto& [nest, schedule] = group_.nests[*stage];
  if (schedule.matrix == 0 || schedule.block_axis >= 0) return std::nullopt;
  const auto shape = fusion::matrix_shape(nest, builder_.storage(), schedule);
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
  for (const fusion::Nest::Store& store : group_.nests[ring_.stages[0]].nest->stores) {
    if (store.access.root != ring_place.root) continue;
    const index::Linear address = index::to_linear(store.access.address);
    if (!store.access.guards.empty() || !address.is_affine() || address.constant != 0) {
      return std::nullopt;
    }
    const fusion::Nest& maker = group_.nests[ring_.stages[0]].nest;
    for (const auto& [axis, step] : address.coefficients) {
      const bool in_line = step == 1 && maker.axes[axis].extent <= shape->channels;
      if (!in_line && step % shape->pitch != 0) return std::nullopt;
    }
  }
  return shape;
}

Box StripRing::whole() const {
  const fusion::Storage& place = ring_.place;
  const WalkStage& stage = producer();
  Box box;
  box.strides = place.strides;
  box.turning_dim = place.turning_dim;
  box.turning_rows = place.turning_rows;
  box.offset = Expr(place.offset);
  box.buffer = builder_.place(place.root, true).buffer;
  box.dtype = value().dtype;
  const Shape& shape = value().shape;
  for (size_t d = 0; d < shape.size(); ++d) {
    box.ranges.push_back(
        BoxRange::fixed(-place.margin_before[d], shape[d] + place.margin_after[d]));
  }
  for (size_t i = 0; i < loops_.outer.size(); ++i) {
    const int d = stage.outer_dims[i];
    box.ranges[d] = BoxRange::fixed(0, std::min(shape[d], stage.outer_blocks[i]));
  }
  box.ranges[stage.stream_dim] = BoxRange::fixed(0, ring_.rows);
  return box;
}

bool StripRing::is_shared(int d) const {
  const WalkStage& stage = producer();
  if (d == stage.stream_dim) return true;
  return std::find(stage.outer_dims.begin(), stage.outer_dims.end(), d) != stage.outer_dims.end();
}

void StripRing::place() const {
  const int root = ring_.place.root;
  if (const auto shape = shape_of_lines()) {
    const int64_t spare = MatrixBlock::kTilesOfRows * fusion::kMatrixRows * shape->row_lines;
    const int64_t num_lines = ceil_div(ring_.root.size_elems, shape->pitch) + spare;
    builder_.place_lines(root, shape->pitch, shape->channels, num_lines,
                         writes_blocks(shape->channels), front());
    return;
  }
  builder_.place_ring(root, value().dtype, ring_.root.size_elems, front());
}

std::vector<Stmt> StripRing::zero_sides() const {
  std::vector<Stmt> result;
  const fusion::Storage& place = ring_.place;
  const Shape& shape = value().shape;
  for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
    if (is_shared(d)) continue;
    const BoxRange sides[] = {BoxRange::fixed(-place.margin_before[d], 0),
                              BoxRange::fixed(shape[d], shape[d] + place.margin_after[d])};
    for (const BoxRange& side : sides) {
      if (side.length <= 0) continue;
      Box box = whole();
      for (int i = 0; i < d; ++i) {
        if (!is_shared(i)) box.ranges[i] = BoxRange::fixed(0, shape[i]);
      }
      box.ranges[d] = side;
      result.push_back(fill_box(box, place.margin_value, 1, builder_));
    }
  }
  return result;
}

std::vector<Stmt> StripRing::zero_beyond() const {
  const WalkStage& stage = producer();
  const fusion::Storage& place = ring_.place;
  const int d = stage.stream_dim;
  const Expr first = loops_.here(rows_of().first), needed = loops_.here(rows_of().needed);
  const Expr front = front_row();
  std::vector<Stmt> result;
  Box box = whole();
  if (place.margin_before[d] > 0) {
    box.ranges[d] = {first - front, min(Expr(0), needed) - front, ring_.rows};
    result.push_back(fill_box(box, place.margin_value, 1, builder_));
  }
  if (place.margin_after[d] > 0) {
    box.ranges[d] = {max(Expr(stage.rows), first) - front, needed - front, ring_.rows};
    result.push_back(fill_box(box, place.margin_value, 1, builder_));
  }
  return result;
}

std::vector<Stmt> StripRing::store_own() const {
  if (!ring_.stored) return {};
  const fusion::RowExpressions::Stage& rows = loops_.rows.stages[ring_.stages[0]];
  const WalkStage& stage = producer();
  const Expr front = front_row(), prev = loops_.here(rows.prev);
  Box from = whole();
  const Shape& shape = value().shape;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (!is_shared(static_cast<int>(d))) from.ranges[d] = BoxRange::fixed(0, shape[d]);
  }
  from.ranges[stage.stream_dim] = {prev - front, loops_.here(min(rows.done, rows.end)) - front,
                                   stage.rows_in_strip};
  const fusion::Storage& place = builder_.storage().plan().values[ring_.value];
  Box to;
  to.strides = place.strides;
  to.offset = Expr(place.offset) + front * Expr(place.strides[stage.stream_dim]);
  to.buffer = builder_.place(place.root, true).buffer;
  to.dtype = from.dtype;
  for (size_t i = 0; i < loops_.outer.size(); ++i) {
    const int d = stage.outer_dims[i];
    const Expr begin = loops_.block_begin(stage, i);
    to.offset = to.offset + begin * Expr(place.strides[d]);
    from.ranges[d].end = min(from.ranges[d].end, Expr(shape[d]) - begin);
  }
  std::vector<Stmt> result;
  result.push_back(copy_box(from, to, builder_));
  return result;
}

}  // namespace corf::lower
