#include "lower/matrix_block.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>

#include "support/checked.h"

namespace corf::lower {

using fusion::kMatrixChannels;
using fusion::kMatrixLanes;
using fusion::kMatrixRows;
using fusion::kParts;
using index::Expr;
using loop::Stmt;

namespace {

/// Tiles of rows that one product holds, as the registers of the matrix unit allow.
constexpr int64_t kTilesOfRows = 2;

/// The upper half of a number, and what it leaves.
uint16_t upper_half(float& value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t upper = bits & 0xffff0000;
  float part = 0;
  std::memcpy(&part, &upper, sizeof part);
  value -= part;
  return static_cast<uint16_t>(upper >> 16);
}

loop::For new_loop(int var, Expr lo, Expr hi) {
  loop::For loop;
  loop.var = var;
  loop.lo = std::move(lo);
  loop.hi = std::move(hi);
  return loop;
}

}  // namespace

// ---- the packed operand ------------------------------------------------------------------------

int64_t PackedParts::round_up_lanes(int64_t extent) { return round_up(extent, kMatrixLanes); }

PackedParts::PackedParts(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                         const fusion::MatrixShape& shape, ProgramBuffers& buffers)
    : nest_(nest),
      shape_(shape),
      access_(nest.loads[shape.along]),
      vector_axis_(schedule.vector_axis),
      vector_tile_(schedule.vector_tile) {
  for (int axis : schedule.parallel_order) {
    if (axis != vector_axis_ && index::depends_on(access_.address, axis)) outer_.push_back(axis);
  }
  std::string key = "parts/" + std::to_string(access_.root) + "/" + std::to_string(vector_tile_) +
                    "/" + std::to_string(nest.axes[vector_axis_].extent) + "/" +
                    std::to_string(shape.channel_axis) + ":" + std::to_string(shape.channels);
  for (int axis : schedule.reduction_order) {
    if (axis == shape.channel_axis) continue;
    step_axes_.push_back(axis);
    num_steps_ *= nest.axes[axis].extent;
  }
  num_steps_ *= shape.padded_channels() / kMatrixChannels;
  for (const std::vector<int>* axes : {&outer_, &step_axes_}) {
    key += "|";
    for (int axis : *axes) {
      key += std::to_string(axis) + ":" + std::to_string(nest.axes[axis].extent) + ",";
    }
  }
  key += index::to_string(access_.address, [](int id) { return "a" + std::to_string(id); });
  const fusion::Root& root = buffers.storage().roots[access_.root];
  const auto& constant = std::get<graph::Constant>(buffers.graph().producer(root.value).op);
  const std::string name = buffers.graph().values[access_.value].name + "/parts";
  buffer_ = buffers.packed(key, name, [&] { return pack(constant.tensor); });
}

Expr PackedParts::panel(const std::vector<Expr>& point, const Expr& tile_base) const {
  const int64_t extent = nest_.axes[vector_axis_].extent;
  const int64_t lanes = extent / vector_tile_ * round_up_lanes(vector_tile_) +
                        round_up_lanes(extent % vector_tile_);
  const int64_t lane_elems = num_steps_ * kParts * kMatrixChannels;
  Expr outer(0);
  for (int axis : outer_) outer = outer * Expr(nest_.axes[axis].extent) + point[axis];
  // All panels but the last have whole tiles.
  return outer * Expr(lanes * lane_elems) + tile_base * Expr(lane_elems);
}

Tensor PackedParts::pack(const Tensor& source) const {
  const int64_t extent = nest_.axes[vector_axis_].extent;
  int64_t outer_size = 1;
  for (int axis : outer_) outer_size *= nest_.axes[axis].extent;
  const int64_t channel_blocks = shape_.padded_channels() / kMatrixChannels;
  std::vector<int64_t> point(nest_.axes.size(), 0);
  auto set_digits = [&](const std::vector<int>& axes, int64_t number) {
    for (size_t i = axes.size(); i-- > 0;) {
      point[axes[i]] = number % nest_.axes[axes[i]].extent;
      number /= nest_.axes[axes[i]].extent;
    }
  };
  const int64_t all_lanes = extent / vector_tile_ * round_up_lanes(vector_tile_) +
                            round_up_lanes(extent % vector_tile_);
  Tensor result(DType::kBF16, {outer_size * all_lanes * num_steps_ * kParts * kMatrixChannels});
  std::memset(result.bytes(), 0, static_cast<size_t>(result.num_elems()) * sizeof(uint16_t));
  auto* out = reinterpret_cast<uint16_t*>(result.bytes());
  const float* data = source.data<float>();
  for (int64_t o = 0; o < outer_size; ++o) {
    set_digits(outer_, o);
    for (int64_t base = 0; base < extent; base += vector_tile_) {
      const int64_t width = std::min(vector_tile_, extent - base);
      const int64_t lanes = round_up_lanes(width), part_elems = kMatrixChannels * lanes;
      for (int64_t step = 0; step < num_steps_; ++step) {
        set_digits(step_axes_, step / channel_blocks);
        const int64_t first = step % channel_blocks * kMatrixChannels;
        for (int64_t k = 0; k < std::min(kMatrixChannels, shape_.channels - first); ++k) {
          point[shape_.channel_axis] = first + k;
          for (int64_t lane = 0; lane < width; ++lane) {
            point[vector_axis_] = base + lane;
            float value = data[index::evaluate(access_.address, point)];
            uint16_t* at = out + k / 2 * lanes * 2 + lane * 2 + k % 2;
            for (int part = 0; part < kParts; ++part) at[part * part_elems] = upper_half(value);
          }
        }
        out += kParts * part_elems;
      }
    }
  }
  return result;
}

// ---- blocks ------------------------------------------------------------------------------------

MatrixBlock::MatrixBlock(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                         fusion::MatrixShape shape, std::vector<int64_t> points,
                         KernelBuilder& builder)
    : nest_(nest),
      schedule_(schedule),
      shape_(std::move(shape)),
      points_(std::move(points)),
      builder_(builder),
      packed_(nest, schedule, shape_, builder.buffers()),
      walks_gaps_(shape_.walks_gaps(points_)),
      sum_lanes_(PackedParts::lanes_of(schedule.vector_tile)) {
  // The last product may read rows behind the block's last.
  const int64_t rows = shape_.row_tiles(points_) * kMatrixRows;
  const int64_t spare = kTilesOfRows * kMatrixRows * shape_.row_lines;
  lines_ = builder.new_scratch("lines", DType::kBF16,
                               (shape_.num_lines(points_) + spare) * line_elems());
  sums_ = builder.new_scratch("sums", DType::kF32, (rows + kMatrixRows) * sum_lanes_);
}

Expr MatrixBlock::at(const Expr& expr, const std::vector<Expr>& point) const {
  return index::substitute(expr, [&](int id) -> std::optional<Expr> { return point[id]; });
}

/// A line of f32 from `from` on becomes three of bfloat16.
loop::Tile MatrixBlock::split_tile(const Expr& from, const Expr& line) {
  const KernelBuilder::Place place = builder_.place(nest_.loads[shape_.across].root, false);
  const int64_t channels = shape_.padded_channels();
  const int lane = builder_.new_variable("channel");
  const Expr channel = Expr::variable(lane);
  loop::Tile tile;
  tile.axes.push_back({lane, channels, true});
  auto let = [&](DType dtype, decltype(loop::TileLet::value) value) {
    const loop::Register reg = builder_.new_register();
    tile.body.push_back(loop::TileLet{reg, dtype, std::move(value)});
    return reg;
  };
  loop::TileLoad load{place.buffer, from + channel, {}, 0};
  if (shape_.channels < channels) load.guards.push_back({channel, 0, shape_.channels});
  loop::Register rest = let(DType::kF32, std::move(load));
  for (int part = 0; part < kParts; ++part) {
    const loop::Register upper =
        let(DType::kBF16, loop::TileApply{graph::ScalarOp::kTruncate, {rest}});
    tile.body.push_back(loop::TileStore{
        lines_, line * Expr(line_elems()) + Expr(part * channels) + channel, {}, upper});
    if (part + 1 == kParts) break;
    const loop::Register wide =
        let(DType::kF32, loop::TileApply{graph::ScalarOp::kCast, {upper}});
    rest = let(DType::kF32, loop::TileApply{graph::ScalarOp::kSub, {rest, wide}});
  }
  return tile;
}

std::vector<Stmt> MatrixBlock::split(const std::vector<Expr>& base,
                                     const std::map<int, AxisRange>& ranges) {
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
  std::vector<Expr> point = base;
  for (size_t axis = 0; axis < point.size(); ++axis) {
    if (nest_.axes[axis].reduction) point[axis] = Expr(0);
  }
  const int line = builder_.new_variable("line");
  loop::For over_lines = new_loop(line, Expr(0), lines + Expr(1));
  if (!shape_.turning) {
    const Expr from = at(across.turned.value_or(across.address), point) - shift;
    over_lines.body.push_back(split_tile(from + Expr::variable(line) * Expr(shape_.pitch),
                                         Expr::variable(line)));
    return {std::move(over_lines)};
  }
  const fusion::MatrixShape::Turning& turning = *shape_.turning;
  const int row = builder_.new_variable("row");
  const Expr first = at(turning.row, point), here = first + Expr::variable(row);
  const int64_t stride = turning.stream_lines * shape_.pitch;
  const Expr in_buffer_of_all = at(across.address, point) - first * Expr(stride);
  const Expr from = in_buffer_of_all + mod(here, Expr(turning.turning_rows)) * Expr(stride) - shift;
  over_lines.body.push_back(
      split_tile(from + Expr::variable(line) * Expr(shape_.pitch),
                 Expr::variable(row) * Expr(turning.stream_lines) + Expr::variable(line)));
  loop::For over_rows = new_loop(row, Expr(0), rows + Expr(1));
  over_rows.body.push_back(std::move(over_lines));
  return {std::move(over_rows)};
}

/// Rows of the sums that a step along an axis of the block moves.
int64_t MatrixBlock::row_step(int axis) const {
  if (walks_gaps_ || axis == shape_.row_axis) return shape_.lines[axis] / shape_.row_lines;
  int64_t step = round_up(points_[shape_.row_axis], kMatrixRows);
  for (auto inner = shape_.inner.rbegin(); *inner != axis; ++inner) {
    if (*inner != shape_.row_axis) step *= points_[*inner];
  }
  return step;
}

ReductionPart MatrixBlock::sums(const std::vector<Expr>& base) const {
  ReductionPart part;
  part.steps = 0;
  part.last = true;
  part.buffer = sums_;
  part.address = Expr::variable(schedule_.vector_axis);
  part.shift = base[schedule_.vector_axis];
  for (int axis : shape_.inner) {
    part.address = part.address + Expr::variable(axis) * Expr(row_step(axis) * sum_lanes_);
    part.shift = part.shift + base[axis] * Expr(row_step(axis) * sum_lanes_);
  }
  return part;
}

std::vector<Stmt> MatrixBlock::multiply(const std::vector<Expr>& base, int64_t lanes,
                                        const std::map<int, AxisRange>& ranges) {
  const Expr panel = packed_.panel(base, base[schedule_.vector_axis]);
  auto count = [&](int axis) { return ranges.at(axis).end - ranges.at(axis).begin; };
  if (walks_gaps_) {
    Expr rows(1);
    for (int axis : shape_.inner) rows = rows + (count(axis) - Expr(1)) * Expr(row_step(axis));
    return row_loops(rows, Expr(0), Expr(0), panel, lanes);
  }
  Expr row(0), line(0);
  std::vector<loop::For> loops;
  for (int axis : shape_.inner) {
    if (axis == shape_.row_axis) continue;
    loops.push_back(new_loop(builder_.new_variable(nest_.axes[axis].name), Expr(0), count(axis)));
    row = row + Expr::variable(loops.back().var) * Expr(row_step(axis));
    line = line + Expr::variable(loops.back().var) * Expr(shape_.lines[axis]);
  }
  std::vector<Stmt> body = row_loops(count(shape_.row_axis), row, line, panel, lanes);
  for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop) {
    loop->body = std::move(body);
    body.clear();
    body.push_back(std::move(*loop));
  }
  return body;
}

/// As many products of two tiles of rows as there are, and one of a tile that is left over.
std::vector<Stmt> MatrixBlock::row_loops(const Expr& rows, const Expr& first_row,
                                         const Expr& first_line, const Expr& panel,
                                         int64_t lanes) {
  const Expr tiles = ceil_div(rows, kMatrixRows);
  const Expr pairs = floor_div(tiles, Expr(kTilesOfRows)), end = pairs * Expr(kTilesOfRows);
  std::vector<Stmt> result;
  auto add = [&](const Expr& lo, const Expr& hi, int64_t count) {
    if (lo.is_constant() && hi.is_constant() && lo.constant() >= hi.constant()) return;
    loop::For loop = new_loop(builder_.new_variable("rows"), lo, hi);
    const Expr row = Expr::variable(loop.var) * Expr(count * kMatrixRows);
    loop.body.push_back(product(count, first_row + row, first_line + row * Expr(shape_.row_lines),
                                panel, lanes));
    result.push_back(std::move(loop));
  };
  add(Expr(0), pairs, kTilesOfRows);
  add(end, tiles, 1);
  return result;
}

loop::Tile MatrixBlock::product(int64_t tiles, const Expr& row, const Expr& line,
                                const Expr& panel, int64_t lanes) {
  const int64_t width = PackedParts::lanes_of(lanes), channels = shape_.padded_channels();
  loop::Tile tile;
  tile.matrix = true;
  auto axis = [&](const char* name, int64_t extent, bool vector) {
    const int var = builder_.new_variable(name);
    tile.axes.push_back({var, extent, vector});
    return var;
  };
  const int m = axis("m", tiles * kMatrixRows, false), pair = axis("pair", kMatrixChannels / 2, false),
            half = axis("half", 2, false), n = axis("n", width, true);
  const Expr channel = Expr::variable(pair) * Expr(2) + Expr::variable(half);
  const loop::Register zero = builder_.new_register(), sum = builder_.new_register();
  tile.body.push_back(loop::TileLet{zero, DType::kF32, loop::TileConstant{}});
  tile.body.push_back(loop::TileAccumulator{sum, DType::kF32, {m, n}, zero});

  Expr at_line = line + Expr::variable(m) * Expr(shape_.row_lines), step(0);
  std::vector<loop::TileLoop> loops;
  auto open = [&](const std::string& name, int64_t extent) {
    if (extent == 1) return Expr(0);
    loop::TileLoop loop;
    loop.var = builder_.new_variable(name);
    loop.lo = Expr(0);
    loop.hi = Expr(extent);
    loops.push_back(std::move(loop));
    return Expr::variable(loops.back().var);
  };
  for (int reduction : packed_.step_axes()) {
    const int64_t extent = nest_.axes[reduction].extent;
    const Expr at = open(nest_.axes[reduction].name, extent);
    at_line = at_line + at * Expr(shape_.lines[reduction]);
    step = step * Expr(extent) + at;
  }
  const Expr block = open("channels", channels / kMatrixChannels);
  step = step * Expr(channels / kMatrixChannels) + block;

  std::vector<loop::TileStmt> body;
  auto load = [&](int buffer, const Expr& offset) {
    const loop::Register reg = builder_.new_register();
    body.push_back(loop::TileLet{reg, DType::kBF16, loop::TileLoad{buffer, offset, {}, 0}});
    return reg;
  };
  std::vector<loop::Register> across, along;
  const int weights = builder_.bind(packed_.buffer(), false);
  for (int part = 0; part < kParts; ++part) {
    across.push_back(load(lines_, at_line * Expr(line_elems()) + Expr(part * channels) +
                                      block * Expr(kMatrixChannels) + channel));
    along.push_back(load(weights, panel + (step * Expr(kParts) + Expr(part)) *
                                              Expr(kMatrixChannels * width) +
                                      Expr::variable(pair) * Expr(2 * width) +
                                      Expr::variable(n) * Expr(2) + Expr::variable(half)));
  }
  for (const fusion::PartProduct& product : fusion::kPartProducts) {
    body.push_back(loop::TileUpdate{sum, loop::Reduction::kSum, across[product.across],
                                    along[product.along]});
  }
  for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop) {
    loop->body = std::move(body);
    body.clear();
    body.push_back(std::move(*loop));
  }
  for (loop::TileStmt& stmt : body) tile.body.push_back(std::move(stmt));
  tile.body.push_back(loop::TileStore{
      sums_, (row + Expr::variable(m)) * Expr(sum_lanes_) + Expr::variable(n), {}, sum});
  return tile;
}

}  // namespace corf::lower
