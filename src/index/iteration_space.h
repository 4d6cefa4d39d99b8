#pragma once
#include <string>
#include <vector>

#include "index/expr.h"

namespace corf::index {

enum class AxisKind : uint8_t { kParallel, kReduction };

struct Axis {
  std::string name;
  int64_t extent = 1;
  AxisKind kind = AxisKind::kParallel;
};

/// The points that a compute operator visits: parallel axes first, in the order of the output's
/// dimensions, then reduction axes. Variable `i` of its index maps is axis `i`.
struct IterationSpace {
  std::vector<Axis> axes;

  int num_parallel() const;
  int64_t num_points() const;
};

/// One expression for each dimension of the operand.
struct IndexMap {
  std::vector<Expr> exprs;

  static IndexMap identity(int rank);
};

/// outer after inner: the operand's coordinates of `outer`, with its variable i replaced by
/// inner.exprs[i].
IndexMap compose(const IndexMap& outer, const IndexMap& inner);

}  // namespace corf::index
