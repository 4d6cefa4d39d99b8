#include "lower/boxes.h"

#include <algorithm>
#include <functional>

namespace corf::lower {
namespace {

using index::Expr;
using loop::Stmt;

/// Writes the statements of a tile of elements at an address, by dimension at these coordinates.
using TileBody = std::function<void(const Expr& address, const std::vector<Expr>& coordinates,
                                    std::vector<loop::TileStmt>& out)>;

/// Loops over the dimensions from the longest stride to the shortest, tiles along the last.
Stmt box_loops(const Box& box, int64_t partitions, KernelBuilder& builder, const TileBody& body) {
  const int rank = static_cast<int>(box.ranges.size());
  int vector = -1, split = -1;
  for (int d = 0; d < rank; ++d) {
    const int64_t length = box.ranges[d].length;
    if (box.strides[d] == 1 && (vector < 0 || length > box.ranges[vector].length)) vector = d;
  }
  std::vector<int> order;
  for (int d = 0; d < rank; ++d) {
    if (d == vector) continue;
    order.push_back(d);
    if (split < 0 || box.ranges[d].length > box.ranges[split].length) split = d;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return box.strides[a] > box.strides[b]; });
  Expr address = box.offset;
  std::vector<Expr> coordinates(box.ranges.size());
  std::vector<loop::For> loops;
  const Expr part = Expr::variable(KernelBuilder::kPartition);
  for (int d : order) {
    loop::For loop;
    loop.var = builder.new_variable("m" + std::to_string(d));
    loop.lo = box.ranges[d].begin;
    loop.hi = box.ranges[d].end;
    if (d == split && partitions > 1) {
      const Expr size(box.ranges[d].length);
      loop.hi = floor_div((part + Expr(1)) * size, Expr(partitions)) + loop.lo;
      loop.lo = floor_div(part * size, Expr(partitions)) + loop.lo;
    }
    Expr at = coordinates[d] = Expr::variable(loop.var);
    if (d == box.turning_dim) at = mod(at, Expr(box.turning_rows));
    address = address + at * Expr(box.strides[d]);
    loops.push_back(std::move(loop));
  }
  constexpr int64_t kChunk = 64;  // elements of one tile
  const int64_t length = vector >= 0 ? box.ranges[vector].length : 1;
  if (vector >= 0) address = address + box.ranges[vector].begin;
  std::vector<Stmt> inner;
  auto tile_of = [&](const Expr& start, int64_t extent) {
    loop::Tile tile;
    Expr step = start;
    if (extent > 1) {
      int lane = builder.new_variable("lane");
      tile.axes.push_back({lane, extent, true});
      step = step + Expr::variable(lane);
    }
    if (vector >= 0) coordinates[vector] = box.ranges[vector].begin + step;
    body(address + step, coordinates, tile.body);
    return tile;
  };
  if (length >= kChunk) {
    loop::For chunks;
    chunks.var = builder.new_variable("chunk");
    chunks.lo = Expr(0);
    chunks.hi = Expr(length / kChunk * kChunk);
    chunks.step = kChunk;
    chunks.body.push_back(tile_of(Expr::variable(chunks.var), kChunk));
    inner.push_back(std::move(chunks));
  }
  if (length % kChunk) inner.push_back(tile_of(Expr(length / kChunk * kChunk), length % kChunk));
  if (loops.empty()) {  // keeps the result one statement
    loop::For once;
    once.var = builder.new_variable("once");
    once.lo = Expr(0);
    once.hi = Expr(1);
    loops.push_back(std::move(once));
  }
  for (size_t i = loops.size(); i-- > 0;) {
    loops[i].body = std::move(inner);
    inner.clear();
    inner.push_back(std::move(loops[i]));
  }
  return std::move(inner.front());
}

}  // namespace

Stmt fill_box(const Box& box, int64_t value, int64_t partitions, KernelBuilder& builder) {
  return box_loops(box, partitions, builder, [&](const Expr& address, const auto&, auto& out) {
    loop::Register filling = builder.new_register();
    out.push_back(loop::TileLet{filling, box.dtype, loop::TileConstant{.i64 = value}});
    out.push_back(loop::TileStore{box.buffer, address, {}, filling});
  });
}

Stmt copy_box(const Box& from, const Box& to, KernelBuilder& builder) {
  return box_loops(from, 1, builder, [&](const Expr& address, const auto& coordinates, auto& out) {
    Expr target = to.offset;
    for (size_t d = 0; d < coordinates.size(); ++d) {
      target = target + coordinates[d] * Expr(to.strides[d]);
    }
    const loop::Register element = builder.new_register();
    out.push_back(loop::TileLet{element, from.dtype, loop::TileLoad{from.buffer, address, {}, 0}});
    out.push_back(loop::TileStore{to.buffer, target, {}, element});
  });
}

}  // namespace corf::lower
