#include <algorithm>
#include <array>
#include <cmath>

#include "runtime/routines/operands.h"

namespace corf::runtime {
namespace {

/// What a node does to a feature; kLeaf ends the way. Numbers of the input `nodes`.
enum Mode : int32_t { kLeq, kLt, kGte, kGt, kEq, kNeq, kLeaf };
enum Aggregate : int64_t { kAverage, kSum, kMin, kMax };

constexpr int32_t kMissingTracksTrue = 8;  // added to a mode: NaN goes the way of true
// Of whose sums the first cache has room.
constexpr int64_t kRowsAtOnce = 128, kTargetsAtOnce = 4;
constexpr int64_t kWalksAtOnce = 16;

struct Ensemble {
  int64_t rows = 0, features = 0, targets = 0;
  int64_t nodes = 0, leaves = 0, trees = 0;
  Aggregate aggregate = kSum;
};

/// Whether the feature's value goes the way of true.
template <typename T>
bool holds(int32_t mode, T x, T value) {
  if (std::isnan(x)) return (mode & kMissingTracksTrue) != 0;
  switch (mode & (kMissingTracksTrue - 1)) {
    case kLeq:
      return x <= value;
    case kLt:
      return x < value;
    case kGte:
      return x >= value;
    case kGt:
      return x > value;
    case kEq:
      return x == value;
    default:
      return x != value;
  }
}

/// A row on its way down a tree: at the root on entry of find_leaves, at a leaf on return; -1 if
/// the numbers in `nodes` do not fit.
template <typename T>
struct Walk {
  const T* row = nullptr;
  int64_t at = -1;
};

/// Several walks side by side, for each waits for memory at every step. Children stand behind their
/// parents, so that every way ends.
template <typename T>
void find_leaves(const Ensemble& op, const int32_t* nodes, const T* values,
                 std::span<Walk<T>> walks) {
  for (bool goes_on = true; goes_on;) {
    goes_on = false;
    for (Walk<T>& walk : walks) {
      if (walk.at < 0) continue;
      const int32_t* node = nodes + 4 * walk.at;
      if ((node[1] & (kMissingTracksTrue - 1)) == kLeaf) continue;
      const int64_t feature = node[0];
      if (feature < 0 || feature >= op.features) {
        walk.at = -1;
        continue;
      }
      const int64_t next = node[holds(node[1], walk.row[feature], values[walk.at]) ? 2 : 3];
      walk.at = next > walk.at && next < op.nodes ? next : -1;
      goes_on = true;
    }
  }
}

struct Total {
  double value = 0;
  bool is_given = false;
  void add(double weight, Aggregate aggregate) {
    if (!is_given || aggregate == kSum || aggregate == kAverage) {
      value += weight;
    } else {
      value = aggregate == kMin ? std::min(value, weight) : std::max(value, weight);
    }
    is_given = true;
  }
};

/// A few rows: tree by tree, so that a tree's nodes are in the caches for all of them.
template <typename T>
void run_rows(const Ensemble& op, const T* x, int64_t num_rows,
              const std::span<const void* const> inputs, T* y) {
  const auto* nodes = static_cast<const int32_t*>(inputs[1]);
  const auto* values = static_cast<const T*>(inputs[2]);
  const auto* leaf_targets = static_cast<const int32_t*>(inputs[3]);
  const auto* leaf_weights = static_cast<const double*>(inputs[4]);
  const auto* roots = static_cast<const int32_t*>(inputs[5]);
  for (int64_t first = 0; first < op.targets; first += kTargetsAtOnce) {
    const int64_t count = std::min(kTargetsAtOnce, op.targets - first);
    std::array<Total, kRowsAtOnce * kTargetsAtOnce> totals;
    std::fill_n(totals.begin(), num_rows * kTargetsAtOnce, Total{});
    // Tree by tree; where there are few rows, several trees.
    const int64_t all = op.trees * num_rows;
    for (int64_t walk = 0; walk < all; walk += kWalksAtOnce) {
      std::array<Walk<T>, kWalksAtOnce> walks;
      const int64_t num_walks = std::min(kWalksAtOnce, all - walk);
      for (int64_t i = 0; i < num_walks; ++i) {
        const int32_t root = roots[(walk + i) / num_rows];
        walks[static_cast<size_t>(i)] = {x + (walk + i) % num_rows * op.features,
                                         root < op.nodes ? root : -1};
      }
      find_leaves(op, nodes, values, std::span(walks).first(static_cast<size_t>(num_walks)));
      for (int64_t i = 0; i < num_walks; ++i) {
        const int64_t leaf = walks[static_cast<size_t>(i)].at;
        if (leaf < 0) continue;
        const int64_t row = (walk + i) % num_rows;
        const int64_t begin = nodes[4 * leaf + 2], end = nodes[4 * leaf + 3];
        for (int64_t j = std::max<int64_t>(begin, 0); j < std::min(end, op.leaves); ++j) {
          const int64_t target = leaf_targets[j] - first;
          if (target < 0 || target >= count) continue;
          totals[static_cast<size_t>(row * kTargetsAtOnce + target)].add(leaf_weights[j],
                                                                         op.aggregate);
        }
      }
    }
    for (int64_t row = 0; row < num_rows; ++row) {
      for (int64_t i = 0; i < count; ++i) {
        const double total = totals[static_cast<size_t>(row * kTargetsAtOnce + i)].value;
        const bool divides = op.aggregate == kAverage && op.trees > 0;
        y[row * op.targets + first + i] =
            static_cast<T>(divides ? total / static_cast<double>(op.trees) : total);
      }
    }
  }
}

}  // namespace

/// Inputs: x [rows, features], f32 or f64; nodes i32 [nodes, 4] (feature, mode, where to go if it
/// holds, where else; of a leaf the range of what it adds); values [nodes] of x's type, which
/// features are compared with; of what leaves add the targets i32 and the weights f64, equally
/// many; roots i32. Output: [rows, targets] of x's type. Attribute: aggregate (0 average, 1 sum, 2
/// minimum, 3 maximum). Numbers that do not fit count as a leaf that adds nothing.
Result<PreparedRoutine> prepare_tree_ensemble(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 6, 6, 1, 1));
  const RoutineOperand &x = call.inputs[0], &nodes = call.inputs[1], &y = call.outputs[0];
  if (x.dtype != DType::kF32 && x.dtype != DType::kF64) {
    return make_error(ErrorCode::kUnsupported, "x has element type {}", to_string(x.dtype));
  }
  if (x.shape.size() != 2 || nodes.shape.size() != 2 || nodes.shape[1] != 4 ||
      y.shape.size() != 2 || call.inputs[3].shape.size() != 1 || call.inputs[5].shape.size() != 1) {
    return make_error(ErrorCode::kInvalidModel, "x {}, nodes {} and output {} do not fit",
                      to_string(x.shape), to_string(nodes.shape), to_string(y.shape));
  }
  const std::array<DType, 6> dtypes = {x.dtype,     DType::kI32, x.dtype,
                                       DType::kI32, DType::kF64, DType::kI32};
  for (size_t i = 0; i < dtypes.size(); ++i) {
    CORF_RETURN_IF_ERROR(check_dtype(call.inputs[i], dtypes[i], "an input"));
  }
  CORF_RETURN_IF_ERROR(check_shape(call.inputs[2], {nodes.shape[0]}, "input values"));
  CORF_RETURN_IF_ERROR(check_shape(call.inputs[4], call.inputs[3].shape, "input weights"));
  CORF_RETURN_IF_ERROR(check_shape(y, {x.shape[0], y.shape[1]}, "the output"));
  CORF_RETURN_IF_ERROR(check_dtype(y, x.dtype, "the output"));
  CORF_ASSIGN(const int64_t aggregate, attribute_or<int64_t>(call, "aggregate", kSum));
  if (aggregate < kAverage || aggregate > kMax) {
    return make_error(ErrorCode::kInvalidModel, "attribute 'aggregate' is {}", aggregate);
  }
  const Ensemble op = {x.shape[0],
                       x.shape[1],
                       y.shape[1],
                       nodes.shape[0],
                       call.inputs[3].shape[0],
                       call.inputs[5].shape[0],
                       static_cast<Aggregate>(aggregate)};
  return PreparedRoutine([op, dtype = x.dtype](std::span<const void* const> inputs,
                                               std::span<void* const> outputs,
                                               const RoutineWorker& worker) -> Status {
    const auto run = [&]<typename T>(std::type_identity<T>) {
      const int64_t begin = op.rows * worker.number / worker.count;
      const int64_t end = op.rows * (worker.number + 1) / worker.count;
      for (int64_t row = begin; row < end; row += kRowsAtOnce) {
        run_rows(op, static_cast<const T*>(inputs[0]) + row * op.features,
                 std::min(kRowsAtOnce, end - row), inputs,
                 static_cast<T*>(outputs[0]) + row * op.targets);
      }
    };
    dtype == DType::kF32 ? run(std::type_identity<float>()) : run(std::type_identity<double>());
    return {};
  });
}

}  // namespace corf::runtime
