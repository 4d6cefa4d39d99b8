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

namespace {

/// Tiles of rows that one product holds, as the registers of the matrix unit allow.
constexpr int64_t kTilesOfRows = 2;

}  // namespace

MatrixBlock::MatrixBlock(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                         fusion::MatrixShape shape, PackedParts packed, std::vector<int64_t> points,
                         KernelBuilder& builder)
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
  lines_ = builder.new_scratch("lines", DType::kBF16,
                               num_lines_ * kParts * part_blocks_ * kMatrixChannels);
  const int64_t panels =
      num_parts() == 1 ? 1 : ceil_div(points_[schedule.vector_axis], schedule.vector_tile);
  sums_ = builder.new_scratch("sums", DType::kF32, panels * num_rows_ * sum_lanes_);
}

int64_t MatrixBlock::num_parts() const { return ceil_div(shape_.channel_blocks(), part_blocks_); }

Expr MatrixBlock::at(const Expr& expr, const std::vector<Expr>& point) const {
  return index::substitute(expr, [&](int id) -> std::optional<Expr> { return point[id]; });
}

/// Where a part of a line lies: [32 channels each][line][part][channel], so that the rows of one
/// product are close together.
Expr MatrixBlock::in_lines(const Expr& channels, const Expr& line, int part,
                           const Expr& channel) const {
  return (channels * Expr(num_lines_) + line) * Expr(kParts * kMatrixChannels) +
         Expr(part * kMatrixChannels) + channel;
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
  loop::Register rest = let(DType::kF32, std::move(load));
  for (int part = 0; part < kParts; ++part) {
    const loop::Register upper =
        let(DType::kBF16, loop::TileApply{graph::ScalarOp::kTruncate, {rest}});
    tile.body.push_back(
        loop::TileStore{lines_, in_lines(channels, line + number, part, channel), {}, upper});
    if (part + 1 == kParts) break;
    const loop::Register wide = let(DType::kF32, loop::TileApply{graph::ScalarOp::kCast, {upper}});
    rest = let(DType::kF32, loop::TileApply{graph::ScalarOp::kSub, {rest, wide}});
  }
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

std::vector<Stmt> MatrixBlock::split(const std::vector<Expr>& base,
                                     const std::map<int, AxisRange>& ranges, const Expr& part) {
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
  if (!shape_.turning) {
    const Expr from = at(across.turned.value_or(across.address), point) - shift;
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

/// Rows of the sums that a step along an axis of the block moves.
int64_t MatrixBlock::row_step(int axis) const {
  if (walks_gaps_ || axis == shape_.row_axis) return shape_.lines[axis] / shape_.row_lines;
  int64_t step = round_up(points_[shape_.row_axis], kMatrixRows);
  for (auto inner = shape_.inner.rbegin(); *inner != axis; ++inner) {
    if (*inner != shape_.row_axis) step *= points_[*inner];
  }
  return step;
}

/// Where the sums of a panel begin.
Expr MatrixBlock::panel_sums(const std::vector<Expr>& base, const Expr& first_lane) const {
  if (num_parts() == 1) return Expr(0);
  return (base[schedule_.vector_axis] - first_lane) * Expr(num_rows_);
}

ReductionPart MatrixBlock::sums(const std::vector<Expr>& base, const Expr& first_lane) const {
  ReductionPart part;
  part.steps = 0;
  part.last = true;
  part.buffer = sums_;
  part.address = Expr::variable(schedule_.vector_axis);
  part.shift = base[schedule_.vector_axis] - panel_sums(base, first_lane);
  for (int axis : shape_.inner) {
    part.address = part.address + Expr::variable(axis) * Expr(row_step(axis) * sum_lanes_);
    part.shift = part.shift + base[axis] * Expr(row_step(axis) * sum_lanes_);
  }
  return part;
}

std::vector<Stmt> MatrixBlock::multiply(const std::vector<Expr>& base, const Expr& first_lane,
                                        int64_t lanes, const std::map<int, AxisRange>& ranges,
                                        const Expr& part, bool adds) {
  const Panel panel{packed_.panel(base, base[schedule_.vector_axis]), panel_sums(base, first_lane),
                    lanes, part, adds};
  std::vector<Stmt> result;
  if (packed_.has_one_panel()) {
    const Expr first = part * Expr(part_blocks_), blocks(shape_.channel_blocks());
    result = packed_.pack(base, lanes, first, min(first + Expr(part_blocks_), blocks));
  }
  for (Stmt& stmt : products(ranges, panel)) result.push_back(std::move(stmt));
  return result;
}

/// Of all rows and one panel.
std::vector<Stmt> MatrixBlock::products(const std::map<int, AxisRange>& ranges,
                                        const Panel& panel) {
  auto count = [&](int axis) { return ranges.at(axis).end - ranges.at(axis).begin; };
  if (walks_gaps_) {
    Expr rows(1);
    for (int axis : shape_.inner) rows = rows + (count(axis) - Expr(1)) * Expr(row_step(axis));
    return row_loops(rows, Expr(0), Expr(0), panel);
  }
  Expr row(0), line(0);
  std::vector<loop::For> loops;
  for (int axis : shape_.inner) {
    if (axis == shape_.row_axis) continue;
    loops.push_back(new_loop(builder_.new_variable(nest_.axes[axis].name), Expr(0), count(axis)));
    row = row + Expr::variable(loops.back().var) * Expr(row_step(axis));
    line = line + Expr::variable(loops.back().var) * Expr(shape_.lines[axis]);
  }
  std::vector<Stmt> body = row_loops(count(shape_.row_axis), row, line, panel);
  for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop) {
    loop->body = std::move(body);
    body.clear();
    body.push_back(std::move(*loop));
  }
  return body;
}

/// Asks for a step's share of the next panel: the products of a panel share each run of steps that
/// lies in one piece. Memory answers faster to several streams.
std::vector<loop::TilePrefetch> MatrixBlock::prefetches(const Panel& panel, const Expr& row,
                                                        const Expr& run, const Expr& block,
                                                        int64_t width) const {
  constexpr int64_t kLineElems = 32, kRowsOfProduct = kTilesOfRows * kMatrixRows, kStreams = 4;
  const int64_t step_elems = kParts * kMatrixChannels * width;
  const int64_t products = ceil_div(num_rows_, kRowsOfProduct);
  const int64_t lines = ceil_div(step_elems, kLineElems * products * kStreams);
  const Expr product = floor_div(row, Expr(kRowsOfProduct));
  const Expr from = panel.weights + Expr(packed_.panel_elems(width)) + run * Expr(step_elems) +
                    (product * Expr(part_blocks_) + block) * Expr(lines * kLineElems);
  std::vector<loop::TilePrefetch> result;
  for (int64_t line = 0; line < lines; ++line) {
    for (int64_t stream = 0; stream < kStreams; ++stream) {
      const int64_t first = stream * part_blocks_ * step_elems / kStreams;
      result.push_back({packed_.buffer(), from + Expr(first + line * kLineElems)});
    }
  }
  return result;
}

/// As many products of two tiles of rows as there are, and one of a tile that is left over.
std::vector<Stmt> MatrixBlock::row_loops(const Expr& rows, const Expr& first_row,
                                         const Expr& first_line, const Panel& panel) {
  const Expr tiles = ceil_div(rows, kMatrixRows);
  const Expr pairs = floor_div(tiles, Expr(kTilesOfRows)), end = pairs * Expr(kTilesOfRows);
  std::vector<Stmt> result;
  auto add = [&](const Expr& lo, const Expr& hi, int64_t count) {
    if (lo.is_constant() && hi.is_constant() && lo.constant() >= hi.constant()) return;
    loop::For loop = new_loop(builder_.new_variable("rows"), lo, hi);
    const Expr row = Expr::variable(loop.var) * Expr(count * kMatrixRows);
    loop.body.push_back(
        product(count, first_row + row, first_line + row * Expr(shape_.row_lines), panel));
    result.push_back(std::move(loop));
  };
  add(Expr(0), pairs, kTilesOfRows);
  add(end, tiles, 1);
  return result;
}

loop::Tile MatrixBlock::product(int64_t tiles, const Expr& row, const Expr& line,
                                const Panel& panel) {
  const int64_t width = PackedParts::lanes_of(panel.lanes);
  loop::Tile tile;
  tile.matrix = true;
  auto axis = [&](const char* name, int64_t extent, bool vector) {
    const int var = builder_.new_variable(name);
    tile.axes.push_back({var, extent, vector});
    return var;
  };
  const int m = axis("m", tiles * kMatrixRows, false),
            pair = axis("pair", kMatrixChannels / 2, false), half = axis("half", 2, false),
            n = axis("n", width, true);
  const Expr channel = Expr::variable(pair) * Expr(2) + Expr::variable(half);
  const loop::Register init = builder_.new_register(), sum = builder_.new_register();
  const Expr at_sums =
      panel.sums + (row + Expr::variable(m)) * Expr(sum_lanes_) + Expr::variable(n);
  if (panel.adds) {
    tile.body.push_back(loop::TileLet{init, DType::kF32, loop::TileLoad{sums_, at_sums, {}, 0}});
  } else {
    tile.body.push_back(loop::TileLet{init, DType::kF32, loop::TileConstant{}});
  }
  tile.body.push_back(loop::TileAccumulator{sum, DType::kF32, {m, n}, init});

  Expr at_line = line + Expr::variable(m) * Expr(shape_.row_lines), step(0);
  std::vector<loop::TileLoop> loops;
  auto open = [&](const std::string& name, const Expr& extent) {
    if (extent.is_constant(1)) return Expr(0);
    loop::TileLoop loop;
    loop.var = builder_.new_variable(name);
    loop.lo = Expr(0);
    loop.hi = extent;
    loops.push_back(std::move(loop));
    return Expr::variable(loops.back().var);
  };
  for (int reduction : packed_.step_axes()) {
    const int64_t extent = nest_.axes[reduction].extent;
    const Expr at = open(nest_.axes[reduction].name, Expr(extent));
    at_line = at_line + at * Expr(shape_.lines[reduction]);
    step = step * Expr(extent) + at;
  }
  const Expr first = panel.part * Expr(part_blocks_);
  const Expr block =
      open("channels", min(Expr(part_blocks_), Expr(shape_.channel_blocks()) - first));
  const Expr run = step * Expr(shape_.channel_blocks()) + first;
  step = run + block;

  std::vector<loop::TileStmt> body;
  auto load = [&](int buffer, const Expr& offset) {
    const loop::Register reg = builder_.new_register();
    body.push_back(loop::TileLet{reg, DType::kBF16, loop::TileLoad{buffer, offset, {}, 0}});
    return reg;
  };
  std::vector<loop::Register> across, along;
  const int weights = packed_.buffer();
  for (int part = 0; part < kParts; ++part) {
    across.push_back(load(lines_, in_lines(block, at_line, part, channel)));
    along.push_back(
        load(weights, panel.weights +
                          (step * Expr(kParts) + Expr(part)) * Expr(kMatrixChannels * width) +
                          Expr::variable(pair) * Expr(2 * width) + Expr::variable(n) * Expr(2) +
                          Expr::variable(half)));
  }
  std::vector<loop::TilePrefetch> ahead;
  if (schedule_.prefetch == fusion::Prefetch::kPanel && packed_.is_constant()) {
    ahead = prefetches(panel, row, run, block, width);
  }
  // A few behind each of the products: all at once would hold up the loads.
  constexpr size_t kProducts = std::size(fusion::kPartProducts);
  for (size_t i = 0; i < kProducts; ++i) {
    const fusion::PartProduct& product = fusion::kPartProducts[i];
    body.push_back(
        loop::TileUpdate{sum, loop::Reduction::kSum, across[product.across], along[product.along]});
    for (size_t j = i * ahead.size() / kProducts; j < (i + 1) * ahead.size() / kProducts; ++j) {
      body.push_back(ahead[j]);
    }
  }
  for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop) {
    loop->body = std::move(body);
    body.clear();
    body.push_back(std::move(*loop));
  }
  for (loop::TileStmt& stmt : body) tile.body.push_back(std::move(stmt));
  tile.body.push_back(loop::TileStore{sums_, at_sums, {}, sum});
  return tile;
}

}  // namespace corf::lower
