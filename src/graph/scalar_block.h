#pragma once
#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace corf::graph {

/// Points that the reference evaluates at once.
constexpr int64_t kBlockElems = 256;

/// A scalar of a body: floats as double, integers and booleans as int64 (u64 as its bits).
union Lane {
  double f;
  int64_t i;
};
using BlockColumn = std::vector<Lane>;  // kBlockElems lanes

/// Wraps to the range of an integer type; of kBool: whether it is not zero.
int64_t wrap_integer(DType dtype, int64_t value);
/// The nearest value of a float type.
double round_float(DType dtype, double value);

/// Evaluates a body for up to kBlockElems points at once. The caller fills the columns of kOperand
/// and kIndex nodes; run() fills the others.
class ScalarBlock {
 public:
  /// `round_casts`: casts between float types round, as when the model runs in its own types.
  /// `round_operations`: each operation does.
  ScalarBlock(const ScalarBody& body, bool round_casts, bool round_operations = false);

  Lane* column(int node) { return columns_[node].data(); }
  void run(int64_t num_points);
  const Lane* result() const { return columns_.back().data(); }

 private:
  void run_float(const ScalarNode& node, Lane* out, int64_t n);
  void run_integer(const ScalarNode& node, Lane* out, int64_t n);
  void run_compare(const ScalarNode& node, Lane* out, int64_t n);
  void run_cast(const ScalarNode& node, Lane* out, int64_t n);

  const ScalarBody& body_;
  bool round_casts_, round_operations_;
  std::vector<BlockColumn> columns_;
};

}  // namespace corf::graph
