#include <llvm/IR/Constants.h>

#include "codegen/tile_lowering.h"
#include "codegen/value_types.h"
#include "target/strided_lanes.h"

namespace corf::codegen {

using llvm::Value;

/// Whether vectors of neighbours, those between the lanes among them, may be loaded instead of the
/// lanes one by one: a guard says for each neighbour whether it is inside.
bool TileLowering::is_strided(const loop::TileLoad& load, const Location& location,
                              const Piece& piece) const {
  const int64_t stride = location.vector_stride;
  const int64_t elem_bytes = size_bytes(f_.kernel.buffer_dtype(load.buffer));
  if (location.per_lane || !shuffles_strided_lanes(stride, elem_bytes, piece.lanes)) return false;
  return std::all_of(load.guards.begin(), load.guards.end(), [&](const loop::Guard& guard) {
    if (varies_by_lane(guard.expr)) return false;
    const int64_t coefficient = index::to_linear(guard.expr).coefficient(vector_var_);
    return coefficient == 0 || coefficient == stride;
  });
}

/// The lanes out of as many whole vectors as they and what lies between them fill.
Value* TileLowering::load_strided(const loop::TileLoad& load, const Location& location,
                                  const Point& point, int piece, llvm::Constant* padding) {
  const Piece& part = pieces_[static_cast<size_t>(piece)];
  const int64_t stride = location.vector_stride;
  std::vector<loop::Guard> guards = load.guards;  // along the neighbours
  for (loop::Guard& guard : guards) {
    if (index::to_linear(guard.expr).coefficient(vector_var_) == 0) continue;
    guard.expr = guard.expr - Expr::variable(vector_var_) * (stride - 1);
  }
  const auto span = static_cast<int>((part.active - 1) * stride + 1);
  Values vectors;
  for (int first = 0; first < span; first += part.lanes) {
    const Piece neighbours = {stride * part.start + first, part.lanes,
                              std::min(span - first, part.lanes)};
    Address address = location.address;
    address.constant += neighbours.start;
    const Condition where = condition(guards, point, piece, neighbours);
    vectors.push_back(
        where.never ? llvm::ConstantVector::getSplat(
                          llvm::ElementCount::getFixed(static_cast<unsigned>(part.lanes)), padding)
                    : load_vector(load.buffer, address, neighbours, where, padding));
  }
  const auto joined = [&](size_t number, int lanes, const std::vector<int>& picked) {
    Value* other = number + 1 < vectors.size()
                       ? vectors[number + 1]
                       : llvm::PoisonValue::get(with_lanes(padding->getType(), lanes));
    return builder_.CreateShuffleVector(vectors[number], other, picked);
  };
  int lanes = part.lanes;
  if (vectors.size() > 2) {  // side by side, two and two
    std::vector<int> all;
    for (int i = 0; i < 2 * lanes; ++i) all.push_back(i);
    vectors = {joined(0, lanes, all), joined(2, lanes, all)};
    lanes *= 2;
  }
  std::vector<int> picked;
  for (int i = 0; i < part.lanes; ++i) {
    picked.push_back(i < part.active ? static_cast<int>(i * stride) : llvm::PoisonMaskElem);
  }
  return joined(0, lanes, picked);
}

}  // namespace corf::codegen
