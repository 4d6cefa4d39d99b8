// Operators that no compute description fits: routines of the runtime, named as in ONNX.
#include <algorithm>

#include "onnx/compose.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

using Outputs = std::vector<std::pair<DType, Shape>>;

/// Adds the routine with those of `outputs` that the node names, up to the last one.
void add_routine(NodeImport& node, std::string routine,
                 std::map<std::string, graph::Attribute> attributes, std::vector<ValueId> inputs,
                 Outputs outputs) {
  size_t count = 1;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.wants_output(static_cast<int>(i))) count = i + 1;
  }
  outputs.resize(count);
  auto values = node.graph.add_opaque(node.name(), {std::move(routine), std::move(attributes)},
                                      std::move(inputs), std::move(outputs));
  for (size_t i = 0; i < values.size(); ++i) node.set_output(static_cast<int>(i), values[i]);
}

Status import_bit_cast(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const ValueId x = node.input(0);
  const auto to = static_cast<int>(node.int_attribute("to", 0));
  const auto dtype = dtype_from_onnx(to);
  if (!dtype) return node.unsupported("a cast to {} is not supported", onnx_type_name(to));
  if (size_bytes(*dtype) != size_bytes(node.dtype(x))) {
    return node.invalid("{} and {} differ in width", to_string(node.dtype(x)), to_string(*dtype));
  }
  // Other bytes than 0 and 1 are no booleans.
  if (*dtype == DType::kBool && node.dtype(x) != DType::kBool) {
    return node.unsupported("a cast of bytes to bool is not supported");
  }
  if (*dtype == node.dtype(x)) {
    node.set_output(x);
    return {};
  }
  add_routine(node, "BitCast", {}, {x}, {{*dtype, node.shape(x)}});
  return {};
}

/// k is an attribute before opset 10 and an input from then on.
Status import_top_k(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(node.opset() < 10 ? 1 : 2));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", -1), node.rank(x)));
  int64_t k = node.int_attribute("k", 0);
  if (node.opset() >= 10) {
    CORF_ASSIGN(auto values, node.known_ints(1, "k"));
    if (values.size() != 1) return node.invalid("k is not one number");
    k = values[0];
  }
  if (k < 0 || k > shape[axis]) return node.invalid("k is {} for {} elements", k, shape[axis]);
  std::map<std::string, graph::Attribute> attributes = {
      {"axis", int64_t{axis}},
      {"largest", node.int_attribute("largest", 1)},
      {"sorted", node.int_attribute("sorted", 1)}};
  shape[axis] = k;
  add_routine(node, "TopK", std::move(attributes), {x},
              {{node.dtype(x), shape}, {DType::kI64, shape}});
  return {};
}

/// Determinants or inverses of the square matrices in the last two dimensions.
Status import_matrices(NodeImport& node, const std::string& routine) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  const DType dtype = node.dtype(x);
  const Shape shape = node.shape(x);
  constexpr int64_t kMostRows = 1 << 12;
  if (shape.size() < 2 || shape.back() != shape[shape.size() - 2] || shape.back() > kMostRows) {
    return node.invalid("{} holds no square matrices of at most {} rows", to_string(shape),
                        kMostRows);
  }
  const DType wide = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  x = cast(node.graph, node.part("wide"), x, wide);
  const Shape result = routine == "Inverse" ? shape : Shape(shape.begin(), shape.end() - 2);
  const ValueId y =
      node.graph.add_opaque(node.part("elimination"), {routine, {}}, {x}, {{wide, result}})[0];
  node.set_output(cast(node.graph, node.name(), y, dtype));
  return {};
}

Status import_det(NodeImport& node) { return import_matrices(node, "Det"); }
Status import_inverse(NodeImport& node) { return import_matrices(node, "Inverse"); }

Status check_scatter(const NodeImport& node, ValueId data, ValueId indices, ValueId updates) {
  CORF_RETURN_IF_ERROR(require_same_type(node, {data, updates}));
  DType dtype = node.dtype(indices);
  if (dtype != DType::kI32 && dtype != DType::kI64) {
    return node.invalid("indices have element type {}", to_string(dtype));
  }
  return {};
}

Status import_scatter_elements(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId data = node.input(0);
  CORF_RETURN_IF_ERROR(check_scatter(node, data, node.input(1), node.input(2)));
  Shape shape = node.shape(data);
  Shape indices = node.shape(node.input(1));
  CORF_ASSIGN(int axis, normal_axis(node, node.int_attribute("axis", 0), node.rank(data)));
  bool fits = indices == node.shape(node.input(2)) && indices.size() == shape.size();
  for (size_t d = 0; fits && d < shape.size(); ++d) {
    fits = static_cast<int>(d) == axis || indices[d] <= shape[d];
  }
  if (!fits) return node.invalid("indices {} do not fit", to_string(indices));
  add_routine(node, "ScatterElements",
              {{"axis", int64_t{axis}}, {"reduction", node.string_attribute("reduction", "none")}},
              {data, node.input(1), node.input(2)}, {{node.dtype(data), shape}});
  return {};
}

Status import_scatter_nd(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  ValueId data = node.input(0);
  CORF_RETURN_IF_ERROR(check_scatter(node, data, node.input(1), node.input(2)));
  Shape shape = node.shape(data);
  Shape indices = node.shape(node.input(1));
  auto rank = static_cast<int64_t>(shape.size());
  bool fits = !indices.empty() && indices.back() >= 0 && indices.back() <= rank;
  if (fits) {
    Shape expected(indices.begin(), indices.end() - 1);
    expected.insert(expected.end(), shape.begin() + indices.back(), shape.end());
    fits = node.shape(node.input(2)) == expected;
  }
  if (!fits) return node.invalid("indices {} do not fit", to_string(indices));
  add_routine(node, "ScatterND", {{"reduction", node.string_attribute("reduction", "none")}},
              {data, node.input(1), node.input(2)}, {{node.dtype(data), shape}});
  return {};
}

constexpr Operator kOperators[] = {
    {"BitCast", 26, import_bit_cast},
    {"Det", 11, import_det},
    {"Scatter", 9, import_scatter_elements, 10},
    {"ScatterElements", 11, import_scatter_elements},
    {"ScatterND", 11, import_scatter_nd},
    {"TopK", 1, import_top_k},
    {"com.microsoft.Inverse", 0, import_inverse},
};

}  // namespace

std::span<const Operator> routine_operators() { return kOperators; }

}  // namespace corf::onnx
