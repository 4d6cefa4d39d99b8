#include "graph/scalar.h"

#include <array>
#include <cmath>

#include "graph/saturated.h"
#include "support/assert.h"

namespace corf::graph {
namespace {

struct ScalarOpInfo {
  std::string_view name;
  int num_args;
};
constexpr std::array<ScalarOpInfo, kNumScalarOps> kInfo = {{
    {"operand", 0},    {"constant", 0},    {"index", 0},  {"cast", 1},   {"add", 2},
    {"sub", 2},        {"mul", 2},         {"div", 2},    {"min", 2},    {"max", 2},
    {"mod", 2},        {"fmod", 2},        {"pow", 2},    {"neg", 1},    {"abs", 1},
    {"sign", 1},       {"floor", 1},       {"ceil", 1},   {"round", 1},  {"reciprocal", 1},
    {"sqrt", 1},       {"rsqrt", 1},       {"exp", 1},    {"log", 1},    {"erf", 1},
    {"tanh", 1},       {"sigmoid", 1},     {"sin", 1},    {"cos", 1},    {"tan", 1},
    {"asin", 1},       {"acos", 1},        {"atan", 1},   {"sinh", 1},   {"cosh", 1},
    {"asinh", 1},      {"acosh", 1},       {"atanh", 1},  {"less", 2},   {"less_equal", 2},
    {"equal", 2},      {"and", 2},         {"or", 2},     {"xor", 2},    {"not", 1},
    {"shift_left", 2}, {"shift_right", 2}, {"select", 3}, {"is_nan", 1}, {"is_inf", 1},
    {"truncate", 1},
}};

const ScalarOpInfo& info(ScalarOp op) {
  CORF_ASSERT(static_cast<size_t>(op) < kInfo.size(), "scalar operation out of range");
  return kInfo[static_cast<size_t>(op)];
}

bool gives_bool(ScalarOp op) {
  return op == ScalarOp::kLess || op == ScalarOp::kLessEqual || op == ScalarOp::kEqual ||
         op == ScalarOp::kIsNan || op == ScalarOp::kIsInf;
}

int append(std::vector<ScalarNode>& nodes, const ScalarNode& node) {
  nodes.push_back(node);
  return static_cast<int>(nodes.size()) - 1;
}

}  // namespace

std::string_view to_string(ScalarOp op) { return info(op).name; }
int num_args(ScalarOp op) { return info(op).num_args; }

std::optional<ScalarOp> parse_scalar_op(std::string_view text) {
  for (size_t i = 0; i < kInfo.size(); ++i) {
    if (kInfo[i].name == text) return static_cast<ScalarOp>(i);
  }
  return std::nullopt;
}

int64_t saturated(double value, DType dtype) {
  if (std::isnan(value)) return 0;
  if (dtype == DType::kBool) return value != 0 ? 1 : 0;
  const bool is_signed = is_signed_integer(dtype);
  const int bits = static_cast<int>(8 * size_bytes(dtype)) - (is_signed ? 1 : 0);
  const double limit = std::ldexp(1.0, bits);  // the first value beyond the range
  if (value >= limit) return static_cast<int64_t>(~uint64_t{0} >> (64 - bits));
  if (value <= (is_signed ? -limit : 0))
    return is_signed ? -1 - static_cast<int64_t>(~uint64_t{0} >> (64 - bits)) : 0;
  return value >= 0x1p63 ? static_cast<int64_t>(static_cast<uint64_t>(value))
                         : static_cast<int64_t>(value);
}

int ScalarBody::operand(int number, DType dtype) {
  ScalarNode node;
  node.op = ScalarOp::kOperand;
  node.dtype = dtype;
  node.index = number;
  return append(nodes, node);
}

int ScalarBody::constant(double value, DType dtype) {
  if (!is_float(dtype)) return constant_i64(saturated(value, dtype), dtype);
  ScalarNode node;
  node.dtype = dtype;
  node.f64 = value;
  return append(nodes, node);
}

int ScalarBody::constant_i64(int64_t value, DType dtype) {
  if (is_float(dtype)) return constant(static_cast<double>(value), dtype);
  ScalarNode node;
  node.dtype = dtype;
  node.i64 = value;
  return append(nodes, node);
}

int ScalarBody::axis_index(int axis, DType dtype) {
  ScalarNode node;
  node.op = ScalarOp::kIndex;
  node.dtype = dtype;
  node.index = axis;
  return append(nodes, node);
}

int ScalarBody::cast(int arg, DType dtype) {
  CORF_ASSERT(arg >= 0 && arg < static_cast<int>(nodes.size()), "a scalar argument is missing");
  if (nodes[arg].dtype == dtype) return arg;
  ScalarNode node;
  node.op = ScalarOp::kCast;
  node.dtype = dtype;
  node.args[0] = arg;
  return append(nodes, node);
}

int ScalarBody::apply(ScalarOp op, int a, int b, int c) {
  std::array<int, 3> args = {a, b, c};
  CORF_ASSERT(num_args(op) > 0 && op != ScalarOp::kCast, "apply takes operations on arguments");
  for (int i = 0; i < 3; ++i) {
    bool given = args[i] >= 0 && args[i] < static_cast<int>(nodes.size());
    CORF_ASSERT(given == (i < num_args(op)), "a scalar operation has the wrong arguments");
  }
  ScalarNode node;
  node.op = op;
  node.args = args;
  node.dtype = gives_bool(op)            ? DType::kBool
               : op == ScalarOp::kSelect ? nodes[b].dtype
                                         : nodes[a].dtype;
  return append(nodes, node);
}

}  // namespace corf::graph
