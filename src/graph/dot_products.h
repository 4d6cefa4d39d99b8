#pragma once
#include <cstdint>

#include "tensor/dtype.h"

namespace corf::graph {

/// A sum of products of narrow numbers of which units of vectors take several steps at once: in
/// each lane as many as 32 bits hold.
struct DotProduct {
  DType sum;
  DType across, along;  // the factors: `along` lies packed along the lanes
  int64_t steps;
};

/// What code generation has instructions for, or does as well without (codegen/byte_products.h).
constexpr DotProduct kDotProducts[] = {
    {DType::kI32, DType::kU8, DType::kI8, 4},
    {DType::kF32, DType::kBF16, DType::kBF16, 2},
};

/// How many steps of such a sum are taken at once; 1: there is no such product.
constexpr int64_t steps_at_once(DType sum, DType across, DType along) {
  for (const DotProduct& product : kDotProducts) {
    if (product.sum == sum && product.across == across && product.along == along) {
      return product.steps;
    }
  }
  return 1;
}

/// Whether factors of that type may be widened on their way into a product: bytes, and what a dot
/// product takes.
inline bool is_narrow_factor(DType dtype) {
  for (const DotProduct& product : kDotProducts) {
    if (dtype == product.across || dtype == product.along) return true;
  }
  return size_bytes(dtype) == 1;
}

}  // namespace corf::graph
