#include "lower/matrix_block.h"

#include <algorithm>
#include <optional>

#include "support/checked.h"

namespace corf::lower {

using fusion::kMatrixChannels;
using fusion::kMatrixLanes;
using fusion::kMatrixRows;
using fusion::kParts;
using index::Expr;
using loop::Stmt;

void store_parts(loop::Register value, int buffer, const Expr& offset, int64_t step,
                 KernelBuilder& builder, std::vector<loop::TileStmt>& body) {
  auto apply = [&](DType dtype, graph::ScalarOp op, std::vector<loop::Register> args) {
    const loop::Register reg = builder.new_register();
    body.push_back(loop::TileLet{reg, dtype, loop::TileApply{op, std::move(args)}});
    return reg;
  };
  loop::Register rest = value;
  for (int part = 0; part < kParts; ++part) {
    const loop::Register upper = apply(DType::kBF16, graph::ScalarOp::kTruncate, {rest});
    body.push_back(loop::TileStore{buffer, offset + Expr(part * step), {}, upper});
    if (part + 1 == kParts) break;
    const loop::Register wide = apply(DType::kF32, graph::ScalarOp::kCast, {upper});
    rest = apply(DType::kF32, graph::ScalarOp::kSub, {rest, wide});
  }
}

MatrixBlock::MatrixBlock(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                         fusion::MatrixShape shape, PackedParts packed, std::vector<int64_t> points,
                         int64_t pieces, KernelBuilder& builder)
    : nest_(nest),
      schedule_(schedule),
      shape_(std::move(shape)),
      points_(std::move(points)),
      builder_(builder),
      packed_(std::move(packed)),
      walks_gaps_(shape_.walks_gaps(points_)),
      num_rows_(shape_.row_tiles(points_) * kMatrixRows),
      part_blocks_(std::min(ceil_div(schedule.matrix, kMatrixChannels), shape_.channel_blocks())),
      sum_lanes_(PackedParts::lanes_of(schedule.vector_tile)) {
  // The last product may read rows behind the block's last.
  const int64_t spare = kTilesOfRows * kMatrixRows * shape_.row_lines;
  num_lines_ = shape_.num_lines(points_) + spare;
  if (const KernelBuilder::Lines* lines = builder.lines_of(nest.loads[shape_.across].root)) {
    splits_ = false;
    lines_ = lines->buffer;
    part_step_ = lines->part_step;
    line_step_ = lines->line_step;
    block_step_ = lines->block_step;
  } else {
    // The rows of one product are close together.
    part_step_ = kMatrixChannels;
    line_step_ = kParts * part_step_;
    block_step_ = num_lines_ * line_step_;
    lines_ = builder.new_scratch("lines", DType::kBF16, part_blocks_ * block_step_);
  }
  const int64_t all_panels = ceil_div(points_[schedule.vector_axis], schedule.vector_tile);
  // Finding one's way to a piece costs instructions, too.
  constexpr int64_t kMostPieces = 8;
  has_beside_ = all_panels > 1 && most_pairs() > 0 && pieces_a_step(pieces) <= kMostPieces;
  const int64_t panels = num_parts() > 1 ? all_panels : has_beside_ ? 2 : 1;
  sums_ = builder.new_scratch("sums", DType::kF32, panels * num_rows_ * sum_lanes_);
}

int64_t MatrixBlock::num_parts() const { return ceil_div(shape_.channel_blocks(), part_blocks_); }

Expr MatrixBlock::at(const Expr& expr, const std::vector<Expr>& point) const {
  return index::substitute(expr, [&](int id) -> std::optional<Expr> { return point[id]; });
}

/// Where a part of a line lies; `channels`: how many blocks of them come before.
Expr MatrixBlock::in_lines(const Expr& channels, const Expr& line, int part,
                           const Expr& channel) const {
  return channels * Expr(block_step_) + line * Expr(line_step_) + Expr(part * part_step_) + channel;
}

/// 32 channels of f32 of each line from `from` on become three times as many of bfloat16; channels
/// behind the last are zeros.
loop::Tile MatrixBlock::split_tile(const Expr& from, const Expr& line, int64_t lines,
                                   const Expr& channels, int64_t num_channels) {
  const KernelBuilder::Place place = builder_.place(nest_.loads[shape_.across].root, false);
  loop::Tile tile;
  Expr number(0);
  if (lines > 1) {
    const int var = builder_.new_variable("line");
    tile.axes.push_back({var, lines, false});
    number = Expr::variable(var);
  }
  const int lane = builder_.new_variable("channel");
  const Expr channel = Expr::variable(lane);
  tile.axes.push_back({lane, kMatrixChannels, true});
  auto let = [&](DType dtype, decltype(loop::TileLet::value) value) {
    const loop::Register reg = builder_.new_register();
    tile.body.push_back(loop::TileLet{reg, dtype, std::move(value)});
    return reg;
  };
  const Expr at = (channels * Expr(kMatrixChannels) + channel) * Expr(shape_.channel_step);
  loop::TileLoad load{place.buffer, from + number * Expr(shape_.pitch) + at, {}, 0};
  if (num_channels < kMatrixChannels) load.guards.push_back({channel, 0, num_channels});
  const loop::Register rest = let(DType::kF32, std::move(load));
  store_parts(rest, lines_, in_lines(channels, line + number, 0, channel), part_step_, builder_,
              tile.body);
  return tile;
}

/// The channels of a part.
std::vector<Stmt> MatrixBlock::split_channels(const Expr& from, const Expr& line, int64_t lines,
                                              const Expr& part) {
  std::vector<Stmt> result;
  const int64_t whole = shape_.channels / kMatrixChannels, rest = shape_.channels % kMatrixChannels;
  const Expr first = part * Expr(part_blocks_);
  const Expr at = from + first * Expr(kMatrixChannels * shape_.channel_step);
  auto add = [&](const Expr& lo, const Expr& hi, int64_t channels) {
    loop::For blocks = new_loop(builder_.new_variable("channels"), lo, hi);
    blocks.body.push_back(split_tile(at, line, lines, Expr::variable(blocks.var), channels));
    result.push_back(std::move(blocks));
  };
  // Whole blocks, and the last one in the part that has it.
  if (whole > 0) add(Expr(0), min(Expr(part_blocks_), Expr(whole) - first), kMatrixChannels);
  if (rest > 0) {
    add(Expr(whole) - first, min(Expr(part_blocks_), Expr(whole + 1) - first), rest);
  }
  return result;
}

/// `from`: of the first line. Where lines follow one another element by element, several go
/// through registers at once.
std::vector<Stmt> MatrixBlock::split_lines(const Expr& from, const Expr& first, const Expr& count,
                                           const Expr& part) {
  constexpr int64_t kTogether = 16;
  const int64_t together = shape_.channel_step != 1 && shape_.pitch == 1 ? kTogether : 1;
  std::vector<Stmt> result;
  auto add = [&](const Expr& lo, const Expr& hi, int64_t lines) {
    loop::For loop = new_loop(builder_.new_variable("lines"), lo, hi);
    const Expr line = Expr::variable(loop.var) * Expr(lines);
    loop.body = split_channels(from + line * Expr(shape_.pitch), first + line, lines, part);
    result.push_back(std::move(loop));
  };
  const Expr groups = floor_div(count, Expr(together));
  if (together > 1) add(Expr(0), groups, together);
  add(together > 1 ? groups * Expr(together) : Expr(0), count, 1);
  return result;
}

/// Of a block, and of the reductions.
std::vector<Expr> MatrixBlock::first_point(std::vector<Expr> base) const {
  for (size_t axis = 0; axis < base.size(); ++axis) {
    if (nest_.axes[axis].reduction) base[axis] = Expr(0);
  }
  return base;
}

std::vector<Stmt> MatrixBlock::split(const std::vector<Expr>& base,
                                     const std::map<int, AxisRange>& ranges, const Expr& part) {
  if (!splits_) return {};
  const fusion::Access& across = nest_.loads[shape_.across];
  const Expr shift = builder_.place(across.root, false).shift;
  // Lines behind the first: of the ring's rows, and of what else moves.
  Expr rows(0), lines(0);
  for (size_t axis = 0; axis < shape_.lines.size(); ++axis) {
    if (shape_.lines[axis] == 0) continue;
    const auto range = ranges.find(static_cast<int>(axis));
    const Expr last = range == ranges.end() ? Expr(nest_.axes[axis].extent - 1)
                                            : range->second.end - range->second.begin - Expr(1);
    const int64_t row_step = shape_.turning ? shape_.turning->rows[axis] : 0;
    const int64_t in_rows = shape_.turning ? row_step * shape_.turning->stream_lines : 0;
    rows = rows + last * Expr(row_step);
    lines = lines + last * Expr(shape_.lines[axis] - in_rows);
  }
  const std::vector<Expr> point = first_point(base);
  if (!shape_.turning) {
    const Expr from = at(fusion::lies_at(across, builder_.storage()), point) - shift;
    return split_lines(from, Expr(0), lines + Expr(1), part);
  }
  const fusion::MatrixShape::Turning& turning = *shape_.turning;
  loop::For over_rows = new_loop(builder_.new_variable("row"), Expr(0), rows + Expr(1));
  const Expr row = Expr::variable(over_rows.var);
  const Expr first = at(turning.row, point);
  const int64_t stride = turning.stream_lines * shape_.pitch;
  const Expr from =
      at(turning.rest, point) + mod(first + row, Expr(turning.turning_rows)) * Expr(stride) - shift;
  over_rows.body = split_lines(from, row * Expr(turning.stream_lines), lines + Expr(1), part);
  return {std::move(over_rows)};
}

}  // namespace corf::lower
