#include "fusion/matrix.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/checked.h"

namespace corf::fusion {
namespace {

using index::ExprKind;
using index::Linear;

/// The only modulo by a constant in the expression; nullopt if there is none or another.
std::optional<Expr> find_modulo(const Expr& expr) {
  if (expr.is_constant() || expr.kind() == ExprKind::kVariable) return std::nullopt;
  if (expr.kind() == ExprKind::kMod) {
    return expr.rhs().is_constant() ? std::optional(expr) : std::nullopt;
  }
  const std::optional<Expr> left = find_modulo(expr.lhs()), right = find_modulo(expr.rhs());
  if (left && right) return std::nullopt;
  return left ? left : right;
}

/// How the operand's ring turns; false if that has another form.
bool find_turning(const Nest& nest, const StorageView& storage, const Access& access, int64_t pitch,
                  MatrixShape& shape) {
  if (!access.turning) return true;
  const Expr lies = lies_at(access, storage);
  const Linear turned = index::to_linear(lies), all = index::to_linear(access.address);
  if (turned.is_affine()) return true;
  const std::optional<Expr> modulo = find_modulo(lies);
  if (!modulo) return false;
  const Linear row = index::to_linear(modulo->lhs());
  if (!row.is_affine()) return false;
  MatrixShape::Turning turning;
  turning.row = modulo->lhs();
  turning.turning_rows = modulo->rhs().constant();
  for (const auto& [axis, step] : row.coefficients) {
    if (step < 0 || axis == shape.channel_axis) return false;  // a line's channels do not turn
    const int64_t moved = all.coefficient(axis) - turned.coefficient(axis);
    if (moved % step != 0) return false;
    const int64_t stride = moved / step;
    if (stride <= 0 || stride % pitch != 0) return false;
    if (turning.stream_lines != 0 && turning.stream_lines != stride / pitch) return false;
    turning.stream_lines = stride / pitch;
    if (static_cast<int>(turning.rows.size()) <= axis) turning.rows.resize(axis + 1, 0);
    turning.rows[axis] = step;
  }
  if (turning.stream_lines == 0) return false;
  Linear rest = turned;
  rest.rest = Expr(0);
  turning.rest = index::to_expr(rest);
  turning.rows.resize(shape.lines.size(), 0);
  // What else moves stays within the row.
  int64_t last = 0;
  for (size_t axis = 0; axis < shape.lines.size(); ++axis) {
    if (shape.lines[axis] == 0) continue;  // outside of the block
    const int64_t in_row = shape.lines[axis] - turning.rows[axis] * turning.stream_lines;
    if (in_row < 0) return false;
    last += in_row * (nest.axes[axis].most_steps() - 1);
  }
  if (last >= turning.stream_lines) return false;
  shape.turning = std::move(turning);
  return true;
}

}  // namespace

int64_t MatrixShape::channel_blocks() const { return ceil_div(channels, kMatrixChannels); }

int64_t MatrixShape::num_lines(const std::vector<int64_t>& points) const {
  int64_t last = 0;
  for (size_t axis = 0; axis < lines.size(); ++axis) last += (points[axis] - 1) * lines[axis];
  return last + 1;
}

int64_t MatrixShape::tiles_with_gaps(const std::vector<int64_t>& points) const {
  int64_t last = 0;
  for (int axis : inner) last += (points[axis] - 1) * lines[axis] / row_lines;
  return ceil_div(last + 1, kMatrixRows);
}

int64_t MatrixShape::tiles_of_runs(const std::vector<int64_t>& points) const {
  int64_t runs = 1;
  for (int axis : inner) runs *= axis == row_axis ? 1 : points[axis];
  return runs * ceil_div(points[row_axis], kMatrixRows);
}

bool MatrixShape::walks_gaps(const std::vector<int64_t>& points) const {
  return tiles_with_gaps(points) <= tiles_of_runs(points);
}

int64_t MatrixShape::row_tiles(const std::vector<int64_t>& points) const {
  return std::min(tiles_with_gaps(points), tiles_of_runs(points));
}

MatrixWork matrix_work(const Nest& nest, const NestSchedule& schedule, const MatrixShape& shape,
                       const std::vector<int64_t>& points) {
  std::vector<int64_t> in_block = points;
  double blocks = 1, outer = 1, steps = double(shape.channel_blocks());
  const int v = schedule.vector_axis, b = schedule.block_axis;
  if (b >= 0) {
    in_block[b] = std::min(points[b], schedule.block_tiles * schedule.tile_extent(b));
    blocks = double(points[b]) / double(in_block[b]);
  }
  double block_points = 1;
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    const bool is_inner =
        std::find(shape.inner.begin(), shape.inner.end(), axis) != shape.inner.end();
    if (is_inner) {
      block_points *= double(in_block[axis]);
    } else if (nest.axes[axis].reduction) {
      if (axis != shape.channel_axis) steps *= double(points[axis]);
    } else if (axis != v) {
      outer *= double(points[axis]);
    }
  }
  const auto row_tiles = double(shape.row_tiles(in_block));
  const auto lane_tiles = double(ceil_div(points[v], kMatrixLanes));
  const auto width = double(ceil_div(std::min(schedule.vector_tile, points[v]), kMatrixLanes));
  MatrixWork work;
  work.products = outer * blocks * row_tiles * lane_tiles * steps * std::size(kPartProducts);
  work.sums = std::min(2.0, row_tiles) * std::min(width, lane_tiles);
  work.vectors =
      outer * blocks * double(shape.num_lines(in_block) * shape.padded_channels()) / kMatrixLanes;
  work.results = outer * blocks * block_points * lane_tiles;
  work.passes = blocks;
  const double parts = std::ceil(double(shape.padded_channels()) / double(schedule.matrix));
  const double sums =
      double(kMatrixRows * kMatrixLanes) * row_tiles * (parts > 1 ? lane_tiles : width);
  work.block_bytes = 2.0 * kParts * double(shape.num_lines(in_block)) *
                         std::min(double(schedule.matrix), double(shape.padded_channels())) +
                     sizeof(float) * sums;
  if (shape.packs) work.packed = outer * lane_tiles * steps * double(kMatrixChannels);
  work.panel_bytes =
      outer * lane_tiles * steps * 2.0 * kParts * double(kMatrixLanes * kMatrixChannels);
  return work;
}

std::optional<MatrixShape> matrix_shape(const Nest& nest, const StorageView& storage,
                                        const NestSchedule& schedule) {
  const int v = schedule.vector_axis;
  if (!nest.contraction || v < 0 || nest.axes[v].reduction) return std::nullopt;
  if (nest.ops[nest.reduce_op].dtype != DType::kF32) return std::nullopt;
  MatrixShape shape;
  for (int factor : nest.contraction->factors) {
    const Access& access = nest.loads[factor];
    if (storage.root(access.root).dtype != DType::kF32) return std::nullopt;
    if (!access.guards.empty() || !index::to_linear(access.address).is_affine())
      return std::nullopt;
    (index::depends_on(access.address, v) ? shape.along : shape.across) = factor;
  }
  if (shape.along < 0 || shape.across < 0) return std::nullopt;
  // What turns while it is read cannot be packed at once.
  const Root::Kind kind = storage.root(nest.loads[shape.along].root).kind;
  if (kind == Root::Kind::kRing) return std::nullopt;
  shape.packs = kind != Root::Kind::kConstant;
  const Access& across = nest.loads[shape.across];
  const Linear address = index::to_linear(across.address);
  const auto& order = schedule.parallel_order;
  shape.inner.assign(std::find(order.begin(), order.end(), v) + 1, order.end());
  shape.lines.assign(nest.axes.size(), 0);
  std::vector<int> moving = shape.inner;  // axes of the block that change lines
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    if (!nest.axes[axis].reduction || nest.axes[axis].extent <= shape.channels) continue;
    if (address.coefficient(axis) < 1) return std::nullopt;
    shape.channel_axis = axis;
    shape.channels = nest.axes[axis].extent;
    shape.channel_step = address.coefficient(axis);
  }
  if (shape.channel_axis < 0 || shape.inner.empty()) return std::nullopt;
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    if (nest.axes[axis].reduction && axis != shape.channel_axis) moving.push_back(axis);
  }
  for (int axis : moving) {
    if (address.coefficient(axis) < 0) return std::nullopt;
    shape.pitch = std::gcd(shape.pitch, address.coefficient(axis));
  }
  if (shape.pitch < 1) return std::nullopt;
  for (int axis : moving) shape.lines[axis] = address.coefficient(axis) / shape.pitch;
  for (int axis : shape.inner) {
    if (shape.lines[axis] == 0) return std::nullopt;
    if (index::depends_on(nest.loads[shape.along].address, axis)) return std::nullopt;
    if (shape.row_axis >= 0 && shape.lines[axis] > shape.row_lines) continue;
    shape.row_axis = axis;
    shape.row_lines = shape.lines[axis];
  }
  for (int axis : shape.inner) {
    if (shape.lines[axis] % shape.row_lines != 0) return std::nullopt;
  }
  if (!find_turning(nest, storage, across, shape.pitch, shape)) return std::nullopt;
  return shape;
}

bool packs_before_strips(const Nest& nest, const NestSchedule& schedule, const MatrixShape& shape) {
  int stream = -1;
  for (const NestAxis& axis : nest.axes) stream = std::max(stream, axis.shared);
  if (!shape.packs || stream < 0 || nest.axes[schedule.vector_axis].shared >= 0) return false;
  const std::vector<int> axes = packed_axes(nest, schedule, shape);
  return std::none_of(axes.begin(), axes.end(),
                      [&](int axis) { return nest.axes[axis].shared == stream; });
}

std::vector<int> packed_axes(const Nest& nest, const NestSchedule& schedule,
                             const MatrixShape& shape) {
  std::vector<int> axes;
  for (int axis : schedule.parallel_order) {
    const bool moves = index::depends_on(nest.loads[shape.along].address, axis);
    if (axis != schedule.vector_axis && moves) axes.push_back(axis);
  }
  return axes;
}

Status check_matrix(const Nest& nest, const StorageView& storage, const NestSchedule& schedule) {
  if (schedule.matrix == 0) return {};
  auto fault = [](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument, "the schedule does not fit its nest: {}", what);
  };
  const std::optional<MatrixShape> shape = matrix_shape(nest, storage, schedule);
  if (!shape) return fault("`matrix` takes a product of packed values and of lines of channels");
  if (schedule.matrix < 1 ||
      (schedule.matrix < shape->channels && schedule.matrix % kMatrixChannels != 0)) {
    return fault("`matrix` takes a multiple of 32 channels, or all of them");
  }
  if (!schedule.unrolled_reductions.empty() || schedule.prefetch == Prefetch::kAhead ||
      schedule.lane_steps > 1) {
    return fault("`matrix` takes neither `unroll` nor `prefetch ahead` nor `beside`");
  }
  const bool whole = schedule.vector_tile % kMatrixLanes == 0 ||
                     schedule.vector_tile == nest.axes[schedule.vector_axis].extent;
  if (!whole || schedule.vector_tile > 2 * kMatrixLanes) {
    return fault("`matrix` takes one or two times 16 lanes");
  }
  auto in_block = [&](int axis) {
    return std::find(shape->inner.begin(), shape->inner.end(), axis) != shape->inner.end();
  };
  if (schedule.block_axis >= 0 && !in_block(schedule.block_axis)) {
    return fault("`matrix` takes blocks of an axis behind the vector axis");
  }
  for (const auto& tiled : schedule.register_tile) {
    if (!in_block(tiled.axis)) return fault("`matrix` takes tiles of axes behind the vector axis");
  }
  return {};
}

}  // namespace corf::fusion
