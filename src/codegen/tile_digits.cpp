// Numbers of four bits and less that words hold, as floats: a register is a table of sixteen
// floats, which an instruction looks into by the lowest four bits of each lane.
#include <llvm/IR/IntrinsicsX86.h>

#include "codegen/tile_lowering.h"

namespace corf::codegen {

using graph::ScalarOp;
using llvm::Value;
using loop::Register;

namespace {

constexpr int kEntries = 16;

const loop::TileApply* apply_of(const loop::TileLet* let) {
  return let ? std::get_if<loop::TileApply>(&let->value) : nullptr;
}

}  // namespace

const loop::TileConstant* TileLowering::constant_of(Register reg) const {
  const loop::TileLet* let = registers_[static_cast<size_t>(reg)].let;
  return let ? std::get_if<loop::TileConstant>(&let->value) : nullptr;
}

/// (float)(bits & mask), or that less a constant, where the mask has no bits but the lowest four;
/// null if the register is anything else.
Value* TileLowering::look_up_digits(const RegisterState& state, const Point& point, int piece) {
  if (piece < 0 || f_.isa.f32_lanes() != kEntries || state.dtype != DType::kF32) return nullptr;
  if (pieces_[static_cast<size_t>(piece)].lanes != kEntries) return nullptr;
  const loop::TileApply* apply = apply_of(state.let);
  float less = 0;
  if (apply && apply->op == ScalarOp::kSub) {
    const loop::TileConstant* constant = constant_of(apply->args[1]);
    if (!constant) return nullptr;
    less = static_cast<float>(constant->f64);
    apply = apply_of(registers_[static_cast<size_t>(apply->args[0])].let);
  }
  if (!apply || apply->op != ScalarOp::kCast) return nullptr;
  const RegisterState& digits = registers_[static_cast<size_t>(apply->args[0])];
  const loop::TileApply* masked = apply_of(digits.let);
  if (!masked || masked->op != ScalarOp::kAnd || !digits.along_vector) return nullptr;
  if (digits.dtype != DType::kI32 && digits.dtype != DType::kU32) return nullptr;
  const loop::TileConstant* mask = constant_of(masked->args[1]);
  if (!mask || mask->i64 < 0 || mask->i64 >= kEntries) return nullptr;
  Value* bits = spread(read(masked->args[0], digits.snapshots[0], point, piece), piece);
  std::vector<llvm::Constant*> entries;
  for (int i = 0; i < kEntries; ++i) {
    const float entry = static_cast<float>(i & mask->i64) - less;
    entries.push_back(llvm::ConstantFP::get(builder_.getFloatTy(), entry));
  }
  Value* table = llvm::ConstantVector::get(entries);
  return builder_.CreateIntrinsic(table->getType(), llvm::Intrinsic::x86_avx512_permvar_sf_512,
                                  {table, bits});
}

}  // namespace corf::codegen
