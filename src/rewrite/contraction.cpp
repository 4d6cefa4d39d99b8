#include "rewrite/contraction.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "rewrite/structure.h"
#include "rewrite/value_range.h"
#include "support/checked.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarOp;

namespace {

// Beyond, folding would cost more compile time than it is worth.
constexpr int64_t kMaxPoints = 1 << 22;

/// Calls `visit` with the values of all axes, for every combination of the axes in `moving`; the
/// others stay 0. False if there are too many.
template <typename Visit>
bool for_each_point(const index::IterationSpace& space, const std::vector<bool>& moving,
                    const Visit& visit) {
  std::vector<int> axes;
  int64_t points = 1;
  for (size_t i = 0; i < space.axes.size(); ++i) {
    if (i >= moving.size() || !moving[i]) continue;
    axes.push_back(static_cast<int>(i));
    const std::optional<int64_t> product = checked_mul(points, space.axes[i].extent);
    if (!product || *product > kMaxPoints) return false;
    points = *product;
  }
  std::vector<int64_t> values(space.axes.size(), 0);
  for (int64_t point = 0; point < points; ++point) {
    visit(values);
    for (size_t i = axes.size(); i-- > 0;) {
      if (++values[axes[i]] < space.axes[axes[i]].extent) break;
      values[axes[i]] = 0;
    }
  }
  return true;
}

bool share_variables(const std::vector<bool>& a, const std::vector<bool>& b) {
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i] && b[i]) return true;
  }
  return false;
}

/// An expression's value, taken from its coefficients where it is affine.
class FastExpr {
 public:
  explicit FastExpr(const index::Expr& expr) : expr_(expr) {
    const index::Linear linear = index::to_linear(expr);
    affine_ = linear.is_affine();
    constant_ = linear.constant;
    terms_.assign(linear.coefficients.begin(), linear.coefficients.end());
  }
  int64_t operator()(const std::vector<int64_t>& point) const {
    if (!affine_) return index::evaluate(expr_, point);
    int64_t value = constant_;
    for (const auto& [axis, coefficient] : terms_) value += coefficient * point[axis];
    return value;
  }

 private:
  index::Expr expr_;
  bool affine_ = false;
  int64_t constant_ = 0;
  std::vector<std::pair<int, int64_t>> terms_;
};

/// A factor for each combination of coordinates in some dimensions of a tensor.
struct FactorTable {
  std::vector<int64_t> strides;  // for each dimension of the tensor, 0 if it does not matter
  std::vector<double> factors;   // NaN where no point of the iteration space reads the tensor
};

std::optional<FactorTable> factor_table(const Contraction& contraction, const index::Expr& channel,
                                        const std::vector<double>& factors) {
  const Shape& shape = contraction.weights_tensor.shape();
  const std::vector<index::Expr>& exprs = contraction.weights_operand().map.exprs;
  FactorTable table;
  table.strides.resize(shape.size());
  if (factors.size() == 1) {
    table.factors = factors;
    return table;
  }

  std::vector<bool> moving;
  index::collect_variables(channel, moving);
  const std::vector<bool> channel_axes = moving;
  int64_t size = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    std::vector<bool> used;
    index::collect_variables(exprs[i], used);
    if (!share_variables(used, channel_axes)) continue;
    index::collect_variables(exprs[i], moving);
    table.strides[i] = size;
    size *= shape[i];
  }
  table.factors.assign(static_cast<size_t>(size), std::nan(""));
  bool consistent = true;
  const bool visited =
      for_each_point(contraction.compute->space, moving, [&](const std::vector<int64_t>& point) {
        int64_t at = 0;
        for (size_t i = 0; i < shape.size(); ++i) {
          if (table.strides[i] == 0) continue;
          const int64_t coordinate = index::evaluate(exprs[i], point);
          if (coordinate < 0 || coordinate >= shape[i]) return;
          at += coordinate * table.strides[i];
        }
        const double factor = factors[index::evaluate(channel, point)];
        double& entry = table.factors[at];
        if (std::isnan(entry)) entry = factor;
        consistent = consistent && entry == factor;
      });
  if (!visited || !consistent) return std::nullopt;
  return table;
}

/// What multiplying weights did to them.
struct Loss {
  double largest = 0;       // magnitude of a product
  bool overflows = false;   // a product of finite numbers
  bool underflows = false;  // a product that lost digits by it
};

/// Where all products are normal numbers, far from the largest: no digits are lost but by rounding.
/// False if one is not. `largest`: of the magnitudes so far.
bool multiply_plain(const float* from, float* to, int64_t count, double factor, double& largest) {
  constexpr int32_t kMagnitude = 0x7fffffff;  // without the sign
  constexpr int32_t kSmallestNormal = 0x00800000, kNearInfinity = 0x7f000000;
  int32_t most = 0, least = kNearInfinity;
  for (int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<float>(double(from[i]) * factor);
    const int32_t bits = std::bit_cast<int32_t>(to[i]) & kMagnitude;
    most = std::max(most, bits);
    least = std::min(least, bits);
  }
  if (least < kSmallestNormal || most >= kNearInfinity) return false;
  largest = std::max(largest, double(std::bit_cast<float>(most)));
  return true;
}

/// to = from * factor for elements begin, ..., begin + count - 1.
void multiply_run(const Tensor& from, Tensor& to, int64_t begin, int64_t count, double factor,
                  const FloatFormat& format, Loss& loss) {
  const auto multiply = [&](double value) {
    const double product = value * factor, magnitude = std::fabs(product);
    if (std::isfinite(value)) loss.largest = std::max(loss.largest, magnitude);
    const bool tiny = magnitude < format.smallest && magnitude != 0;
    if (tiny && rounded(product, from.dtype()) != product) loss.underflows = true;
    return product;
  };
  if (from.dtype() == DType::kF32) {
    constexpr int64_t kBlock = 1024;
    for (int64_t at = begin; at < begin + count; at += kBlock) {
      const int64_t size = std::min(kBlock, begin + count - at);
      const float* source = from.data<float>() + at;
      float* target = to.data<float>() + at;
      if (multiply_plain(source, target, size, factor, loss.largest)) continue;
      for (int64_t i = 0; i < size; ++i) target[i] = static_cast<float>(multiply(source[i]));
    }
  } else {
    for (int64_t i = begin; i < begin + count; ++i) to.set_f64(i, multiply(from.at_f64(i)));
  }
  loss.overflows = loss.overflows || loss.largest > format.largest;
}

/// Whether the sums are as good as before.
bool keeps_sums(const std::vector<Loss>& losses, const std::vector<double>& addends,
                const FloatFormat& format) {
  double largest = 0;
  bool underflows = false;
  for (size_t c = 0; c < losses.size(); ++c) {
    if (losses[c].overflows) return false;
    largest = std::max(largest, losses[c].largest);
    underflows = underflows || losses[c].underflows;
    const bool matters = losses[c].underflows && losses[c].largest < format.smallest;
    const bool is_added = c < addends.size() && std::fabs(addends[c]) >= std::exp2(-format.digits);
    if (!addends.empty() && matters && !is_added) return false;
  }
  return !addends.empty() || !underflows || largest >= format.smallest;
}

}  // namespace

std::optional<Contraction> match_contraction(const Graph& graph, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || compute->combiner != graph::Combiner::kSum || node.inputs.size() != 2) {
    return std::nullopt;
  }
  const ScalarBody& body = compute->body;
  const graph::ScalarNode& product = body.nodes.back();
  if (body.nodes.size() != 3 || product.op != ScalarOp::kMul || !is_float(product.dtype)) {
    return std::nullopt;
  }
  const graph::ScalarNode& a = body.nodes[product.args[0]];
  const graph::ScalarNode& b = body.nodes[product.args[1]];
  if (a.op != ScalarOp::kOperand || b.op != ScalarOp::kOperand || a.index == b.index) {
    return std::nullopt;
  }
  for (int weights : {1, 0}) {
    const Tensor* tensor = constant_tensor(graph, node.inputs[weights]);
    const Operand& operand = compute->operands[weights];
    if (!tensor || (operand.guarded && operand.padding != 0) ||
        !reads_axes_only(operand, compute->space) ||
        !reads_axes_only(compute->operands[1 - weights], compute->space)) {
      continue;
    }
    return Contraction{compute, 1 - weights, weights, *tensor};
  }
  return std::nullopt;
}

std::optional<Tensor> scaled_weights(const Contraction& contraction, const index::Expr& channel,
                                     const std::vector<double>& factors,
                                     const std::vector<double>& addends) {
  const std::optional<FactorTable> table = factor_table(contraction, channel, factors);
  if (!table) return std::nullopt;
  const Tensor& weights = contraction.weights_tensor;
  const Shape& shape = weights.shape();
  // The innermost dimensions that no factor depends on are multiplied as one run.
  size_t outer = shape.size();
  while (outer > 0 && table->strides[outer - 1] == 0) --outer;
  const int64_t run =
      num_elems(Shape(shape.begin() + static_cast<std::ptrdiff_t>(outer), shape.end()));
  Tensor result(weights.dtype(), shape);
  const FloatFormat format = float_format(weights.dtype());
  std::vector<Loss> losses(table->factors.size());
  std::vector<int64_t> coordinates(outer, 0);
  int64_t at = 0;
  for (int64_t begin = 0; run > 0 && begin < weights.num_elems(); begin += run) {
    const double factor = table->factors[at];
    multiply_run(weights, result, begin, run, std::isnan(factor) ? 1 : factor, format, losses[at]);
    for (size_t d = outer; d-- > 0;) {
      at += table->strides[d];
      if (++coordinates[d] < shape[d]) break;
      at -= coordinates[d] * table->strides[d];
      coordinates[d] = 0;
    }
  }
  // Where the table's entries are not the channels one by one, no addend stands for one.
  const bool by_channel = addends.size() == losses.size();
  if (!keeps_sums(losses, by_channel ? addends : std::vector<double>{}, format)) {
    return std::nullopt;
  }
  return result;
}

std::optional<ResultShift> shift_of_result(const Contraction& contraction,
                                           const index::Expr& channel,
                                           const std::vector<double>& shifts) {
  const index::IterationSpace& space = contraction.compute->space;
  const Operand& weights = contraction.weights_operand();
  if (contraction.x_operand().guarded || weights.guarded) return std::nullopt;

  std::vector<bool> moving;
  for (const index::Expr& expr : weights.map.exprs) index::collect_variables(expr, moving);
  if (shifts.size() > 1) index::collect_variables(channel, moving);
  moving.resize(space.axes.size());
  ResultShift result;
  for (size_t i = 0; i < space.axes.size(); ++i) {
    if (space.axes[i].extent == 1) continue;
    if (space.axes[i].kind == index::AxisKind::kReduction) {
      moving[i] = true;
    } else if (moving[i]) {
      if (result.axis != -1) return std::nullopt;
      result.axis = static_cast<int>(i);
    }
  }
  result.values.resize(static_cast<size_t>(result.axis == -1 ? 1 : space.axes[result.axis].extent));
  const std::vector<int64_t> strides = row_major_strides(contraction.weights_tensor.shape());
  index::Expr address = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    address = address + index::Expr(strides[i]) * weights.map.exprs[i];
  }
  const FastExpr weight_at(address);
  const FastExpr channel_at(shifts.size() == 1 ? index::Expr(0) : channel);
  const bool visited = for_each_point(space, moving, [&](const std::vector<int64_t>& point) {
    result.values[result.axis == -1 ? 0 : point[result.axis]] +=
        shifts[channel_at(point)] * contraction.weights_tensor.at_f64(weight_at(point));
  });
  if (!visited) return std::nullopt;
  return result;
}

}  // namespace corf::rewrite
