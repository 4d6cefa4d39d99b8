#include "rewrite/value_range.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// 0 * infinity is 0 here: bounds stand for finite numbers as large as one likes.
double times(double a, double b) { return a == 0 || b == 0 ? 0 : a * b; }

ValueRange point(double value) { return {value, value, value == 0 ? kInfinity : std::fabs(value)}; }

ValueRange sum(const ValueRange& a, const ValueRange& b, const FloatFormat& format) {
  ValueRange result{a.low + b.low, a.high + b.high, format.unit()};
  const bool same_sign = std::min(a.low, b.low) >= 0 || std::max(a.high, b.high) <= 0;
  if (same_sign) result.least = std::min(a.least, b.least);
  // A number that is not far smaller than a constant is a multiple of the constant's last digit.
  for (const ValueRange* constant : {&a, &b}) {
    if (constant->low != constant->high) continue;
    const double gap = std::ldexp(constant->most(), -format.digits - 1);
    result.least = std::max(result.least, gap);
  }
  return result;
}

ValueRange product(const ValueRange& a, const ValueRange& b) {
  const auto [low, high] = std::minmax(
      {times(a.low, b.low), times(a.low, b.high), times(a.high, b.low), times(a.high, b.high)});
  return {low, high, times(a.least, b.least)};
}

ValueRange negated(const ValueRange& a) { return {-a.high, -a.low, a.least}; }

}  // namespace

double FloatFormat::unit() const { return std::ldexp(smallest, 1 - digits); }

FloatFormat float_format(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return {53, 0x1p-1022, std::numeric_limits<double>::max()};
    case DType::kF16:
      return {11, 0x1p-14, 65504};
    case DType::kBF16:
      return {8, 0x1p-126, 0x1.fep127};
    default:
      return {24, 0x1p-126, std::numeric_limits<float>::max()};
  }
}

double rounded(double value, DType dtype) {
  const auto single = static_cast<float>(value);
  switch (dtype) {
    case DType::kF64:
      return value;
    case DType::kF16:
      return f16_to_f32(f32_to_f16(single));
    case DType::kBF16:
      return bf16_to_f32(f32_to_bf16(single));
    default:
      return single;
  }
}

bool is_power_of_two(double value) {
  int exponent = 0;
  return std::isfinite(value) && std::fabs(std::frexp(value, &exponent)) == 0.5;
}

double ValueRange::most() const { return std::max(std::fabs(low), std::fabs(high)); }

ValueRange whole_range(DType dtype) {
  if (!is_float(dtype)) return {-kInfinity, kInfinity, 1};
  const FloatFormat format = float_format(dtype);
  return {-format.largest, format.largest, format.unit()};
}

namespace {

/// p * p, or p * (p * c) with c > 0.
bool is_square(std::span<const ScalarNode> nodes) {
  const auto [a, b, unused] = nodes.back().args;
  if (a == b) return true;
  for (const auto& [p, scaled] : {std::pair{a, b}, std::pair{b, a}}) {
    const ScalarNode& product = nodes[scaled];
    if (product.op != ScalarOp::kMul || product.args[0] != p) continue;
    const ScalarNode& factor = nodes[product.args[1]];
    if (factor.op == ScalarOp::kConstant && factor.f64 > 0) return true;
  }
  return false;
}

bool is_rounded(const ScalarNode& node, std::span<const ValueRange> before) {
  const auto rounded_or_constant = [&](int argument) {
    return before[argument].is_rounded || before[argument].is_constant;
  };
  const auto [a, b, c] = node.args;
  switch (node.op) {
    case ScalarOp::kMul:
      return before[a].is_constant   ? before[b].is_rounded
             : before[b].is_constant ? before[a].is_rounded
                                     : true;
    case ScalarOp::kDiv:
      return before[a].is_rounded || !before[b].is_constant;
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
      return before[a].is_rounded || before[b].is_rounded;
    case ScalarOp::kMin:
    case ScalarOp::kMax:
      return rounded_or_constant(a) && rounded_or_constant(b);
    case ScalarOp::kSelect:
      return rounded_or_constant(b) && rounded_or_constant(c);
    case ScalarOp::kNeg:
    case ScalarOp::kAbs:
    case ScalarOp::kCast:
      return before[a].is_rounded;
    case ScalarOp::kExp:
    case ScalarOp::kLog:
    case ScalarOp::kErf:
    case ScalarOp::kTanh:
    case ScalarOp::kSigmoid:
    case ScalarOp::kSqrt:
    case ScalarOp::kRsqrt:
    case ScalarOp::kReciprocal:
    case ScalarOp::kPow:
      return true;
    default:
      return false;
  }
}

ValueRange range_of(std::span<const ScalarNode> nodes, std::span<const ValueRange> before) {
  const ScalarNode& node = nodes.back();
  const ValueRange whole = whole_range(node.dtype);
  if (!is_float(node.dtype)) return node.dtype == DType::kBool ? ValueRange{0, 1, 1} : whole;
  const FloatFormat format = float_format(node.dtype);
  const auto argument = [&](int position) -> const ValueRange& {
    static constexpr ValueRange kNone;
    return node.args[position] < 0 ? kNone : before[node.args[position]];
  };
  const ValueRange &a = argument(0), &b = argument(1), &c = argument(2);
  switch (node.op) {
    case ScalarOp::kConstant:
      return std::isfinite(node.f64) ? point(node.f64) : whole;
    case ScalarOp::kAdd:
      return sum(a, b, format);
    case ScalarOp::kSub:
      return sum(a, negated(b), format);
    case ScalarOp::kMul: {
      ValueRange result = product(a, b);
      if (is_square(nodes)) result.low = std::max(result.low, 0.0);
      return result;
    }
    case ScalarOp::kNeg:
      return negated(a);
    case ScalarOp::kAbs:
      return {a.low <= 0 && a.high >= 0 ? 0 : std::min(std::fabs(a.low), std::fabs(a.high)),
              a.most(), a.least};
    case ScalarOp::kMin:
      return {std::min(a.low, b.low), std::min(a.high, b.high), std::min(a.least, b.least)};
    case ScalarOp::kMax:
      return {std::max(a.low, b.low), std::max(a.high, b.high), std::min(a.least, b.least)};
    case ScalarOp::kSelect:
      return {std::min(b.low, c.low), std::max(b.high, c.high), std::min(b.least, c.least)};
    case ScalarOp::kExp:
      return {0, whole.high, format.unit()};
    case ScalarOp::kSqrt:
      return {0, std::sqrt(a.high > 0 ? a.high : 0), std::sqrt(a.least)};
    case ScalarOp::kSigmoid:
      return {0, 1, format.unit()};
    case ScalarOp::kTanh:
    case ScalarOp::kErf:
    case ScalarOp::kSin:
    case ScalarOp::kCos:
      return {-1, 1, format.unit()};
    case ScalarOp::kCast:
      return {a.low, a.high, std::max(a.least, format.unit())};
    default:
      return whole;
  }
}

}  // namespace

ValueRange unrounded_range(std::span<const ScalarNode> nodes, std::span<const ValueRange> before,
                           const std::vector<ValueRange>& operands) {
  const ScalarNode& node = nodes.back();
  if (node.op == ScalarOp::kOperand && !operands.empty()) return operands[node.index];
  ValueRange range = range_of(nodes, before);
  range.is_constant = node.op != ScalarOp::kOperand && node.op != ScalarOp::kIndex;
  for (int position = 0; position < graph::num_args(node.op); ++position) {
    range.is_constant = range.is_constant && before[node.args[position]].is_constant;
  }
  range.is_rounded = is_float(node.dtype) && !range.is_constant && is_rounded(node, before);
  return range;
}

std::vector<ValueRange> ranges_of(const ScalarBody& body, const std::vector<ValueRange>& operands) {
  std::vector<ValueRange> ranges;
  for (size_t i = 0; i < body.nodes.size(); ++i) {
    const std::span<const ScalarNode> nodes(body.nodes.data(), i + 1);
    ranges.push_back(within_type(unrounded_range(nodes, ranges, operands), body.nodes[i].dtype));
  }
  return ranges;
}

ValueRange within_type(ValueRange range, DType dtype) {
  if (!is_float(dtype)) return range;
  const FloatFormat format = float_format(dtype);
  range.low = std::clamp(range.low, -format.largest, format.largest);
  range.high = std::clamp(range.high, -format.largest, format.largest);
  range.least = std::max(range.least, format.unit());
  if (range.low > 0) range.least = std::max(range.least, range.low);
  if (range.high < 0) range.least = std::max(range.least, -range.high);
  return range;
}

namespace {

/// Larger constants are not looked at.
constexpr int64_t kMaxElems = 4096;

ValueRange range_of_constant(const Tensor& tensor) {
  ValueRange range = whole_range(tensor.dtype());
  range.is_constant = true;
  if (!is_float(tensor.dtype()) || tensor.num_elems() == 0 || tensor.num_elems() > kMaxElems) {
    return range;
  }
  ValueRange found{kInfinity, -kInfinity, kInfinity};
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    const double value = tensor.at_f64(i);
    if (!std::isfinite(value)) return range;
    found.low = std::min(found.low, value);
    found.high = std::max(found.high, value);
    found.least = std::min(found.least, point(value).least);
  }
  found.is_constant = true;
  return found;
}

void join(ValueRange& range, const ValueRange& other) {
  range.low = std::min(range.low, other.low);
  range.high = std::max(range.high, other.high);
  range.least = std::min(range.least, other.least);
}

ValueRange range_of_output(const Compute& compute, const std::vector<ValueRange>& operands) {
  ValueRange range = ranges_of(compute.body, operands).back();
  const DType dtype = compute.body.result_dtype();
  if (!is_float(dtype)) return whole_range(dtype);
  switch (compute.combiner) {
    case graph::Combiner::kSum:
    case graph::Combiner::kProduct: {
      const ValueRange whole = whole_range(dtype);
      const bool sums = compute.combiner == graph::Combiner::kSum;
      range.high = range.high <= 0 && sums ? 0 : whole.high;
      range.low = range.low >= 0 ? 0 : whole.low;
      range.least = whole.least;
      range.is_rounded = !range.is_constant;
      return range;
    }
    case graph::Combiner::kArgMin:
    case graph::Combiner::kArgMax:
      return whole_range(DType::kI64);
    default:
      return range;
  }
}

}  // namespace

std::vector<ValueRange> ValueRanges::of_operands(const Graph& graph, const Compute& compute,
                                                 const std::vector<ValueId>& inputs) {
  std::vector<ValueRange> ranges;
  for (size_t i = 0; i < inputs.size(); ++i) {
    ranges.push_back(of(graph, inputs[i]));
    if (compute.operands[i].guarded) join(ranges.back(), point(compute.operands[i].padding));
  }
  return ranges;
}

const ValueRange& ValueRanges::of(const Graph& graph, ValueId value) {
  while (static_cast<ValueId>(known_.size()) <= value) {
    const auto next = static_cast<ValueId>(known_.size());
    const Node& node = graph.producer(next);
    ValueRange range = whole_range(graph.values[next].dtype);
    if (const auto* compute = std::get_if<Compute>(&node.op)) {
      range = range_of_output(*compute, of_operands(graph, *compute, node.inputs));
    } else if (const auto* constant = std::get_if<graph::Constant>(&node.op)) {
      range = range_of_constant(constant->tensor);
    } else if (const auto* view = std::get_if<graph::View>(&node.op)) {
      range = known_[node.inputs[0]];
      for (ValueId input : node.inputs) {
        join(range, known_[input]);
        range.is_rounded = range.is_rounded && known_[input].is_rounded;
        range.is_constant = range.is_constant && known_[input].is_constant;
      }
      if (const auto* pad = std::get_if<graph::Pad>(view)) join(range, point(pad->value));
    }
    known_.push_back(range);
  }
  return known_[value];
}

}  // namespace corf::rewrite
