#include "codegen/byte_products.h"

#include <llvm/IR/IntrinsicsX86.h>
#include <numeric>

#include "codegen/value_types.h"

namespace corf::codegen {

using llvm::Value;
namespace intrinsic = llvm::Intrinsic;

namespace {

intrinsic::ID byte_product(int lanes) {
  switch (lanes) {
    case 16:
      return intrinsic::x86_avx512_vpdpbusd_512;
    case 8:
      return intrinsic::x86_avx512_vpdpbusd_256;
    case 4:
      return intrinsic::x86_avx512_vpdpbusd_128;
    default:
      return intrinsic::not_intrinsic;
  }
}

intrinsic::ID half_product(int lanes) {
  switch (lanes) {
    case 16:
      return intrinsic::x86_avx512bf16_dpbf16ps_512;
    case 8:
      return intrinsic::x86_avx512bf16_dpbf16ps_256;
    case 4:
      return intrinsic::x86_avx512bf16_dpbf16ps_128;
    default:
      return intrinsic::not_intrinsic;
  }
}

intrinsic::ID pair_product(int lanes) {
  switch (lanes) {
    case 16:
      return intrinsic::x86_avx512_pmaddw_d_512;
    case 8:
      return intrinsic::x86_avx2_pmadd_wd;
    case 4:
      return intrinsic::x86_sse2_pmadd_wd;
    default:
      return intrinsic::not_intrinsic;
  }
}

llvm::Type* pieces_of(Value* value, unsigned bits, int lanes) {
  auto* type = llvm::IntegerType::get(value->getContext(), bits);
  return llvm::FixedVectorType::get(type, static_cast<unsigned>(lanes) * 32 / bits);
}

}  // namespace

Value* bytes_side_by_side(llvm::IRBuilder<>& builder, const std::array<Value*, 4>& rows) {
  const int lanes = num_lanes(rows[0]->getType());
  const auto as_lanes_of = [&](llvm::Type* element, Value* bytes) {
    return builder.CreateBitCast(bytes, with_lanes(element, lanes));
  };
  constexpr int kLanesOfUnpacking = 8;  // beyond which one permutation of all bytes is quicker
  if (lanes > kLanesOfUnpacking) {
    // Two registers of two rows each, whose other halves do not matter.
    const auto half_filled = [&](Value* a, Value* b) {
      std::vector<int> from(static_cast<size_t>(4 * lanes), llvm::PoisonMaskElem);
      std::iota(from.begin(), from.begin() + 2 * lanes, 0);
      return builder.CreateShuffleVector(a, b, from);
    };
    std::vector<int> from;
    for (int lane = 0; lane < lanes; ++lane) {
      for (const int row : {0, 1, 4, 5}) from.push_back(row * lanes + lane);
    }
    Value *a = half_filled(rows[0], rows[1]), *b = half_filled(rows[2], rows[3]);
    return as_lanes_of(builder.getInt32Ty(), builder.CreateShuffleVector(a, b, from));
  }
  // a[0] b[0] a[1] b[1] ...
  const auto interleaved = [&](Value* a, Value* b) {
    std::vector<int> from;
    for (int i = 0; i < lanes; ++i) from.insert(from.end(), {i, lanes + i});
    return builder.CreateShuffleVector(a, b, from);
  };
  llvm::Type* pair = builder.getInt16Ty();
  Value *a = as_lanes_of(pair, interleaved(rows[0], rows[1])),
        *b = as_lanes_of(pair, interleaved(rows[2], rows[3]));
  return as_lanes_of(builder.getInt32Ty(), interleaved(a, b));
}

Value* ByteProducts::add(Value* sum, Value* u8, Value* i8) const {
  const int lanes = sum->getType()->isVectorTy() ? static_cast<int>(num_lanes(sum->getType())) : 1;
  if (byte_product(lanes) == intrinsic::not_intrinsic) return one_by_one(sum, u8, i8);
  if (isa_.has_byte_products()) return with_instruction(byte_product(lanes), sum, u8, i8);
  return by_pairs(pair_product(lanes), sum, u8, i8);
}

Value* ByteProducts::add_halves(Value* sum, Value* a, Value* b) const {
  llvm::Type* const type = sum->getType();
  const int lanes = type->isVectorTy() ? static_cast<int>(num_lanes(type)) : 1;
  if (isa_.has_bf16_products() && half_product(lanes) != intrinsic::not_intrinsic) {
    llvm::Type* halves =
        llvm::FixedVectorType::get(builder_.getBFloatTy(), static_cast<unsigned>(2 * lanes));
    return builder_.CreateIntrinsic(
        type, half_product(lanes),
        {sum, builder_.CreateBitCast(a, halves), builder_.CreateBitCast(b, halves)});
  }
  // A bfloat16 number is the upper half of an f32 one.
  const auto number = [&](uint64_t value) { return llvm::ConstantInt::get(a->getType(), value); };
  const auto lower = [&](Value* pair) {
    return builder_.CreateBitCast(builder_.CreateShl(pair, number(16)), type);
  };
  const auto upper = [&](Value* pair) {
    return builder_.CreateBitCast(builder_.CreateAnd(pair, number(0xffff0000)), type);
  };
  sum = ops_.multiply_add(DType::kF32, sum, lower(a), lower(b));
  return ops_.multiply_add(DType::kF32, sum, upper(a), upper(b));
}

Value* ByteProducts::with_instruction(intrinsic::ID id, Value* sum, Value* u8, Value* i8) const {
  llvm::Type* bytes = pieces_of(sum, 8, static_cast<int>(num_lanes(sum->getType())));
  return builder_.CreateIntrinsic(
      sum->getType(), id,
      {sum, builder_.CreateBitCast(u8, bytes), builder_.CreateBitCast(i8, bytes)});
}

/// Bytes 0 and 2 of each lane, then 1 and 3, as i16: two of their products fit an i32.
Value* ByteProducts::by_pairs(intrinsic::ID id, Value* sum, Value* u8, Value* i8) const {
  llvm::Type* halves = pieces_of(sum, 16, static_cast<int>(num_lanes(sum->getType())));
  Value* const unsigned_halves = builder_.CreateBitCast(u8, halves);
  Value* const signed_halves = builder_.CreateBitCast(i8, halves);
  const auto number = [&](uint64_t value) { return llvm::ConstantInt::get(halves, value); };
  const auto products = [&](Value* a, Value* b) {
    return builder_.CreateIntrinsic(sum->getType(), id, {a, b});
  };
  Value* even =
      products(builder_.CreateAnd(unsigned_halves, number(0xff)),
               builder_.CreateAShr(builder_.CreateShl(signed_halves, number(8)), number(8)));
  Value* odd = products(builder_.CreateLShr(unsigned_halves, number(8)),
                        builder_.CreateAShr(signed_halves, number(8)));
  return builder_.CreateAdd(sum, builder_.CreateAdd(even, odd));
}

Value* ByteProducts::one_by_one(Value* sum, Value* u8, Value* i8) const {
  const auto number = [&](uint64_t value) { return llvm::ConstantInt::get(sum->getType(), value); };
  for (uint64_t step = 0; step < 4; ++step) {
    Value* a = builder_.CreateAnd(builder_.CreateLShr(u8, number(8 * step)), number(0xff));
    Value* b = builder_.CreateAShr(builder_.CreateShl(i8, number(24 - 8 * step)), number(24));
    sum = builder_.CreateAdd(sum, builder_.CreateMul(a, b));
  }
  return sum;
}

}  // namespace corf::codegen
