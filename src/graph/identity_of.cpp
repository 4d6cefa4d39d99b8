#include "graph/identity_of.h"

#include <limits>

namespace corf::graph {

ScalarNode identity_of(Combiner combiner, DType dtype) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const int bits = static_cast<int>(8 * size_bytes(dtype));
  const bool is_signed = is_signed_integer(dtype);
  const int64_t lowest = is_signed ? std::numeric_limits<int64_t>::min() >> (64 - bits) : 0;
  const int64_t greatest = dtype == DType::kBool ? 1
                           : is_signed           ? ~lowest
                           : bits == 64          ? -1
                                                 : (int64_t{1} << bits) - 1;
  ScalarNode node;
  node.dtype = dtype;
  switch (combiner) {
    case Combiner::kNone:
    case Combiner::kSum:
      break;
    case Combiner::kProduct:
      node.f64 = 1;
      node.i64 = 1;
      break;
    case Combiner::kMin:
    case Combiner::kArgMin:
      node.f64 = kInfinity;
      node.i64 = greatest;
      break;
    case Combiner::kMax:
    case Combiner::kArgMax:
      node.f64 = -kInfinity;
      node.i64 = lowest;
      break;
  }
  return node;
}

}  // namespace corf::graph
