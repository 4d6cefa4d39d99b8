#include <algorithm>
#include <cmath>

#include "onnx/compose.h"

namespace corf::onnx {
namespace {

/// A constant that a few bytes of a model describe must not exhaust the memory.
constexpr int64_t kMaxConstantBytes = int64_t{1} << 34;

/// As many equal elements are written down; more are one element that is read again and again.
constexpr int64_t kMostEqualElems = 1 << 16;

Status check_size(const NodeImport& node, DType dtype, const Shape& shape) {
  auto count = checked_num_elems(shape);
  if (!count.ok()) return node.invalid("{}", count.error().message);
  if (*count > kMaxConstantBytes / size_bytes(dtype)) {
    return node.unsupported("a constant of shape {} exceeds {} GiB", to_string(shape),
                            kMaxConstantBytes >> 30);
  }
  return {};
}

void set_constant(NodeImport& node, Tensor tensor) {
  node.set_output(node.graph.add_constant(node.name(), std::move(tensor)));
}

Status import_constant(NodeImport& node) {
  if (node.has_attribute("value")) {
    CORF_ASSIGN(Tensor tensor, node.tensor_attribute("value"));
    set_constant(node, std::move(tensor));
    return {};
  }
  if (node.has_attribute("value_float")) {
    auto value = static_cast<float>(node.float_attribute("value_float", 0));
    set_constant(node, make_tensor<float>({}, std::span<const float>(&value, 1)));
    return {};
  }
  if (node.has_attribute("value_int")) {
    int64_t value = node.int_attribute("value_int", 0);
    set_constant(node, make_tensor<int64_t>({}, std::span<const int64_t>(&value, 1)));
    return {};
  }
  if (node.has_attribute("value_floats")) {
    auto values = node.floats_attribute("value_floats");
    Shape shape = {static_cast<int64_t>(values.size())};
    set_constant(node, filled(DType::kF32, shape, [&](int64_t i) { return values[i]; }));
    return {};
  }
  if (node.has_attribute("value_ints")) {
    auto values = node.ints_attribute("value_ints");
    Shape shape = {static_cast<int64_t>(values.size())};
    set_constant(node, make_tensor<int64_t>(shape, values));
    return {};
  }
  if (node.has_attribute("sparse_value")) {
    CORF_ASSIGN(Tensor tensor, node.sparse_attribute("sparse_value"));
    set_constant(node, std::move(tensor));
    return {};
  }
  return node.unsupported("only tensor, float and integer values are supported");
}

Status import_shape(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  Shape shape = node.shape(node.input(0));
  auto rank = static_cast<int64_t>(shape.size());
  auto bound = [&](std::string_view name, int64_t otherwise) {
    int64_t value = node.int_attribute(name, otherwise);
    return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank);
  };
  int64_t begin = bound("start", 0);
  int64_t end = std::max(begin, bound("end", rank));
  std::vector<int64_t> extents(shape.begin() + begin, shape.begin() + end);
  set_constant(node, make_tensor<int64_t>({end - begin}, extents));
  return {};
}

Status import_size(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  int64_t count = num_elems(node.shape(node.input(0)));
  set_constant(node, make_tensor<int64_t>({}, std::span<const int64_t>(&count, 1)));
  return {};
}

Status import_constant_of_shape(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(Shape shape, node.known_ints(0, "shape"));
  Tensor value(DType::kF32, {1});
  if (node.has_attribute("value")) {
    CORF_ASSIGN(value, node.tensor_attribute("value"));
    if (value.num_elems() != 1) return node.invalid("attribute 'value' is not one element");
  }
  CORF_RETURN_IF_ERROR(check_size(node, value.dtype(), shape));
  if (num_elems(shape) > kMostEqualElems) {
    const ValueId one = node.graph.add_constant(node.part("value"), value.reshaped({}));
    node.set_output(broadcast(node.graph, node.name(), one, shape));
    return {};
  }
  Tensor tensor(value.dtype(), shape);
  int64_t width = size_bytes(value.dtype());
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    std::copy_n(value.bytes(), width, tensor.bytes() + i * width);
  }
  set_constant(node, std::move(tensor));
  return {};
}

Status import_range(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  std::vector<ValueId> inputs = {node.input(0), node.input(1), node.input(2)};
  CORF_RETURN_IF_ERROR(require_same_type(node, inputs));
  for (ValueId input : inputs) {
    if (num_elems(node.shape(input)) != 1) return node.invalid("an input is not one element");
  }
  DType dtype = node.dtype(inputs[0]);
  if (is_float(dtype)) {
    std::vector<double> bounds;
    for (int i = 0; i < 3; ++i) {
      CORF_ASSIGN(auto values, node.known_floats(i, "range"));
      bounds.push_back(values[0]);
    }
    double count = std::ceil((bounds[1] - bounds[0]) / bounds[2]);
    if (bounds[2] == 0 || !(std::abs(count) < 1e15)) return node.invalid("a range without end");
    Shape shape = {std::max<int64_t>(0, static_cast<int64_t>(count))};
    CORF_RETURN_IF_ERROR(check_size(node, dtype, shape));
    set_constant(node, filled(dtype, shape, [&](int64_t i) {
                   return bounds[0] + static_cast<double>(i) * bounds[2];
                 }));
    return {};
  }
  std::vector<__int128> bounds;
  for (int i = 0; i < 3; ++i) {
    CORF_ASSIGN(auto values, node.known_ints(i, "range"));
    bounds.push_back(values[0]);
  }
  if (bounds[2] == 0) return node.invalid("a range with steps of 0");
  __int128 span = bounds[1] - bounds[0];
  __int128 magnitude = bounds[2] < 0 ? -bounds[2] : bounds[2];
  if (bounds[2] < 0) span = -span;
  __int128 count = span <= 0 ? 0 : (span + magnitude - 1) / magnitude;
  if (count > kMaxConstantBytes) return node.unsupported("the range is too long");
  Shape shape = {static_cast<int64_t>(count)};
  CORF_RETURN_IF_ERROR(check_size(node, dtype, shape));
  Tensor tensor(dtype, shape);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    tensor.set_i64(i, static_cast<int64_t>(bounds[0] + i * bounds[2]));
  }
  set_constant(node, std::move(tensor));
  return {};
}

Status import_eye_like(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  Shape shape = node.shape(node.input(0));
  if (shape.size() != 2) return node.invalid("input of rank {}, not 2", shape.size());
  const auto dtype = node.dtype_attribute("dtype", node.dtype(node.input(0)));
  if (!dtype) return node.unsupported("its element type is not supported");
  CORF_RETURN_IF_ERROR(check_size(node, *dtype, shape));
  int64_t k = node.int_attribute("k", 0);
  set_constant(node, filled(*dtype, shape,
                            [&](int64_t i) { return i % shape[1] - i / shape[1] == k ? 1 : 0; }));
  return {};
}

/// Coordinates of the elements that differ from zero, a column for each; their number is the
/// output's shape, so the input must be known.
Status import_non_zero(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const Tensor* x = node.known(node.input(0));
  if (x == nullptr) {
    return node.depends_on_data(0, "output's shape", NodeImport::Bind::kNever);
  }
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < x->num_elems(); ++i) {
    if (x->at_f64(i) != 0) positions.push_back(i);
  }
  Shape shape = x->shape();
  auto strides = row_major_strides(shape);
  auto rank = static_cast<int64_t>(shape.size());
  auto count = static_cast<int64_t>(positions.size());
  Tensor result(DType::kI64, {rank, count});
  for (int64_t d = 0; d < rank; ++d) {
    for (int64_t i = 0; i < count; ++i) {
      result.set_i64(d * count + i, positions[i] / strides[d] % shape[d]);
    }
  }
  set_constant(node, std::move(result));
  return {};
}

/// Of a tensor, which always is there, or of an input that is left out.
Status import_optional_has_element(NodeImport& node) {
  Tensor there(DType::kBool, {});
  there.set_i64(0, node.has(0) ? 1 : 0);
  set_constant(node, std::move(there));
  return {};
}

Status import_optional_get_element(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  node.set_output(node.input(0));
  return {};
}

constexpr Operator kOperators[] = {
    {"Constant", 1, import_constant},
    {"ConstantOfShape", 9, import_constant_of_shape},
    {"EyeLike", 9, import_eye_like},
    {"NonZero", 9, import_non_zero},
    {"OptionalGetElement", 15, import_optional_get_element},
    {"OptionalHasElement", 15, import_optional_has_element},
    {"Range", 11, import_range},
    {"Shape", 1, import_shape},
    {"Size", 1, import_size},
};

}  // namespace

std::span<const Operator> shape_operators() { return kOperators; }

}  // namespace corf::onnx
