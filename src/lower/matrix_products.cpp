#include <algorithm>
#include <tuple>

#include "lower/matrix_block.h"
#include "support/checked.h"

namespace corf::lower {

using fusion::kMatrixChannels;
using fusion::kMatrixRows;
using fusion::kParts;
using index::Expr;
using loop::Stmt;

namespace {

constexpr int64_t kTilesOfRows = MatrixBlock::kTilesOfRows;

Expr count_of(const std::map<int, AxisRange>& ranges, int axis) {
  return ranges.at(axis).end - ranges.at(axis).begin;
}
/// Products of two tiles of rows each.
Expr pairs_of(const Expr& rows) {
  return floor_div(ceil_div(rows, kMatrixRows), Expr(kTilesOfRows));
}

}  // namespace

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
  const Expr& lane = base[schedule_.vector_axis];
  if (num_parts() > 1) return (lane - first_lane) * Expr(num_rows_);
  if (!has_beside_) return Expr(0);
  const Expr panel = floor_div(lane, Expr(schedule_.vector_tile));
  return mod(panel, Expr(2)) * Expr(num_rows_ * sum_lanes_);
}

/// Of the block that begins at `base`.
Expr MatrixBlock::first_line(const std::vector<Expr>& base) const {
  if (splits_) return Expr(0);
  const fusion::Access& across = nest_.loads[shape_.across];
  const Expr from =
      at(across.address, first_point(base)) - builder_.place(across.root, false).shift;
  return floor_div(from, Expr(shape_.pitch));
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
                                        const Expr& part, bool adds, const Beside* beside) {
  const Panel panel{packed_.panel(base, base[schedule_.vector_axis]),
                    panel_sums(base, first_lane),
                    first_line(base),
                    lanes,
                    part,
                    adds,
                    beside};
  std::vector<Stmt> result;
  if (packed_.has_one_panel()) {
    const Expr first = part * Expr(part_blocks_), blocks(shape_.channel_blocks());
    result = packed_.pack(base, lanes, first, min(first + Expr(part_blocks_), blocks));
  }
  for (Stmt& stmt : products(ranges, panel)) result.push_back(std::move(stmt));
  return result;
}

/// Of 32 channels, in the last part.
int64_t MatrixBlock::last_blocks() const {
  return shape_.channel_blocks() - (num_parts() - 1) * part_blocks_;
}

/// Of 32 channels, in one product of the last part.
int64_t MatrixBlock::num_steps() const {
  int64_t steps = last_blocks();
  for (int axis : packed_.step_axes()) steps *= nest_.axes[axis].extent;
  return steps;
}

/// Of a block that is walked as one.
Expr MatrixBlock::rows_with_gaps(const std::map<int, AxisRange>& ranges) const {
  Expr rows(1);
  for (int axis : shape_.inner) {
    rows = rows + (count_of(ranges, axis) - Expr(1)) * Expr(row_step(axis));
  }
  return rows;
}

Expr MatrixBlock::num_pairs(const std::map<int, AxisRange>& ranges) const {
  if (walks_gaps_) return pairs_of(rows_with_gaps(ranges));
  Expr pairs = pairs_of(count_of(ranges, shape_.row_axis));
  for (int axis : shape_.inner) {
    if (axis != shape_.row_axis) pairs = pairs * count_of(ranges, axis);
  }
  return pairs;
}

int64_t MatrixBlock::most_pairs() const {
  std::map<int, AxisRange> ranges;
  for (int axis : shape_.inner) ranges[axis] = {Expr(0), Expr(points_[axis]), points_[axis]};
  return num_pairs(ranges).constant();
}

int64_t MatrixBlock::pieces_a_step(int64_t most_pieces) const {
  return ceil_div(most_pieces, most_pairs() * num_steps());
}

Expr MatrixBlock::pieces_beside(const std::map<int, AxisRange>& ranges, int64_t most_pieces) const {
  return num_pairs(ranges) * Expr(num_steps() * pieces_a_step(most_pieces));
}

/// Of all rows and one panel.
std::vector<Stmt> MatrixBlock::products(const std::map<int, AxisRange>& ranges,
                                        const Panel& panel) {
  Rows first{0, Expr(0), Expr(0), Expr(0)};
  if (walks_gaps_) return row_loops(rows_with_gaps(ranges), first, panel);
  std::vector<loop::For> loops;
  for (int axis : shape_.inner) {
    if (axis == shape_.row_axis) continue;
    const Expr count = count_of(ranges, axis);
    loops.push_back(new_loop(builder_.new_variable(nest_.axes[axis].name), Expr(0), count));
    const Expr at = Expr::variable(loops.back().var);
    first.row = first.row + at * Expr(row_step(axis));
    first.line = first.line + at * Expr(shape_.lines[axis]);
    first.number = first.number * count + at;
  }
  const Expr rows = count_of(ranges, shape_.row_axis);
  first.number = first.number * pairs_of(rows);
  return inside(std::move(loops), row_loops(rows, first, panel));
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
std::vector<Stmt> MatrixBlock::row_loops(const Expr& count, const Rows& first, const Panel& panel) {
  const Expr tiles = ceil_div(count, kMatrixRows);
  const Expr pairs = pairs_of(count), end = pairs * Expr(kTilesOfRows);
  std::vector<Stmt> result;
  auto add = [&](const Expr& lo, const Expr& hi, int64_t in_product) {
    if (lo.is_constant() && hi.is_constant() && lo.constant() >= hi.constant()) return;
    loop::For loop = new_loop(builder_.new_variable("rows"), lo, hi);
    const Expr at = Expr::variable(loop.var), row = at * Expr(in_product * kMatrixRows);
    const Rows rows{in_product, first.row + row, first.line + row * Expr(shape_.row_lines),
                    first.number + at};
    if (panel.beside && in_product == kTilesOfRows) {
      loop.body = product_beside(rows, panel);
    } else {
      loop.body.push_back(whole_product(rows, panel));
    }
    result.push_back(std::move(loop));
  };
  add(Expr(0), pairs, kTilesOfRows);
  add(end, tiles, 1);
  return result;
}

struct MatrixBlock::Product {
  const Panel* panel = nullptr;
  loop::Tile tile;
  Expr row, at_line, at_sums, pair, half, channel, lane;  // over the tile's axes
  int64_t width = 0;                                      // lanes
  loop::Register sum = 0;
  std::vector<int> over;  // axes of the channels
  int sums = -1;          // buffer

  loop::Tile close() {
    tile.body.push_back(loop::TileStore{sums, at_sums, {}, sum});
    return std::move(tile);
  }
};

/// The tile's axes and its sums.
MatrixBlock::Product MatrixBlock::open_product(const Rows& rows, const Panel& panel,
                                               loop::MatrixPart part) {
  Product product;
  product.panel = &panel;
  product.row = rows.row;
  product.width = PackedParts::lanes_of(panel.lanes);
  product.sums = sums_;
  loop::Tile& tile = product.tile;
  tile.matrix = true;
  tile.part = part;
  auto axis = [&](const char* name, int64_t extent, bool vector) {
    const int var = builder_.new_variable(name);
    tile.axes.push_back({var, extent, vector});
    return var;
  };
  const int m = axis("m", rows.tiles * kMatrixRows, false),
            pair = axis("pair", kMatrixChannels / 2, false), half = axis("half", 2, false),
            n = axis("n", product.width, true);
  product.over = {pair, half};
  product.pair = Expr::variable(pair);
  product.half = Expr::variable(half);
  product.channel = product.pair * Expr(2) + product.half;
  product.lane = Expr::variable(n);
  product.at_line = panel.first_line + rows.line + Expr::variable(m) * Expr(shape_.row_lines);
  product.at_sums = panel.sums + (rows.row + Expr::variable(m)) * Expr(sum_lanes_) + product.lane;
  const loop::Register init = builder_.new_register();
  product.sum = builder_.new_register();
  const bool begins = part == loop::MatrixPart::kWhole || part == loop::MatrixPart::kBegin;
  if (begins && !panel.adds) {
    tile.body.push_back(loop::TileLet{init, DType::kF32, loop::TileConstant{}});
  } else {
    tile.body.push_back(
        loop::TileLet{init, DType::kF32, loop::TileLoad{sums_, product.at_sums, {}, 0}});
  }
  tile.body.push_back(loop::TileAccumulator{product.sum, DType::kF32, {m, n}, init});
  return product;
}

MatrixBlock::Steps MatrixBlock::open_steps(const Panel& panel) {
  Steps steps{{}, Expr(0), Expr(0), Expr(0), Expr(0), Expr(0)};
  auto open = [&](const std::string& name, const Expr& extent) {
    if (extent.is_constant(1)) return Expr(0);
    steps.loops.emplace_back(builder_.new_variable(name), extent);
    return Expr::variable(steps.loops.back().first);
  };
  for (int reduction : packed_.step_axes()) {
    const int64_t extent = nest_.axes[reduction].extent;
    const Expr at = open(nest_.axes[reduction].name, Expr(extent));
    steps.line = steps.line + at * Expr(shape_.lines[reduction]);
    steps.step = steps.step * Expr(extent) + at;
  }
  const Expr first = panel.part * Expr(part_blocks_);
  steps.block = open("channels", min(Expr(part_blocks_), Expr(shape_.channel_blocks()) - first));
  steps.number = steps.step * Expr(last_blocks()) + steps.block;
  steps.run = steps.step * Expr(shape_.channel_blocks()) + first;
  steps.step = steps.run + steps.block;
  return steps;
}

/// Those of a step from number `from` to number `to`.
std::vector<loop::TileStmt> MatrixBlock::part_products(Product& product, const Steps& steps,
                                                       size_t from, size_t to) {
  constexpr size_t kProducts = std::size(fusion::kPartProducts);
  const Panel& panel = *product.panel;
  std::vector<loop::TileStmt> body;
  auto load = [&](int buffer, const Expr& offset) {
    const loop::Register reg = builder_.new_register();
    body.push_back(loop::TileLet{reg, DType::kBF16, loop::TileLoad{buffer, offset, {}, 0}});
    return reg;
  };
  std::vector<loop::Register> across, along;
  const int weights = packed_.buffer();
  for (int part = 0; part < kParts; ++part) {
    across.push_back(
        load(lines_, in_lines(steps.block, product.at_line + steps.line, part, product.channel)));
    along.push_back(
        load(weights,
             panel.weights +
                 (steps.step * Expr(kParts) + Expr(part)) * Expr(kMatrixChannels * product.width) +
                 product.pair * Expr(2 * product.width) + product.lane * Expr(2) + product.half));
  }
  std::vector<loop::TilePrefetch> ahead;
  if (schedule_.prefetch == fusion::Prefetch::kPanel && packed_.is_constant()) {
    ahead = prefetches(panel, product.row, steps.run, steps.block, product.width);
  }
  // A few behind each of the products: all at once would hold up the loads.
  for (size_t i = from; i < to; ++i) {
    const fusion::PartProduct& factors = fusion::kPartProducts[i];
    body.push_back(loop::TileUpdate{product.sum, loop::Reduction::kSum, across[factors.across],
                                    along[factors.along], product.over});
    for (size_t j = i * ahead.size() / kProducts; j < (i + 1) * ahead.size() / kProducts; ++j) {
      body.push_back(ahead[j]);
    }
  }
  return body;
}

loop::Tile MatrixBlock::whole_product(const Rows& rows, const Panel& panel) {
  Product product = open_product(rows, panel, loop::MatrixPart::kWhole);
  const Steps steps = open_steps(panel);
  std::vector<loop::TileStmt> body =
      part_products(product, steps, 0, std::size(fusion::kPartProducts));
  for (auto at = steps.loops.rbegin(); at != steps.loops.rend(); ++at) {
    loop::TileLoop loop;
    std::tie(loop.var, loop.hi) = *at;
    loop.lo = Expr(0);
    loop.body = std::move(body);
    body.clear();
    body.push_back(std::move(loop));
  }
  for (loop::TileStmt& stmt : body) product.tile.body.push_back(std::move(stmt));
  return product.close();
}

/// Pieces of the other work are spread between a step's products, so that the unit always has some
/// to go on with.
std::vector<Stmt> MatrixBlock::product_beside(const Rows& rows, const Panel& panel) {
  constexpr int64_t kProducts = std::size(fusion::kPartProducts);
  const Beside& beside = *panel.beside;
  std::vector<Stmt> result;
  result.emplace_back(open_product(rows, panel, loop::MatrixPart::kBegin).close());
  const Steps steps = open_steps(panel);
  const int64_t in_step = pieces_a_step(beside.most_pieces);
  const Expr first = (rows.number * Expr(num_steps()) + steps.number) * Expr(in_step);
  std::vector<Stmt> body;
  int64_t from = 0, done = 0;
  for (int64_t to = 1; to <= kProducts; ++to) {
    const int64_t pieces = (to * in_step + kProducts / 2) / kProducts;
    if (pieces == done && to < kProducts) continue;
    Product product = open_product(rows, panel, loop::MatrixPart::kStep);
    for (loop::TileStmt& stmt : part_products(product, steps, from, to)) {
      product.tile.body.push_back(std::move(stmt));
    }
    body.emplace_back(product.close());
    from = to;
    if (pieces == done) continue;
    loop::For some = new_loop(builder_.new_variable("piece"), first + Expr(done),
                              min(first + Expr(pieces), beside.pieces));
    some.body = beside.emit(Expr::variable(some.var));
    body.emplace_back(std::move(some));
    done = pieces;
  }
  std::vector<loop::For> loops;
  for (const auto& [var, end] : steps.loops) loops.push_back(new_loop(var, Expr(0), end));
  for (Stmt& stmt : inside(std::move(loops), std::move(body))) result.push_back(std::move(stmt));
  result.emplace_back(open_product(rows, panel, loop::MatrixPart::kEnd).close());
  return result;
}

}  // namespace corf::lower
