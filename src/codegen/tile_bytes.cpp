// Sums in i32 of products of bytes, four steps at a time: with one instruction where the
// instruction set has it, else with products of pairs of i16, which cannot overflow either. None
// of the instructions that saturate in between would do. Sums in f32 of products of bfloat16
// numbers, two steps at a time.
#include <algorithm>
#include <array>
#include <llvm/IR/IntrinsicsX86.h>

#include "codegen/byte_products.h"
#include "codegen/tile_lowering.h"
#include "codegen/value_types.h"
#include "graph/dot_products.h"
#include "graph/saturated.h"

namespace corf::codegen {

using llvm::Value;
using loop::AxisSet;
using loop::Register;

namespace {

/// Steps of a sum that fill 32 bits; 1 where none are taken at once.
int64_t steps_of_types(DType sum, DType a, DType b) {
  return std::max(graph::steps_at_once(sum, a, b), graph::steps_at_once(sum, b, a));
}

}  // namespace

/// The axis of the update whose steps lie side by side in both factors, u8 and i8 or bfloat16, so
/// that 32 bits hold them, or in one of bytes, where the other one is rows along the vectors; -1 if
/// there is none.
int TileLowering::byte_axis(const loop::TileUpdate& update, const RegisterState& acc,
                            AxisSet over) const {
  if (update.b < 0 || update.reduction != loop::Reduction::kSum) return -1;
  const RegisterState &a = registers_[static_cast<size_t>(update.a)],
                      &b = registers_[static_cast<size_t>(update.b)];
  const int64_t steps = steps_of_types(acc.dtype, a.dtype, b.dtype);
  if (steps == 1 || !a.let || !b.let) return -1;
  const auto runs_along = [&](const RegisterState& factor, size_t axis) {
    const auto* load = std::get_if<loop::TileLoad>(&factor.let->value);
    if (!load || factor.offset.per_point) return false;
    if (factor.offset.linear.coefficient(info_.axis_variables[axis]) != 1) return false;
    if (factor.along_vector && factor.offset.linear.coefficient(vector_var_) != steps) {
      return false;
    }
    for (const loop::Guard& guard : load->guards) {
      if (info_.axes_of(guard.expr) & (AxisSet{1} << axis | vector_bit_)) return false;
    }
    return true;
  };
  for (size_t axis = 0; axis < info_.extents.size(); ++axis) {
    if (!(over >> axis & 1) || info_.extents[axis] != steps) continue;
    const bool a_runs = runs_along(a, axis) || is_row_of_bytes(a),
               b_runs = runs_along(b, axis) || is_row_of_bytes(b);
    if (a_runs && b_runs && (runs_along(a, axis) || runs_along(b, axis))) {
      return static_cast<int>(axis);
    }
  }
  return -1;
}

/// Whether lanes follow one another in memory, as bytes.
bool TileLowering::is_row_of_bytes(const RegisterState& factor) const {
  const auto* load = std::get_if<loop::TileLoad>(&factor.let->value);
  return load && factor.along_vector && size_bytes(f_.kernel.buffer_dtype(load->buffer)) == 1 &&
         factor.offset.linear.coefficient(vector_var_) == 1 && !varies_by_lane(factor.offset.expr);
}

/// The bytes of four rows at `point` and the steps behind it along `axis`, as an i32 of each lane.
Value* TileLowering::interleaved_rows(Register reg, Point point, int axis, int piece) {
  std::array<Value*, 4> rows{};
  for (size_t step = 0; step < rows.size(); ++step) {
    point[static_cast<size_t>(axis)] = static_cast<int64_t>(step);
    rows[step] = spread(value(reg, point, piece), piece);
  }
  return bytes_side_by_side(builder_, rows);
}

/// `order`: of all points of the update; those that begin steps at once stand for all of these.
void TileLowering::accumulate_bytes(const loop::TileUpdate& update, const RegisterState& acc,
                                    int axis, const std::vector<Point>& order, Values& sums) {
  const bool a_is_unsigned = registers_[static_cast<size_t>(update.a)].dtype == DType::kU8;
  const Register u8 = a_is_unsigned ? update.a : update.b, i8 = a_is_unsigned ? update.b : update.a;
  const ByteProducts products(builder_, f_.isa, ops_);
  const bool are_bytes = acc.dtype == DType::kI32;
  for (const Point& point : order) {
    if (point[static_cast<size_t>(axis)] != 0) continue;
    for (int piece = 0; piece < num_pieces(acc); ++piece) {
      const int wanted = acc.along_vector ? piece : -1;
      Value*& sum = sums[static_cast<size_t>(slot(acc, point, piece))];
      const auto factor = [&](Register reg) {
        return wanted >= 0 && is_row_of_bytes(registers_[static_cast<size_t>(reg)])
                   ? interleaved_rows(reg, point, axis, wanted)
                   : spread(four_bytes(reg, point, wanted), wanted);
      };
      Value *a = factor(u8), *b = factor(i8);
      sum = are_bytes ? products.add(sum, a, b) : products.add_halves(sum, a, b);
    }
  }
}

/// The steps at once from `point` on, as an i32 or a vector of them.
Value* TileLowering::four_bytes(Register reg, const Point& point, int piece) {
  RegisterState& state = registers_[static_cast<size_t>(reg)];
  const auto& load = std::get<loop::TileLoad>(state.let->value);
  const DType dtype = f_.kernel.buffer_dtype(load.buffer);
  const Piece* part =
      piece < 0 || !state.along_vector ? nullptr : &pieces_[static_cast<size_t>(piece)];
  const int64_t steps = 4 / size_bytes(dtype);
  const bool are_bytes = steps == 4;
  const uint32_t padding = are_bytes ? static_cast<uint8_t>(graph::saturated(load.padding, dtype))
                                     : f32_to_bf16(static_cast<float>(load.padding));
  llvm::Constant* const element = are_bytes ? builder_.getInt8(static_cast<uint8_t>(padding))
                                            : builder_.getInt16(static_cast<uint16_t>(padding));
  const Condition where = condition(load.guards, point, -1);
  if (where.never) return builder_.getInt32(padding * (are_bytes ? 0x01010101U : 0x00010001U));
  Address address = locate(state.offset, load.buffer, point, part ? piece : -1).address;
  if (part) address.constant += steps * part->start;
  const SharedKey key{.buffer = load.buffer,
                      .base = address.base,
                      .constant = address.constant,
                      .lanes = part ? part->lanes : 0,
                      .active = SharedKey::kFourBytes,
                      .condition = where.scalar,
                      .padding = where.scalar ? element : nullptr};
  if (Value* known = shared(key)) return known;
  Value* from = pointer(load.buffer, address);
  if (where.scalar) {
    from = builder_.CreateSelect(where.scalar, from, f_.padding_vector(dtype, element));
  }
  llvm::Type* type = builder_.getInt32Ty();
  if (part) type = with_lanes(type, part->lanes);
  const llvm::Align align(1);
  llvm::Instruction* result = nullptr;
  if (part && part->active < part->lanes) {
    result = builder_.CreateMaskedLoad(type, from, align, active_mask(*part, nullptr),
                                       llvm::Constant::getNullValue(type));
  } else {
    result = builder_.CreateAlignedLoad(type, from, align);
  }
  f_.annotate(result, load.buffer);
  shared_.back()[key] = result;
  return result;
}

}  // namespace corf::codegen
