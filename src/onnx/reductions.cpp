#include <numeric>

#include "onnx/compose.h"
#include "onnx/indices.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

using graph::Combiner;

struct Reduction {
  std::vector<int> axes;
  bool keep_dims = true;
  bool is_identity = false;  // no axes, and the node asks for nothing to be reduced then
};

/// Axes are an attribute up to opset 17 (12 for ReduceSum) and an input from then on.
Result<Reduction> read_reduction(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  int rank = node.rank(node.input(0));
  Reduction reduction;
  reduction.keep_dims = node.int_attribute("keepdims", 1) != 0;
  std::vector<int64_t> axes = node.ints_attribute("axes");
  if (node.has(1)) {
    CORF_ASSIGN(axes, node.known_ints(1, "axes"));
  }
  if (axes.empty()) {
    reduction.is_identity = node.int_attribute("noop_with_empty_axes", 0) != 0;
    if (!reduction.is_identity) {
      axes.resize(rank);
      std::iota(axes.begin(), axes.end(), 0);
    }
  }
  CORF_ASSIGN(reduction.axes, normal_axes(node, axes, rank));
  return reduction;
}

/// Applied to each element before and to the result after the reduction; may be null.
using Map = int (*)(ScalarBody&, int);

Status import_plain(NodeImport& node, Combiner combiner, Map before, Map after) {
  CORF_ASSIGN(Reduction reduction, read_reduction(node));
  ValueId x = node.input(0);
  std::function<int(ScalarBody&, int)> body;
  if (before != nullptr) body = before;
  if (reduction.is_identity && before == nullptr && after == nullptr) {
    node.set_output(x);
    return {};
  }
  std::string name = after == nullptr ? node.name() : node.part("reduced");
  ValueId y =
      graph::reduce(node.graph, name, x, combiner, reduction.axes, reduction.keep_dims, body);
  if (after != nullptr) {
    y = per_element(node.graph, node.name(), {y},
                    [&](ScalarBody& b, const std::vector<int>& in) { return after(b, in[0]); });
  }
  node.set_output(y);
  return {};
}

int absolute(ScalarBody& b, int x) { return b.apply(ScalarOp::kAbs, x); }
int square(ScalarBody& b, int x) { return b.apply(ScalarOp::kMul, x, x); }

/// Integers have no functions of their own: through f64.
int apply_wide(ScalarBody& b, ScalarOp op, int x) {
  DType dtype = b.nodes[x].dtype;
  if (is_float(dtype)) return b.apply(op, x);
  return b.cast(b.apply(op, b.cast(x, DType::kF64)), dtype);
}
int square_root(ScalarBody& b, int x) { return apply_wide(b, ScalarOp::kSqrt, x); }
int logarithm(ScalarBody& b, int x) { return apply_wide(b, ScalarOp::kLog, x); }

Status import_sum(NodeImport& node) { return import_plain(node, Combiner::kSum, nullptr, nullptr); }
Status import_prod(NodeImport& node) {
  return import_plain(node, Combiner::kProduct, nullptr, nullptr);
}
Status import_l1(NodeImport& node) { return import_plain(node, Combiner::kSum, absolute, nullptr); }
Status import_l2(NodeImport& node) {
  return import_plain(node, Combiner::kSum, square, square_root);
}
Status import_sum_square(NodeImport& node) {
  return import_plain(node, Combiner::kSum, square, nullptr);
}
Status import_log_sum(NodeImport& node) {
  return import_plain(node, Combiner::kSum, nullptr, logarithm);
}

Status import_extremum(NodeImport& node, Combiner combiner) {
  CORF_ASSIGN(Reduction reduction, read_reduction(node));
  ValueId x = node.input(0);
  if (reduction.is_identity) {
    node.set_output(x);
    return {};
  }
  DType dtype = node.dtype(x);
  // Booleans are ordered as 0 and 1.
  if (dtype == DType::kBool) x = cast(node.graph, node.part("bytes"), x, DType::kU8);
  std::string name = dtype == DType::kBool ? node.part("reduced") : node.name();
  ValueId y = graph::reduce(node.graph, name, x, combiner, reduction.axes, reduction.keep_dims);
  node.set_output(cast(node.graph, node.name(), y, dtype));
  return {};
}

Status import_max(NodeImport& node) { return import_extremum(node, Combiner::kMax); }
Status import_min(NodeImport& node) { return import_extremum(node, Combiner::kMin); }

Shape without(const Shape& shape, const std::vector<int>& axes) {
  Shape result;
  size_t next = 0;
  for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
    if (next < axes.size() && axes[next] == d) {
      ++next;
    } else {
      result.push_back(shape[d]);
    }
  }
  return result;
}

Status import_mean(NodeImport& node) {
  CORF_ASSIGN(Reduction reduction, read_reduction(node));
  ValueId x = node.input(0);
  if (reduction.is_identity || reduction.axes.empty()) {
    node.set_output(x);
    return {};
  }
  int64_t count = 1;
  for (int axis : reduction.axes) count *= node.shape(x)[axis];
  if (count == 0 && !is_float(node.dtype(x))) return node.invalid("a mean of no integers");
  if (reduction.keep_dims) {
    node.set_output(mean(node.graph, node.name(), x, reduction.axes));
    return {};
  }
  ValueId kept = mean(node.graph, node.name(), x, reduction.axes);
  node.set_output(
      reshape(node.graph, node.part("squeeze"), kept, without(node.shape(x), reduction.axes)));
  return {};
}

/// max + log(sum(exp(x - max))), which does not overflow.
Status import_log_sum_exp(NodeImport& node) {
  CORF_ASSIGN(Reduction reduction, read_reduction(node));
  const DType given = node.dtype(node.input(0));
  const DType dtype = is_float(given) ? given : DType::kF64;
  const ValueId x = cast(node.graph, node.part("wide"), node.input(0), dtype);
  ValueId max =
      graph::reduce(node.graph, node.part("max"), x, Combiner::kMax, reduction.axes, true);
  // An infinite maximum would give inf - inf; any finite shift serves then.
  ValueId shift = per_element(
      node.graph, node.part("shift"), {max}, [&](ScalarBody& b, const std::vector<int>& in) {
        int infinite = b.apply(ScalarOp::kIsInf, in[0]);
        return b.apply(ScalarOp::kSelect, infinite, b.constant(0, dtype), in[0]);
      });
  ValueId exp = per_element(node.graph, node.part("exp"), {x, shift},
                            [](ScalarBody& b, const std::vector<int>& in) {
                              return b.apply(ScalarOp::kExp, b.apply(ScalarOp::kSub, in[0], in[1]));
                            });
  ValueId sum =
      graph::reduce(node.graph, node.part("sum"), exp, Combiner::kSum, reduction.axes, true);
  ValueId y = per_element(node.graph, node.name(), {shift, sum},
                          [](ScalarBody& b, const std::vector<int>& in) {
                            return b.apply(ScalarOp::kAdd, in[0], b.apply(ScalarOp::kLog, in[1]));
                          });
  if (!reduction.keep_dims) {
    y = reshape(node.graph, node.part("squeeze"), y, without(node.shape(x), reduction.axes));
  }
  node.set_output(cast(node.graph, node.part("narrow"), y, given));
  return {};
}

Status import_arg(NodeImport& node, Combiner combiner) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  if (node.rank(x) == 0) return node.invalid("the input is a scalar");
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", 0), node.rank(x)));
  if (node.shape(x)[axis] == 0) return node.invalid("the axis has no elements");
  bool keep_dims = node.int_attribute("keepdims", 1) != 0;
  bool select_last = node.int_attribute("select_last_index", 0) != 0;
  node.set_output(
      graph::reduce(node.graph, node.name(), x, combiner, {axis}, keep_dims, nullptr, select_last));
  return {};
}

Status import_arg_max(NodeImport& node) { return import_arg(node, Combiner::kArgMax); }
Status import_arg_min(NodeImport& node) { return import_arg(node, Combiner::kArgMin); }

/// Sums or products of all that comes before along an axis: without the element itself if
/// exclusive, of all that comes after if reverse.
struct Running {
  Combiner combiner = Combiner::kSum;
  int axis = 0;
  bool exclusive = false, reverse = false;

  double identity() const { return combiner == Combiner::kProduct ? 1 : 0; }
  ScalarOp op() const { return combiner == Combiner::kProduct ? ScalarOp::kMul : ScalarOp::kAdd; }
};

/// As a reduction over distances back: extent^2 / 2 steps.
ValueId combine_distances(NodeImport& node, std::string name, ValueId x, const Running& how) {
  const Shape shape = node.shape(x);
  graph::Compute compute;
  graph::Operand operand;
  for (size_t d = 0; d < shape.size(); ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
    operand.map.exprs.push_back(index::Expr::variable(static_cast<int>(d)));
  }
  compute.space.axes.push_back({"back", shape[how.axis], index::AxisKind::kReduction});
  index::Expr distance =
      index::Expr::variable(static_cast<int>(shape.size())) + (how.exclusive ? 1 : 0);
  index::Expr& coordinate = operand.map.exprs[how.axis];
  coordinate = how.reverse ? coordinate + distance : coordinate - distance;
  operand.guarded = true;
  operand.padding = how.identity();
  compute.operands = {operand};
  compute.body.operand(0, node.dtype(x));
  compute.combiner = how.combiner;
  return node.graph.add_compute(std::move(name), std::move(compute), {x});
}

/// Copied, with `padding` after the last element along one axis.
ValueId fill_up(NodeImport& node, std::string name, ValueId x, int axis, int64_t extent,
                double padding) {
  const Shape shape = node.shape(x);
  graph::Compute compute;
  for (size_t d = 0; d < shape.size(); ++d) {
    const int64_t points = static_cast<int>(d) == axis ? extent : shape[d];
    compute.space.axes.push_back({fmt::format("d{}", d), points, index::AxisKind::kParallel});
  }
  graph::Operand operand;
  operand.map = index::IndexMap::identity(static_cast<int>(shape.size()));
  operand.guarded = true;
  operand.padding = padding;
  compute.operands = {operand};
  compute.body.operand(0, node.dtype(x));
  return node.graph.add_compute(std::move(name), std::move(compute), {x});
}

/// Long axes in blocks: within each block, and what the blocks before it come to.
ValueId run_along(NodeImport& node, const std::string& name, ValueId x, const Running& how) {
  // Elements. Within a block each is read by all behind it, so that short ones are fewer steps;
  // what is short altogether is not worth more kernels.
  constexpr int64_t kBlock = 4, kShort = 16;
  const Shape shape = node.shape(x);
  const int64_t extent = shape[how.axis], blocks = ceil_div(extent, kBlock);
  if (extent <= kShort) return combine_distances(node, name, x, how);
  if (blocks * kBlock != extent) {
    x = fill_up(node, name + "/filled", x, how.axis, blocks * kBlock, how.identity());
  }
  Shape in_blocks = shape, filled = shape;
  in_blocks[how.axis] = kBlock;
  in_blocks.insert(in_blocks.begin() + how.axis, blocks);
  filled[how.axis] = blocks * kBlock;
  x = reshape(node.graph, name + "/blocks", x, in_blocks);
  const Running within = {how.combiner, how.axis + 1, how.exclusive, how.reverse};
  const Running among = {how.combiner, how.axis, /*exclusive=*/true, how.reverse};
  const ValueId totals =
      graph::reduce(node.graph, name + "/totals", x, how.combiner, {how.axis + 1}, true);
  const ValueId before = run_along(node, name + "/before", totals, among);
  const ValueId local = combine_distances(node, name + "/local", x, within);
  const ValueId joined = binary(node.graph, name, how.op(), local, before);
  const ValueId all = reshape(node.graph, name + "/whole", joined, filled);
  return slice(node.graph, name + "/slice", all, how.axis, 0, extent);
}

/// Along the axis that only a run knows: along each, and the choice between them.
Result<ValueId> run_along_any(NodeImport& node, ValueId x, Running how) {
  const int rank = node.rank(x);
  if (rank == 0) return node.invalid("a scalar has no axis");
  CORF_ASSIGN(const ValueId checked, checked_indices(node, "axis", node.input(1), {rank}));
  const ValueId axis = reshape(node.graph, node.part("axis_number"), checked, {});
  ValueId y = -1;
  for (how.axis = 0; how.axis < rank; ++how.axis) {
    const std::string name = node.part(fmt::format("along{}", how.axis));
    const ValueId along = run_along(node, name, x, how);
    if (y < 0) {
      y = along;
      continue;
    }
    y = per_element(node.graph, name + "/chosen", {y, along, axis},
                    [&](ScalarBody& b, const std::vector<int>& in) {
                      const auto is = [&](int64_t number) {
                        const int constant = b.constant_i64(number, b.nodes[in[2]].dtype);
                        return b.apply(ScalarOp::kEqual, in[2], constant);
                      };
                      const int wanted = b.apply(ScalarOp::kOr, is(how.axis), is(how.axis - rank));
                      return b.apply(ScalarOp::kSelect, wanted, in[1], in[0]);
                    });
  }
  return y;
}

/// out[i] = sum or product of x[j], j <= i (j < i if exclusive).
Status import_running(NodeImport& node, Combiner combiner) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  if (num_elems(node.shape(node.input(1))) != 1) return node.invalid("its axis is not one number");
  Running how = {combiner, 0, node.int_attribute("exclusive", 0) != 0,
                 node.int_attribute("reverse", 0) != 0};
  if (node.known(node.input(1)) == nullptr) {
    CORF_ASSIGN(const ValueId y, run_along_any(node, x, how));
    node.set_output(y);
    return {};
  }
  CORF_ASSIGN(auto axis_values, node.known_ints(1, "axis"));
  CORF_ASSIGN(how.axis, normal_axis(node, axis_values[0], node.rank(x)));
  node.set_output(run_along(node, node.name(), x, how));
  return {};
}

Status import_cum_sum(NodeImport& node) { return import_running(node, Combiner::kSum); }
Status import_cum_prod(NodeImport& node) { return import_running(node, Combiner::kProduct); }

constexpr Operator kOperators[] = {
    {"ArgMax", 1, import_arg_max},       {"ArgMin", 1, import_arg_min},
    {"CumProd", 26, import_cum_prod},    {"CumSum", 11, import_cum_sum},
    {"ReduceL1", 1, import_l1},          {"ReduceL2", 1, import_l2},
    {"ReduceLogSum", 1, import_log_sum}, {"ReduceLogSumExp", 1, import_log_sum_exp},
    {"ReduceMax", 1, import_max},        {"ReduceMean", 1, import_mean},
    {"ReduceMin", 1, import_min},        {"ReduceProd", 1, import_prod},
    {"ReduceSum", 1, import_sum},        {"ReduceSumSquare", 1, import_sum_square},
};

}  // namespace

std::span<const Operator> reduction_operators() { return kOperators; }

ValueId running_sum(NodeImport& node, const std::string& name, ValueId x, int axis) {
  return run_along(node, name, x, {Combiner::kSum, axis, /*exclusive=*/false, /*reverse=*/false});
}

}  // namespace corf::onnx
