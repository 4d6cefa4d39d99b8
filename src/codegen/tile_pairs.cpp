#include <llvm/IR/Constants.h>

#include "codegen/tile_lowering.h"
#include "codegen/value_types.h"

namespace corf::codegen {

using llvm::Value;
using loop::AxisSet;

/// Whether the lanes are two f32 elements, neighbours in memory, again and again.
bool TileLowering::repeats_pair(const Offset& offset, int buffer, const Point& point, int piece) {
  if (f_.kernel.buffer_dtype(buffer) != DType::kF32 || !varies_by_lane(offset.expr)) return false;
  const Piece& part = pieces_[static_cast<size_t>(piece)];
  // Behind a single element there may be nothing to read.
  if (part.lanes % 2 != 0 || part.active < 2) return false;
  const Linear first = index::to_linear(at_point(offset.expr, point, piece, 0));
  for (int number = 1; number < part.active; ++number) {
    const Linear other = index::to_linear(at_point(offset.expr, point, piece, number));
    if (other.constant - first.constant != number % 2) return false;
    if (other.coefficients != first.coefficients) return false;
    if (!index::structurally_equal(other.rest, first.rest)) return false;
  }
  return true;
}

Value* TileLowering::load_repeated_pair(int buffer, const Address& address, const Piece& piece,
                                        Value* condition, llvm::Constant* padding) {
  const SharedKey key{.buffer = buffer,
                      .base = address.base,
                      .constant = address.constant,
                      .lanes = piece.lanes,
                      .active = SharedKey::kRepeatedPair,
                      .condition = condition,
                      .padding = condition ? padding : nullptr};
  if (Value* known = shared(key)) return known;
  Value* from = pointer(buffer, address);
  if (condition) {
    from = builder_.CreateSelect(condition, from, f_.padding_vector(DType::kF32, padding));
  }
  auto* pair = builder_.CreateAlignedLoad(builder_.getDoubleTy(), from, llvm::Align(4));
  f_.annotate(pair, buffer);
  Value* splat = builder_.CreateVectorSplat(static_cast<unsigned>(piece.lanes) / 2, pair);
  auto* type =
      llvm::FixedVectorType::get(builder_.getFloatTy(), static_cast<unsigned>(piece.lanes));
  Value* result = builder_.CreateBitCast(splat, type);
  shared_.back()[key] = result;
  return result;
}

/// The unrolled axis of two points that are neighbours in memory, one lane's pair after the other;
/// -1 if there is none.
int TileLowering::paired_axis(const Offset& offset, AxisSet axes,
                              const std::vector<loop::Guard>& guards) const {
  if (vector_var_ < 0 || offset.per_point || !guards.empty()) return -1;
  if (offset.linear.coefficient(vector_var_) != 2) return -1;
  for (size_t axis = 0; axis < info_.extents.size(); ++axis) {
    const bool pairs = (axes >> axis & 1) && info_.extents[axis] == 2;
    if (pairs && offset.linear.coefficient(info_.axis_variables[axis]) == 1) {
      return static_cast<int>(axis);
    }
  }
  return -1;
}

/// Loads both points of the pairs; what the other one reads stays in the register.
Value* TileLowering::load_paired(RegisterState& state, const loop::TileLoad& load, Point point,
                                 int piece, int axis) {
  const DType dtype = f_.kernel.buffer_dtype(load.buffer);
  const Piece& part = pieces_[static_cast<size_t>(piece)];
  const auto at = static_cast<size_t>(axis);
  const auto wanted = static_cast<size_t>(point[at]);
  point[at] = 0;
  Address address = locate(state.offset, load.buffer, point, piece).address;
  address.constant += 2 * part.start;
  Values halves;
  for (int first = 0; first < 2; ++first) {
    const int active = std::clamp(2 * part.active - first * part.lanes, 0, part.lanes);
    auto* type = with_lanes(memory_type(f_.context(), dtype), part.lanes);
    if (active == 0) {
      halves.push_back(llvm::PoisonValue::get(type));
      continue;
    }
    auto* zero = llvm::Constant::getNullValue(type->getScalarType());
    halves.push_back(load_vector(load.buffer, address, {0, part.lanes, active}, {}, zero));
    address.constant += part.lanes;
  }
  Values pairs;
  for (int first = 0; first < 2; ++first) {
    std::vector<int> lanes;
    for (int i = 0; i < part.lanes; ++i) lanes.push_back(2 * i + first);
    Value* one = builder_.CreateShuffleVector(halves[0], halves[1], lanes);
    pairs.push_back(ops_.cast(ops_.from_memory(one, dtype), dtype, state.dtype));
    point[at] = first;
    (*state.values)[static_cast<size_t>(slot(state, point, piece))] = pairs.back();
  }
  return pairs[wanted];
}

}  // namespace corf::codegen
