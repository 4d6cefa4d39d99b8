#include "lower/lower_nest.h"

namespace corf::lower {
namespace {

using index::Expr;
using loop::Stmt;

struct Range {
  int64_t lo = 0, hi = 0;  // along a dimension of the value; margins lie outside of [0, extent)
  int64_t size() const { return hi - lo; }
};

/// Stores zeros over a box, vectors along the dimension of stride 1, parts of the longest other one
/// to each partition.
Stmt zero_box(const std::vector<Range>& box, const fusion::Storage& storage, int buffer,
              DType dtype, int64_t partitions, KernelBuilder& builder) {
  int vector = -1, split = -1;
  for (int d = 0; d < static_cast<int>(box.size()); ++d) {
    if (storage.strides[d] == 1 && (vector < 0 || box[d].size() > box[vector].size())) vector = d;
  }
  for (int d = 0; d < static_cast<int>(box.size()); ++d) {
    if (d != vector && (split < 0 || box[d].size() > box[split].size())) split = d;
  }
  Expr address(storage.offset);
  std::vector<loop::For> loops;
  const Expr part = Expr::variable(KernelBuilder::kPartition);
  for (int d = 0; d < static_cast<int>(box.size()); ++d) {
    if (d == vector) continue;
    loop::For loop;
    loop.var = builder.new_variable("m" + std::to_string(d));
    loop.lo = Expr(box[d].lo);
    loop.hi = Expr(box[d].hi);
    if (d == split && partitions > 1) {
      Expr size(box[d].size());
      loop.lo = floor_div(part * size, Expr(partitions)) + Expr(box[d].lo);
      loop.hi = floor_div((part + Expr(1)) * size, Expr(partitions)) + Expr(box[d].lo);
    }
    address = address + Expr::variable(loop.var) * Expr(storage.strides[d]);
    loops.push_back(std::move(loop));
  }
  constexpr int64_t kChunk = 64;  // elements of one tile
  const int64_t length = vector >= 0 ? box[vector].size() : 1;
  if (vector >= 0) address = address + Expr(box[vector].lo);
  std::vector<Stmt> body;
  auto tile_of = [&](const Expr& start, int64_t extent) {
    loop::Tile tile;
    Expr at = address + start;
    if (extent > 1) {
      int lane = builder.new_variable("lane");
      tile.axes.push_back({lane, extent, true});
      at = at + Expr::variable(lane);
    }
    loop::Register zero = builder.new_register();
    tile.body.push_back(loop::TileLet{zero, dtype, loop::TileConstant{}});
    tile.body.push_back(loop::TileStore{buffer, at, {}, zero});
    return tile;
  };
  if (length >= kChunk) {
    loop::For chunks;
    chunks.var = builder.new_variable("chunk");
    chunks.lo = Expr(0);
    chunks.hi = Expr(length / kChunk * kChunk);
    chunks.step = kChunk;
    chunks.body.push_back(tile_of(Expr::variable(chunks.var), kChunk));
    body.push_back(std::move(chunks));
  }
  if (length % kChunk) body.push_back(tile_of(Expr(length / kChunk * kChunk), length % kChunk));
  for (size_t i = loops.size(); i-- > 0;) {
    loops[i].body = std::move(body);
    body.clear();
    body.push_back(std::move(loops[i]));
  }
  return std::move(body.front());
}

}  // namespace

std::vector<Stmt> zero_margins(graph::ValueId value, int64_t partitions, KernelBuilder& builder) {
  const fusion::Storage& storage = builder.buffers().storage().values[value];
  std::vector<Stmt> result;
  if (!storage.has_margins()) return result;
  const graph::Value& info = builder.buffers().graph().values[value];
  const int rank = static_cast<int>(info.shape.size());
  const int buffer = builder.bind(builder.buffers().of_root(storage.root), true);
  // Disjoint boxes: the margin along dimension d, inside of the earlier dimensions' extents, over
  // the whole of the later ones.
  for (int d = 0; d < rank; ++d) {
    std::vector<Range> box(rank);
    for (int i = 0; i < rank; ++i) {
      box[i] = {i > d ? -storage.margin_before[i] : 0,
                info.shape[i] + (i > d ? storage.margin_after[i] : 0)};
    }
    const Range sides[] = {{-storage.margin_before[d], 0},
                           {info.shape[d], info.shape[d] + storage.margin_after[d]}};
    for (const Range& side : sides) {
      if (side.size() <= 0) continue;
      box[d] = side;
      result.push_back(zero_box(box, storage, buffer, info.dtype, partitions, builder));
    }
  }
  return result;
}

}  // namespace corf::lower
