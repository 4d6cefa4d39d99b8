// Functions of a byte that are tables: where an instruction set permutes the bytes of two registers
// by the bytes of a third one, four registers hold the table, and no lane has an address of its
// own.
#include <llvm/IR/IntrinsicsX86.h>

#include "codegen/tile_lowering.h"
#include "codegen/value_types.h"

namespace corf::codegen {

using llvm::Value;

namespace {

constexpr int64_t kBytes = 256;
constexpr unsigned kRegisterBytes = 64;

/// The vector with other lanes behind its own, or with fewer lanes.
Value* with_num_lanes(llvm::IRBuilder<>& builder, Value* value, unsigned lanes) {
  const auto held = static_cast<unsigned>(num_lanes(value->getType()));
  if (held == lanes) return value;
  std::vector<int> from(lanes, llvm::PoisonMaskElem);
  for (unsigned i = 0; i < std::min(held, lanes); ++i) from[i] = static_cast<int>(i);
  return builder.CreateShuffleVector(value, from);
}

}  // namespace

/// The bytes of a table of all bytes that a register of bytes picks; null if the load is no such
/// look.
Value* TileLowering::look_up_bytes(const Offset& offset, const loop::TileLoad& load,
                                   const Point& point, int piece) {
  const DType dtype = f_.kernel.buffer_dtype(load.buffer);
  if (!f_.isa.has_byte_tables() || (dtype != DType::kU8 && dtype != DType::kI8)) return nullptr;
  const auto& buffers = f_.kernel.buffers;
  const auto number = static_cast<size_t>(load.buffer);
  if (!load.guards.empty() || number >= buffers.size() || buffers[number].written ||
      buffers[number].size_elems < kBytes) {
    return nullptr;
  }
  const Linear& linear = offset.linear;
  if (!linear.is_affine() || linear.coefficients.size() != 1) return nullptr;
  const auto& [variable, step] = *linear.coefficients.begin();
  const auto bound = bound_.find(variable);
  if (bound == bound_.end() || step != 1) return nullptr;
  const RegisterState& picked = registers_[static_cast<size_t>(bound->second.reg)];
  const bool is_signed = picked.dtype == DType::kI8;
  if (!picked.along_vector || (!is_signed && picked.dtype != DType::kU8)) return nullptr;
  if (linear.constant != (is_signed ? kBytes / 2 : 0)) return nullptr;

  Value* bytes = read(bound->second.reg, bound->second.snapshot, point, piece);
  const auto lanes = static_cast<unsigned>(num_lanes(bytes->getType()));
  if (lanes > kRegisterBytes) return nullptr;
  if (is_signed) bytes = builder_.CreateXor(bytes, llvm::ConstantInt::get(bytes->getType(), 0x80));
  bytes = with_num_lanes(builder_, bytes, kRegisterBytes);
  llvm::Type* type = bytes->getType();
  const auto quarter = [&](int64_t part) -> Value* {
    const SharedKey key{.buffer = load.buffer,
                        .base = f_.buffer(load.buffer),
                        .constant = part * kRegisterBytes,
                        .lanes = kRegisterBytes};
    if (Value* known = shared(key)) return known;
    Value* from = builder_.CreateGEP(builder_.getInt8Ty(), f_.buffer(load.buffer),
                                     builder_.getInt64(static_cast<uint64_t>(key.constant)));
    auto* loaded = builder_.CreateAlignedLoad(type, from, llvm::Align(1));
    f_.annotate(loaded, load.buffer);
    shared_.back()[key] = loaded;
    return loaded;
  };
  const auto half = [&](int64_t part) {
    return builder_.CreateIntrinsic(type, llvm::Intrinsic::x86_avx512_vpermi2var_qi_512,
                                    {quarter(2 * part), bytes, quarter(2 * part + 1)});
  };
  Value* low = half(0);
  Value* high = half(1);
  Value* is_high = builder_.CreateICmpSLT(bytes, llvm::Constant::getNullValue(type));
  return with_num_lanes(builder_, builder_.CreateSelect(is_high, high, low), lanes);
}

}  // namespace corf::codegen
