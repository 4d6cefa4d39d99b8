#include "index/iteration_space.h"

#include "support/assert.h"

namespace corf::index {

int IterationSpace::num_parallel() const {
  int count = 0;
  for (const Axis& axis : axes) count += axis.kind == AxisKind::kParallel;
  return count;
}

int64_t IterationSpace::num_points() const {
  int64_t count = 1;
  for (const Axis& axis : axes) count *= axis.extent;
  return count;
}

IndexMap IndexMap::identity(int rank) {
  IndexMap map;
  for (int i = 0; i < rank; ++i) map.exprs.push_back(Expr::variable(i));
  return map;
}

IndexMap compose(const IndexMap& outer, const IndexMap& inner) {
  IndexMap result;
  for (const Expr& expr : outer.exprs) {
    result.exprs.push_back(substitute(expr, [&](int variable) -> std::optional<Expr> {
      CORF_ASSERT(variable < static_cast<int>(inner.exprs.size()),
                  "composed maps agree in the number of variables");
      return inner.exprs[variable];
    }));
  }
  return result;
}

}  // namespace corf::index
