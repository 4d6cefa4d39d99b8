#include <algorithm>
#include <cmath>

#include "onnx/compose.h"

namespace corf::onnx {
namespace {

enum class Types { kAny, kFloat, kBool, kInteger, kNumeric };

Status require_types(const NodeImport& node, const std::vector<ValueId>& values, Types types) {
  CORF_RETURN_IF_ERROR(require_same_type(node, values));
  DType dtype = node.dtype(values[0]);
  bool allowed = types == Types::kAny || (types == Types::kFloat && is_float(dtype)) ||
                 (types == Types::kBool && dtype == DType::kBool) ||
                 (types == Types::kInteger && is_integer(dtype)) ||
                 (types == Types::kNumeric && dtype != DType::kBool);
  if (!allowed) return node.invalid("element type {} is not allowed", to_string(dtype));
  return {};
}

template <ScalarOp op, Types types>
Status import_unary(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_RETURN_IF_ERROR(require_types(node, {node.input(0)}, types));
  node.set_output(unary(node.graph, node.name(), op, node.input(0)));
  return {};
}

/// Input 1 as an operand that broadcasts against input 0. Before opset 7 only the attribute
/// 'broadcast' lets it: its dimensions are then input 0's from `axis` on, or the last ones.
Result<ValueId> second_operand(NodeImport& node) {
  ValueId b = node.input(1);
  Shape shape = node.shape(b);
  const Shape& full = node.shape(node.input(0));
  if (node.opset() >= 7 || shape == full) return b;
  if (node.int_attribute("broadcast", 0) == 0) {
    return node.invalid("shapes {} and {} differ, and attribute 'broadcast' is not set",
                        to_string(full), to_string(shape));
  }
  if (!node.has_attribute("axis")) return b;
  CORF_ASSIGN(int axis,
              normal_axis(node, node.int_attribute("axis", 0), static_cast<int>(full.size())));
  if (axis + shape.size() > full.size()) {
    return node.invalid("{} does not fit {} from axis {} on", to_string(shape), to_string(full),
                        axis);
  }
  shape.resize(full.size() - axis, 1);
  return reshape(node.graph, node.part("from_axis"), b, shape);
}

Status map_two(NodeImport& node, Types types, const Body& body) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_RETURN_IF_ERROR(require_types(node, {node.input(0), node.input(1)}, types));
  CORF_ASSIGN(ValueId second, second_operand(node));
  CORF_ASSIGN(ValueId y, map_elements(node, node.name(), {node.input(0), second}, body));
  node.set_output(y);
  return {};
}

template <ScalarOp op, Types types>
Status import_binary(NodeImport& node) {
  return map_two(node, types, [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(op, in[0], in[1]);
  });
}

template <ScalarOp op>
Status import_swapped(NodeImport& node) {  // a > b as b < a
  return map_two(node, Types::kNumeric, [](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(op, in[1], in[0]);
  });
}

/// Sum, Max, Min of any number of inputs in one element-wise node.
Status fold_inputs(NodeImport& node, ScalarOp op, bool mean) {
  CORF_RETURN_IF_ERROR(node.require_inputs(std::max(1, node.num_inputs())));
  std::vector<ValueId> inputs;
  for (int i = 0; i < node.num_inputs(); ++i) inputs.push_back(node.input(i));
  CORF_RETURN_IF_ERROR(require_types(node, inputs, Types::kNumeric));
  if (inputs.size() == 1) {
    node.set_output(inputs[0]);
    return {};
  }
  DType dtype = node.dtype(inputs[0]);
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    int result = in[0];
    for (size_t i = 1; i < in.size(); ++i) result = b.apply(op, result, in[i]);
    if (!mean) return result;
    return b.apply(ScalarOp::kMul, result, number(b, 1 / static_cast<double>(in.size()), dtype));
  };
  CORF_ASSIGN(ValueId y, map_elements(node, node.name(), inputs, body));
  node.set_output(y);
  return {};
}

Status import_sum(NodeImport& node) { return fold_inputs(node, ScalarOp::kAdd, false); }
Status import_max(NodeImport& node) { return fold_inputs(node, ScalarOp::kMax, false); }
Status import_min(NodeImport& node) { return fold_inputs(node, ScalarOp::kMin, false); }
Status import_mean(NodeImport& node) { return fold_inputs(node, ScalarOp::kAdd, true); }

/// x^e; squares, roots and reciprocals by known exponents are spelt out. The result has the base's
/// type, the exponent may have another.
Status import_pow(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  CORF_ASSIGN(ValueId exponent, second_operand(node));
  DType base = node.dtype(x);
  DType power = node.dtype(exponent);
  const Tensor* known = node.known(exponent);
  if (known != nullptr && known->num_elems() == 1 && is_float(base) &&
      node.rank(exponent) <= node.rank(x)) {
    double value = known->at_f64(0);
    auto spelt_out = [&](ScalarBody& b, const std::vector<int>& in) {
      if (value == 2) return b.apply(ScalarOp::kMul, in[0], in[0]);
      if (value == 3) return b.apply(ScalarOp::kMul, b.apply(ScalarOp::kMul, in[0], in[0]), in[0]);
      if (value == -1) return b.apply(ScalarOp::kReciprocal, in[0]);
      return b.apply(ScalarOp::kPow, in[0], number(b, value, base));
    };
    node.set_output(per_element(node.graph, node.name(), {x}, spelt_out));
    return {};
  }
  // Mixed types are computed in the wider kind: a float if either is one.
  DType common = base;
  if (is_float(power) && !is_float(base)) common = DType::kF64;
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    int from = base == common ? in[0] : b.cast(in[0], common);
    int to = power == common ? in[1] : b.cast(in[1], common);
    int result = b.apply(ScalarOp::kPow, from, to);
    return base == common ? result : b.cast(result, base);
  };
  CORF_ASSIGN(ValueId y, map_elements(node, node.name(), {x, exponent}, body));
  node.set_output(y);
  return {};
}

Status import_mod(NodeImport& node) {
  bool fmod = node.int_attribute("fmod", 0) != 0;
  return map_two(node, Types::kNumeric, [&](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(fmod ? ScalarOp::kFmod : ScalarOp::kMod, in[0], in[1]);
  });
}

Status import_bit_shift(NodeImport& node) {
  std::string direction = node.string_attribute("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") {
    return node.invalid("attribute 'direction' is '{}', not LEFT or RIGHT", direction);
  }
  ScalarOp op = direction == "LEFT" ? ScalarOp::kShiftLeft : ScalarOp::kShiftRight;
  return map_two(node, Types::kInteger, [&](ScalarBody& b, const std::vector<int>& in) {
    return b.apply(op, in[0], in[1]);
  });
}

Status import_where(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  CORF_RETURN_IF_ERROR(require_types(node, {node.input(0)}, Types::kBool));
  CORF_RETURN_IF_ERROR(require_same_type(node, {node.input(1), node.input(2)}));
  CORF_ASSIGN(ValueId y,
              map_elements(node, node.name(), {node.input(0), node.input(1), node.input(2)},
                           [](ScalarBody& b, const std::vector<int>& in) {
                             return b.apply(ScalarOp::kSelect, in[0], in[1], in[2]);
                           }));
  node.set_output(y);
  return {};
}

Status import_is_inf(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_types(node, {x}, Types::kFloat));
  bool negative = node.int_attribute("detect_negative", 1) != 0;
  bool positive = node.int_attribute("detect_positive", 1) != 0;
  DType dtype = node.dtype(x);
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    int infinite = b.apply(ScalarOp::kIsInf, in[0]);
    if (negative && positive) return infinite;
    if (!negative && !positive) return b.constant_i64(0, DType::kBool);
    int zero = number(b, 0, dtype);
    int sign =
        negative ? b.apply(ScalarOp::kLess, in[0], zero) : b.apply(ScalarOp::kLess, zero, in[0]);
    return b.apply(ScalarOp::kAnd, infinite, sign);
  };
  node.set_output(per_element(node.graph, node.name(), {x}, body));
  return {};
}

/// Of integers: computed in f64 and truncated.
Status import_erf(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const DType dtype = node.dtype(node.input(0));
  node.set_output(per_element(node.graph, node.name(), {node.input(0)},
                              [&](ScalarBody& b, const std::vector<int>& in) {
                                if (is_float(dtype)) return b.apply(ScalarOp::kErf, in[0]);
                                const int wide = b.cast(in[0], DType::kF64);
                                return b.cast(b.apply(ScalarOp::kErf, wide), dtype);
                              }));
  return {};
}

Status import_identity(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  node.set_output(node.input(0));
  return {};
}

Status import_dropout(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  if (node.opset() < 7 && node.int_attribute("is_test", 0) == 0) {
    return node.unsupported("training mode (is_test = 0) is not supported");
  }
  if (node.has(2)) {
    const Tensor* training = node.known(node.input(2));
    if (training == nullptr) return node.depends_on_data(2, "training mode");
    const Tensor* ratio = node.has(1) ? node.known(node.input(1)) : nullptr;
    const bool drops = ratio == nullptr || ratio->num_elems() != 1 || ratio->at_f64(0) != 0;
    if (training->num_elems() != 1 || (training->at_i64(0) != 0 && drops)) {
      return node.unsupported("training mode is not supported");
    }
  }
  if (node.wants_output(1)) {
    DType mask_type = node.opset() >= 10 ? DType::kBool : node.dtype(x);
    Shape shape = node.shape(x);
    const ValueId one =
        node.graph.add_constant(node.part("one"), filled(mask_type, {}, [](int64_t) { return 1; }));
    node.set_output(1, broadcast(node.graph, node.part("mask"), one, shape));
  }
  node.set_output(x);
  return {};
}

/// Names of the types, as before opset 6.
Status import_cast_by_name(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const std::string to = node.string_attribute("to", "");
  int number = onnx_proto::TensorProto::UNDEFINED;
  for (int i = 0; onnx_proto::TensorProto::DataType_IsValid(i); ++i) {
    if (onnx_proto::TensorProto::DataType_Name(i) == to) number = i;
  }
  auto dtype = dtype_from_onnx(number);
  if (!dtype) return node.unsupported("a cast to '{}' is not supported", to);
  node.set_output(cast(node.graph, node.name(), node.input(0), *dtype));
  return {};
}

Status import_cast(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const auto dtype = node.dtype_attribute("to", DType::kF32);
  if (!dtype || !node.has_attribute("to")) {
    const int64_t to = std::clamp<int64_t>(node.int_attribute("to", 0), -1, 1 << 20);
    return node.unsupported("a cast to {} is not supported", onnx_type_name(static_cast<int>(to)));
  }
  node.set_output(cast(node.graph, node.name(), node.input(0), *dtype));
  return {};
}

Status import_cast_like(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  node.set_output(cast(node.graph, node.name(), node.input(0), node.dtype(node.input(1))));
  return {};
}

constexpr Operator kOperators[] = {
    {"Abs", 1, import_unary<ScalarOp::kAbs, Types::kNumeric>},
    {"Acos", 7, import_unary<ScalarOp::kAcos, Types::kFloat>},
    {"Acosh", 9, import_unary<ScalarOp::kAcosh, Types::kFloat>},
    {"Add", 1, import_binary<ScalarOp::kAdd, Types::kNumeric>},
    {"And", 1, import_binary<ScalarOp::kAnd, Types::kBool>},
    {"Asin", 7, import_unary<ScalarOp::kAsin, Types::kFloat>},
    {"Asinh", 9, import_unary<ScalarOp::kAsinh, Types::kFloat>},
    {"Atan", 7, import_unary<ScalarOp::kAtan, Types::kFloat>},
    {"Atanh", 9, import_unary<ScalarOp::kAtanh, Types::kFloat>},
    {"BitShift", 11, import_bit_shift},
    {"BitwiseAnd", 18, import_binary<ScalarOp::kAnd, Types::kInteger>},
    {"BitwiseNot", 18, import_unary<ScalarOp::kNot, Types::kInteger>},
    {"BitwiseOr", 18, import_binary<ScalarOp::kOr, Types::kInteger>},
    {"BitwiseXor", 18, import_binary<ScalarOp::kXor, Types::kInteger>},
    {"Cast", 1, import_cast_by_name, 5},
    {"Cast", 6, import_cast},
    {"CastLike", 15, import_cast_like},
    {"Ceil", 1, import_unary<ScalarOp::kCeil, Types::kFloat>},
    {"Cos", 7, import_unary<ScalarOp::kCos, Types::kFloat>},
    {"Cosh", 9, import_unary<ScalarOp::kCosh, Types::kFloat>},
    {"Div", 1, import_binary<ScalarOp::kDiv, Types::kNumeric>},
    {"Dropout", 1, import_dropout},
    {"Equal", 1, import_binary<ScalarOp::kEqual, Types::kAny>},
    {"Erf", 9, import_erf},
    {"Exp", 1, import_unary<ScalarOp::kExp, Types::kFloat>},
    {"Floor", 1, import_unary<ScalarOp::kFloor, Types::kFloat>},
    {"Greater", 1, import_swapped<ScalarOp::kLess>},
    {"GreaterOrEqual", 12, import_swapped<ScalarOp::kLessEqual>},
    {"Identity", 1, import_identity},
    {"IsInf", 10, import_is_inf},
    {"IsNaN", 9, import_unary<ScalarOp::kIsNan, Types::kFloat>},
    {"Less", 1, import_binary<ScalarOp::kLess, Types::kNumeric>},
    {"LessOrEqual", 12, import_binary<ScalarOp::kLessEqual, Types::kNumeric>},
    {"Log", 1, import_unary<ScalarOp::kLog, Types::kFloat>},
    {"Max", 1, import_max},
    {"Mean", 1, import_mean},
    {"Min", 1, import_min},
    {"Mod", 10, import_mod},
    {"Mul", 1, import_binary<ScalarOp::kMul, Types::kNumeric>},
    {"Neg", 1, import_unary<ScalarOp::kNeg, Types::kNumeric>},
    {"Not", 1, import_unary<ScalarOp::kNot, Types::kBool>},
    {"Or", 1, import_binary<ScalarOp::kOr, Types::kBool>},
    {"Pow", 1, import_pow},
    {"Reciprocal", 1, import_unary<ScalarOp::kReciprocal, Types::kFloat>},
    {"Round", 11, import_unary<ScalarOp::kRoundEven, Types::kFloat>},
    {"Sign", 9, import_unary<ScalarOp::kSign, Types::kNumeric>},
    {"Sin", 7, import_unary<ScalarOp::kSin, Types::kFloat>},
    {"Sinh", 9, import_unary<ScalarOp::kSinh, Types::kFloat>},
    {"Sqrt", 1, import_unary<ScalarOp::kSqrt, Types::kFloat>},
    {"Sub", 1, import_binary<ScalarOp::kSub, Types::kNumeric>},
    {"Sum", 1, import_sum},
    {"Tan", 7, import_unary<ScalarOp::kTan, Types::kFloat>},
    {"Where", 9, import_where},
    {"Xor", 1, import_binary<ScalarOp::kXor, Types::kBool>},
};

}  // namespace

std::span<const Operator> elementwise_operators() { return kOperators; }

}  // namespace corf::onnx
