#include "onnx/compose.h"

#include <algorithm>
#include <numeric>

#include "support/assert.h"

namespace corf::onnx {
namespace {

using graph::Graph;

const Tensor* known_tensor(const Graph& graph, ValueId value) {
  const auto* constant = std::get_if<graph::Constant>(&graph.producer(value).op);
  return constant != nullptr ? &constant->tensor : nullptr;
}

std::optional<Shape> broadcast_all(const Graph& graph, const std::vector<ValueId>& inputs) {
  std::optional<Shape> shape = Shape();
  for (ValueId input : inputs) {
    if (shape) shape = broadcast_shape(*shape, graph.values[input].shape);
  }
  return shape;
}

/// An element of a known tensor as a constant of a body.
int constant_of(ScalarBody& body, const Tensor& tensor) {
  if (is_float(tensor.dtype())) return body.constant(tensor.at_f64(0), tensor.dtype());
  return body.constant_i64(tensor.at_i64(0), tensor.dtype());
}

}  // namespace

std::optional<Shape> broadcast_shape(const Shape& a, const Shape& b) {
  Shape result(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < result.size(); ++i) {
    int64_t from_a = i < a.size() ? a[a.size() - 1 - i] : 1;
    int64_t from_b = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (from_a != from_b && from_a != 1 && from_b != 1) return std::nullopt;
    result[result.size() - 1 - i] = from_a == 1 ? from_b : from_a;
  }
  return result;
}

std::string join_shapes(const NodeImport& node, const std::vector<ValueId>& values) {
  std::string text;
  for (ValueId value : values) text += (text.empty() ? "" : ", ") + to_string(node.shape(value));
  return text;
}

ValueId per_element(Graph& graph, std::string name, std::vector<ValueId> inputs, const Body& body) {
  auto full = broadcast_all(graph, inputs);
  CORF_ASSERT(full.has_value(), "the caller checks that shapes broadcast");
  std::vector<ValueId> operands;                 // what stays a tensor
  std::vector<std::optional<Tensor>> constants;  // by input
  for (ValueId input : inputs) {
    const Tensor* tensor = known_tensor(graph, input);
    bool scalar = tensor != nullptr && tensor->num_elems() == 1;
    constants.push_back(scalar ? std::optional(*tensor) : std::nullopt);
    if (!scalar) operands.push_back(input);
  }
  // Scalars that are alone, or whose rank shows in the result, stay.
  if (operands.empty() || broadcast_all(graph, operands) != full) {
    operands = inputs;
    std::fill(constants.begin(), constants.end(), std::nullopt);
  }
  return graph::elementwise(
      graph, std::move(name), operands,
      [&](ScalarBody& scalar_body, const std::vector<int>& operand_ids) {
        std::vector<int> ids;
        size_t next = 0;
        for (const auto& constant : constants) {
          ids.push_back(constant ? constant_of(scalar_body, *constant) : operand_ids[next++]);
        }
        return body(scalar_body, ids);
      });
}

Result<ValueId> map_elements(NodeImport& node, std::string name, std::vector<ValueId> inputs,
                             const Body& body) {
  auto shape = broadcast_all(node.graph, inputs);
  if (!shape) return node.invalid("shapes {} do not broadcast", join_shapes(node, inputs));
  auto count = checked_num_elems(*shape);
  if (!count.ok()) return node.invalid("{}", count.error().message);
  return per_element(node.graph, std::move(name), std::move(inputs), body);
}

ValueId unary(Graph& graph, std::string name, ScalarOp op, ValueId x) {
  return per_element(graph, std::move(name), {x}, [op](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(op, in[0]);
  });
}

ValueId binary(Graph& graph, std::string name, ScalarOp op, ValueId a, ValueId b) {
  return per_element(
      graph, std::move(name), {a, b},
      [op](ScalarBody& body, const std::vector<int>& in) { return body.apply(op, in[0], in[1]); });
}

ValueId multiply(Graph& graph, std::string name, ValueId x, double factor) {
  if (factor == 1) return x;
  DType dtype = graph.values[x].dtype;
  return per_element(graph, std::move(name), {x}, [&](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kMul, in[0], number(b, factor, dtype));
  });
}

ValueId cast(Graph& graph, std::string name, ValueId x, DType dtype) {
  DType from = graph.values[x].dtype;
  if (from == dtype) return x;
  return per_element(graph, std::move(name), {x}, [&](ScalarBody& b, const std::vector<int>& in) {
    if (dtype != DType::kBool) return b.cast(in[0], dtype);
    int zero = number(b, 0, from);
    return b.apply(ScalarOp::kNot, b.apply(ScalarOp::kEqual, in[0], zero));
  });
}

ValueId copy(Graph& graph, std::string name, ValueId x) {
  return graph::elementwise(graph, std::move(name), {x},
                            [](ScalarBody&, const std::vector<int>& in) { return in[0]; });
}

ValueId reshape(Graph& graph, std::string name, ValueId x, Shape shape) {
  if (graph.values[x].shape == shape) return x;
  if (const Tensor* tensor = known_tensor(graph, x)) {
    return graph.add_constant(std::move(name), tensor->reshaped(std::move(shape)));
  }
  return graph.add_view(std::move(name), graph::Reshape{}, {x}, std::move(shape));
}

std::vector<int> moved(int rank, int from, int to) {
  std::vector<int> order(rank);
  std::iota(order.begin(), order.end(), 0);
  order.erase(order.begin() + from);
  order.insert(order.begin() + to, from);
  return order;
}

ValueId transpose(Graph& graph, std::string name, ValueId x, std::vector<int> permutation) {
  if (std::is_sorted(permutation.begin(), permutation.end())) return x;
  Shape shape;
  for (int dim : permutation) shape.push_back(graph.values[x].shape[dim]);
  return graph.add_view(std::move(name), graph::Transpose{std::move(permutation)}, {x},
                        std::move(shape));
}

Result<ValueId> with_channels_first(NodeImport& node, ValueId image,
                                    const std::function<Result<ValueId>(ValueId)>& operate) {
  const int rank = node.rank(image);
  if (rank < 3) return node.invalid("an image of rank {}", rank);
  CORF_ASSIGN(const ValueId y, operate(transpose(node.graph, node.part("channels_first"), image,
                                                 moved(rank, rank - 1, 1))));
  return transpose(node.graph, node.part("channels_last"), y, moved(rank, 1, rank - 1));
}

ValueId slice(Graph& graph, std::string name, ValueId x, int axis, int64_t begin, int64_t end) {
  Shape shape = graph.values[x].shape;
  if (begin == 0 && end == shape[axis]) return x;
  graph::Slice view{std::vector<int64_t>(shape.size(), 0), std::vector<int64_t>(shape.size(), 1)};
  view.starts[axis] = begin;
  shape[axis] = end - begin;
  return graph.add_view(std::move(name), std::move(view), {x}, std::move(shape));
}

ValueId broadcast(Graph& graph, std::string name, ValueId x, Shape shape) {
  if (graph.values[x].shape == shape) return x;
  return graph.add_view(std::move(name), graph::Broadcast{}, {x}, std::move(shape));
}

ValueId concat(Graph& graph, std::string name, const std::vector<ValueId>& inputs, int axis) {
  if (inputs.size() == 1) return inputs[0];
  Shape shape = graph.values[inputs[0]].shape;
  shape[axis] = 0;
  for (ValueId input : inputs) shape[axis] += graph.values[input].shape[axis];
  return graph.add_view(std::move(name), graph::Concat{axis}, inputs, std::move(shape));
}

ValueId mean(Graph& graph, std::string name, ValueId x, const std::vector<int>& axes) {
  double count = 1;
  for (int axis : axes) count *= static_cast<double>(graph.values[x].shape[axis]);
  DType dtype = graph.values[x].dtype;
  ValueId sum = graph::reduce(graph, name + "/sum", x, graph::Combiner::kSum, axes, true);
  if (is_float(dtype)) return multiply(graph, std::move(name), sum, 1 / count);
  return per_element(graph, std::move(name), {sum}, [&](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(ScalarOp::kDiv, in[0], number(b, count, dtype));
  });
}

ValueId softmax(Graph& graph, const std::string& name, ValueId x, const std::vector<int>& axes,
                bool logarithm) {
  ValueId max = graph::reduce(graph, name + "/max", x, graph::Combiner::kMax, axes, true);
  if (logarithm) {
    ValueId shifted = binary(graph, name + "/shifted", ScalarOp::kSub, x, max);
    ValueId exp = unary(graph, name + "/exp", ScalarOp::kExp, shifted);
    ValueId sum = graph::reduce(graph, name + "/sum", exp, graph::Combiner::kSum, axes, true);
    // Of each sum once, not of each element.
    ValueId log = unary(graph, name + "/log", ScalarOp::kLog, sum);
    return binary(graph, name, ScalarOp::kSub, shifted, log);
  }
  ValueId exp =
      per_element(graph, name + "/exp", {x, max}, [](ScalarBody& b, const std::vector<int>& in) {
        return b.apply(ScalarOp::kExp, b.apply(ScalarOp::kSub, in[0], in[1]));
      });
  ValueId sum = graph::reduce(graph, name + "/sum", exp, graph::Combiner::kSum, axes, true);
  return binary(graph, name, ScalarOp::kDiv, exp, sum);
}

int number(ScalarBody& body, double value, DType dtype) { return body.constant(value, dtype); }

Tensor filled(DType dtype, const Shape& shape, const std::function<double(int64_t)>& element) {
  Tensor tensor(dtype, shape);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, element(i));
  return tensor;
}

Result<int> normal_axis(const NodeImport& node, int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) {
    return node.invalid("axis {} is outside of [{}, {})", axis, -rank, rank);
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Result<std::vector<int>> normal_axes(const NodeImport& node, const std::vector<int64_t>& axes,
                                     int rank) {
  std::vector<int> result;
  for (int64_t axis : axes) {
    CORF_ASSIGN(int normal, normal_axis(node, axis, rank));
    result.push_back(normal);
  }
  std::sort(result.begin(), result.end());
  if (std::adjacent_find(result.begin(), result.end()) != result.end()) {
    return node.invalid("an axis is listed twice");
  }
  return result;
}

Status require_same_type(const NodeImport& node, const std::vector<ValueId>& values) {
  for (ValueId value : values) {
    if (node.dtype(value) != node.dtype(values[0])) {
      return node.invalid("inputs have different element types, {} and {}",
                          to_string(node.dtype(values[0])), to_string(node.dtype(value)));
    }
  }
  return {};
}

Status require_float(const NodeImport& node, ValueId value) {
  if (is_float(node.dtype(value))) return {};
  return node.invalid("element type {} where a float is required", to_string(node.dtype(value)));
}

}  // namespace corf::onnx
