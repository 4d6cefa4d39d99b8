#include "rewrite/simplify_body.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "graph/scalar_functions.h"
#include "rewrite/rounding.h"

namespace corf::rewrite {
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;

namespace {

/// Builds a body out of simplified nodes. Each `make_...` returns a node with the value asked for;
/// arguments are nodes that it has returned. What may be rounded otherwise than in the model is
/// decided in rewrite/rounding.h.
class Simplifier {
 public:
  Simplifier(const ScalarBody& body, const Demand& of_result,
             const std::vector<ValueRange>& operands)
      : body_(body), operands_(operands), demands_(demands(body, of_result)) {}

  ScalarBody run() {
    std::vector<int> map, uses(body_.nodes.size(), 0);
    for (const ScalarNode& node : body_.nodes) {
      for (int argument : node.args) {
        if (argument >= 0) ++uses[argument];
      }
    }
    for (size_t i = 0; i < body_.nodes.size(); ++i) {
      demand_ = demands_[i];
      ScalarNode mapped = body_.nodes[i];
      for (int& arg : mapped.args) {
        if (arg >= 0) arg = map[arg];
      }
      map.push_back(make(mapped));
      if (uses[i] > 1) shared_[map.back()] = true;
    }
    return extract(map.back());
  }

 private:
  // ---- nodes ----

  const ScalarNode& at(int id) const { return nodes_[id]; }
  const ScalarNode& arg(int id, int position) const { return nodes_[nodes_[id].args[position]]; }
  bool is(int id, ScalarOp op) const { return nodes_[id].op == op; }
  std::optional<double> constant_of(int id) const {
    const ScalarNode& node = nodes_[id];
    if (node.op != ScalarOp::kConstant || !is_float(node.dtype)) return std::nullopt;
    return node.f64;
  }
  bool is_constant(int id, double value) const { return constant_of(id) == value; }
  /// `op(p, constant)`: p and the constant.
  std::optional<std::pair<int, double>> with_constant(int id, ScalarOp op) const {
    if (!is(id, op)) return std::nullopt;
    const std::optional<double> constant = constant_of(nodes_[id].args[1]);
    if (!constant) return std::nullopt;
    return std::pair{nodes_[id].args[0], *constant};
  }

  /// The node, unless an equal one exists already.
  int add(const ScalarNode& node) {
    const Key key{node.op, node.dtype, node.args, node.index, std::bit_cast<int64_t>(node.f64),
                  node.i64};
    const auto [entry, is_new] = ids_.try_emplace(key, static_cast<int>(nodes_.size()));
    if (is_new) {
      nodes_.push_back(node);
      shared_.push_back(false);
      add_range(node);
      int depth = 0;
      for (int argument : node.args) {
        if (argument >= 0) depth = std::max(depth, depths_[argument] + 1);
      }
      depths_.push_back(depth);
    }
    return entry->second;
  }
  void add_range(const ScalarNode& node) {
    const ValueRange range = unrounded_range(nodes_, ranges_, operands_);
    // The largest number and a little more is rounded to the largest number.
    const double largest = 1.0000001 * float_format(node.dtype).largest;
    const bool overflows = is_float(node.dtype) && range.most() > largest;
    ranges_.push_back(within_type(range, node.dtype));
    overflows_.push_back(overflows);
  }
  /// The order of a sum's and a product's arguments: the deeper one first, whoever wrote it how.
  bool comes_before(int a, int b) const {
    if (depths_[a] != depths_[b]) return depths_[a] > depths_[b];
    if (is(a, ScalarOp::kOperand) && is(b, ScalarOp::kOperand)) return at(a).index < at(b).index;
    return a < b;
  }

 public:  // of this, and for functions that are written in scalar operations
  int constant(double value, DType dtype) {
    ScalarNode node;
    node.dtype = dtype;
    node.f64 = rounded(value, dtype);
    return add(node);
  }
  int apply(ScalarOp op, int a, int b = -1) {
    ScalarNode node;
    node.op = op;
    node.dtype = nodes_[a].dtype;
    node.args = {a, b, -1};
    return add(node);
  }

 private:
  // ---- rules ----

  int make(const ScalarNode& node) {
    const auto [a, b, c] = node.args;
    if (node.op == ScalarOp::kCast && at(a).dtype == node.dtype) return a;
    if (node.op == ScalarOp::kSelect && at(a).op == ScalarOp::kConstant) return at(a).i64 ? b : c;
    if (!is_float(node.dtype) || (a >= 0 && at(a).dtype != node.dtype)) return add(node);
    switch (node.op) {
      case ScalarOp::kConstant:
        return constant(node.f64, node.dtype);
      case ScalarOp::kAdd:
        return make_add(a, b);
      case ScalarOp::kSub:
        return make_sub(a, b);
      case ScalarOp::kMul:
        return make_mul(a, b);
      case ScalarOp::kDiv:
        return make_div(a, b);
      case ScalarOp::kPow:
        return make_pow(a, b);
      case ScalarOp::kMin:
      case ScalarOp::kMax:
        return make_clip(node.op, a, b);
      case ScalarOp::kNeg:
        return make_mul_constant(a, -1);
      case ScalarOp::kReciprocal:
        return make_reciprocal(a);
      case ScalarOp::kLog:
        return make_log(a);
      case ScalarOp::kSqrt:
        if (const auto value = constant_of(a)) return constant(std::sqrt(*value), node.dtype);
        return add(node);
      default:
        return add(node);
    }
  }

  int make_add(int a, int b) {
    if (constant_of(a)) std::swap(a, b);
    if (const auto value = constant_of(b)) return make_add_constant(a, *value);
    if (const auto factored = factor_out(a, b)) return *factored;
    if (const auto factored = factor_out(b, a)) return *factored;
    for (const auto& [p, q] : {std::pair{a, b}, std::pair{b, a}}) {
      if (const auto moved = addend_moved_out(p, q)) return *moved;
    }
    if (const auto negated = with_constant(b, ScalarOp::kMul); negated && negated->second == -1) {
      return apply(ScalarOp::kSub, a, negated->first);
    }
    if (comes_before(b, a)) std::swap(a, b);
    return apply(ScalarOp::kAdd, a, b);
  }

  /// (p + d) + q as (p + q) + d, so that constant addends meet at the end of a sum.
  std::optional<int> addend_moved_out(int a, int q) {
    const auto inner = with_constant(a, ScalarOp::kAdd);
    if (!inner || shared_[a] || demand_.digits) return std::nullopt;
    if (!ranges_[inner->first].is_rounded || !ranges_[q].is_rounded) return std::nullopt;
    return make_add_constant(make_add(inner->first, q), inner->second);
  }

  int make_add_constant(int a, double c) {
    const DType dtype = at(a).dtype;
    if (const auto value = constant_of(a)) return constant(*value + c, dtype);
    if (c == 0 && (std::signbit(c) || !demand_.sign_of_zero)) return a;
    if (const auto inner = with_constant(a, ScalarOp::kAdd); inner && !shared_[a]) {
      const auto merged = merged_addend(ranges_[inner->first], inner->second, c, dtype, demand_);
      if (merged) return make_add_constant(inner->first, *merged);
    }
    // 1 + tanh(x) = 2 sigmoid(2 x), which does not cancel where tanh is near -1.
    if (c == 1 && is(a, ScalarOp::kTanh) && !demand_.digits) {
      return make_mul_constant(apply(ScalarOp::kSigmoid, make_mul_constant(at(a).args[0], 2)), 2);
    }
    return apply(ScalarOp::kAdd, a, constant(c, dtype));
  }

  /// x + (x * p) * c with p = q * q, c > 0: x * (p * c + 1). Of one sign, as p is infinite where x
  /// q q is.
  std::optional<int> factor_out(int x, int sum) {
    const auto scaled = with_constant(sum, ScalarOp::kMul);
    if (!scaled || !is(scaled->first, ScalarOp::kMul) || demand_.digits) return std::nullopt;
    const double c = scaled->second;
    if (!(c > 0 && c <= 1) || 1 / c > far_from_end(at(x).dtype)) return std::nullopt;
    const std::array<int, 3> factors = at(scaled->first).args;
    for (int position : {0, 1}) {
      const int p = factors[1 - position];
      if (factors[position] != x || !is(p, ScalarOp::kMul) || at(p).args[0] != at(p).args[1]) {
        continue;
      }
      return make_mul(x, make_add_constant(make_mul_constant(p, c), 1));
    }
    return std::nullopt;
  }

  int make_sub(int a, int b) {
    if (const auto value = constant_of(b)) return make_add_constant(a, -*value);
    if (const auto value = constant_of(a)) {
      return make_add_constant(make_mul_constant(b, -1), *value);
    }
    return apply(ScalarOp::kSub, a, b);
  }

  /// Constant factors stay with their value, which may be what keeps the product in range, unless
  /// the other one takes them for nothing.
  int make_mul(int a, int b) {
    if (constant_of(a)) std::swap(a, b);
    if (const auto value = constant_of(b)) return make_mul_constant(a, *value);
    for (const auto& [p, q] : {std::pair{a, b}, std::pair{b, a}}) {
      const auto scaled = with_constant(q, ScalarOp::kMul);
      if (!scaled || shared_[q]) continue;
      if (const auto absorbed = absorb_into_product(p, scaled->first, scaled->second)) {
        return *absorbed;
      }
    }
    return product(a, b);
  }

  int product(int p, int q) {
    if (comes_before(q, p)) std::swap(p, q);
    return apply(ScalarOp::kMul, p, q);
  }

  int make_mul_constant(int a, double c) {
    if (const auto value = constant_of(a)) return constant(*value * c, at(a).dtype);
    if (c == 1) return a;
    if (!std::isfinite(c) || c == 0) {
      return apply(ScalarOp::kMul, a, constant(c, at(a).dtype));
    }
    if (const auto absorbed = absorb_factor(a, c)) return *absorbed;
    return apply(ScalarOp::kMul, a, constant(c, at(a).dtype));
  }

  /// a * c, if that takes no more operations than a alone; a * c for a = p + d takes one more, but
  /// leaves p * c + cd, the form of every affine function.
  std::optional<int> absorb_factor(int a, double c) {
    if (shared_[a] && c != -1) return std::nullopt;
    const DType dtype = at(a).dtype;
    if (const auto inner = with_constant(a, ScalarOp::kMul)) {
      const auto merged = merged_factor(inner->second, c, dtype, demand_);
      return merged ? std::optional(make_mul_constant(inner->first, *merged)) : std::nullopt;
    }
    if (const auto inner = with_constant(a, ScalarOp::kAdd)) {
      const auto [p, d] = *inner;
      if (!may_distribute(ranges_[p], d, c, dtype, demand_)) return std::nullopt;
      return make_add_constant(make_mul_constant(p, c), d * c);
    }
    if (is(a, ScalarOp::kMul)) {
      const auto [p, q, unused] = at(a).args;
      if (const auto absorbed = absorb_into_product(p, q, c)) return absorbed;
      return absorb_into_product(q, p, c);
    }
    return std::nullopt;
  }

  /// p * q * c as (p * c) * q, where p takes the factor for nothing, and p * c neither over- nor
  /// underflows (but where q makes the result as small).
  std::optional<int> absorb_into_product(int p, int q, double c) {
    const DType dtype = at(p).dtype;
    const double factor = std::fabs(c);
    if (factor != 1) {
      const double hidden = std::max(factor, 1 / factor);
      if (demand_.digits || !std::isfinite(c) || c == 0 || hidden > far_from_end(dtype)) {
        return std::nullopt;
      }
    }
    const auto absorbed = absorb_factor(p, c);
    if (!absorbed) return std::nullopt;
    // What the model computes already needs no proof; where one factor is the other one scaled, a
    // product that loses digits is next to nothing.
    const auto scaled = with_constant(p, ScalarOp::kMul);
    const bool is_known = factor == 1 || (scaled && *absorbed == scaled->first);
    const bool fits = is_known || (scaled && factor < 1) || !may_overflow(*absorbed);
    const bool keeps_digits = is_known || (scaled && (factor > 1 || q == scaled->first)) ||
                              ranges_[*absorbed].least >= float_format(dtype).smallest ||
                              ranges_[q].most() <= 1;
    if (!fits || !keeps_digits) return std::nullopt;
    return product(*absorbed, q);
  }
  /// Whether the value, or what constants are multiplied with or added to for it, may.
  bool may_overflow(int id) const {
    while (with_constant(id, ScalarOp::kMul) || with_constant(id, ScalarOp::kAdd)) {
      if (overflows_[id]) return true;
      id = at(id).args[0];
    }
    return false;
  }

  int make_div(int a, int b) {
    if (const auto divisor = constant_of(b)) {
      if (const auto value = constant_of(a)) return constant(*value / *divisor, at(a).dtype);
      const auto inverse = inverse_factor(*divisor, at(a).dtype, demand_);
      return inverse ? make_mul_constant(a, *inverse) : apply(ScalarOp::kDiv, a, b);
    }
    if (is_one_plus_exp(b)) {
      // x / (1 + exp(-y))
      const int y = make_mul_constant(exponent_of(b), -1);
      return make_mul(a, apply(ScalarOp::kSigmoid, y));
    }
    if (is_constant(a, 1)) return make_reciprocal(b);
    return apply(ScalarOp::kDiv, a, b);
  }

  int make_reciprocal(int a) {
    if (const auto value = constant_of(a)) return constant(1 / *value, at(a).dtype);
    if (is(a, ScalarOp::kSqrt) && !demand_.digits) {
      return apply(ScalarOp::kRsqrt, at(a).args[0]);
    }
    if (is_one_plus_exp(a)) {
      return apply(ScalarOp::kSigmoid, make_mul_constant(exponent_of(a), -1));
    }
    return apply(ScalarOp::kReciprocal, a);
  }

  bool is_one_plus_exp(int id) const {
    const auto sum = with_constant(id, ScalarOp::kAdd);
    return sum && sum->second == 1 && is(sum->first, ScalarOp::kExp);
  }
  int exponent_of(int one_plus_exp) const { return arg(one_plus_exp, 0).args[0]; }

  /// Powers of -0 and -infinity are those of their magnitudes; roots are not.
  int without_negative_ends(int a, bool inverted) {
    const DType dtype = at(a).dtype;
    if (ranges_[a].low < 0) {
      ScalarNode is_lowest;
      is_lowest.op = ScalarOp::kEqual;
      is_lowest.dtype = DType::kBool;
      is_lowest.args = {a, constant(-HUGE_VAL, dtype), -1};
      ScalarNode magnitude;
      magnitude.op = ScalarOp::kSelect;
      magnitude.dtype = dtype;
      magnitude.args = {add(is_lowest), constant(HUGE_VAL, dtype), a};
      a = add(magnitude);
    }
    const bool sign_matters = inverted || demand_.sign_of_zero;
    if (ranges_[a].low > 0 || !sign_matters) return a;
    return apply(ScalarOp::kAdd, a, constant(0, dtype));
  }

  /// Softplus as models write it overflows, and rounds what is small away beside the 1.
  int make_log(int a) {
    const DType dtype = at(a).dtype;
    if (is_one_plus_exp(a) && !demand_.digits) {
      return graph::softplus(*this, exponent_of(a), dtype);
    }
    if (is(a, ScalarOp::kSigmoid) && !demand_.digits) {
      const int negated = make_mul_constant(at(a).args[0], -1);
      return make_mul_constant(graph::softplus(*this, negated, dtype), -1);
    }
    return apply(ScalarOp::kLog, a);
  }

  int make_pow(int a, int b) {
    const std::optional<double> exponent = constant_of(b);
    if (!exponent) return apply(ScalarOp::kPow, a, b);
    if (*exponent == 0) return constant(1, at(a).dtype);
    if (*exponent == 1) return a;
    if (*exponent == 2) return make_mul(a, a);
    if (*exponent == 3) return make_mul(a, make_mul(a, a));
    if (*exponent == -1) return make_reciprocal(a);
    if (*exponent == 0.5) return apply(ScalarOp::kSqrt, without_negative_ends(a, false));
    if (*exponent == -0.5) return apply(ScalarOp::kRsqrt, without_negative_ends(a, true));
    if (*exponent == 0.25 || *exponent == 0.75 || *exponent == 1.5) {
      a = without_negative_ends(a, false);
      const int root = apply(ScalarOp::kSqrt, a);
      if (*exponent == 1.5) return make_mul(a, root);
      const int fourth = apply(ScalarOp::kSqrt, root);
      return *exponent == 0.25 ? fourth : make_mul(root, fourth);
    }
    return apply(ScalarOp::kPow, a, b);
  }

  int make_clip(ScalarOp op, int a, int b) {
    if (constant_of(a)) std::swap(a, b);
    const std::optional<double> bound = constant_of(b);
    if (!bound || std::isnan(*bound)) return apply(op, a, b);
    const bool is_max = op == ScalarOp::kMax;
    if (const auto value = constant_of(a); value && !std::isnan(*value)) {
      return constant(is_max ? std::max(*value, *bound) : std::min(*value, *bound), at(a).dtype);
    }
    if (*bound == (is_max ? -HUGE_VAL : HUGE_VAL)) return a;
    if (const auto inner = with_constant(a, op)) {
      const double both =
          is_max ? std::max(inner->second, *bound) : std::min(inner->second, *bound);
      return make_clip(op, inner->first, constant(both, at(a).dtype));
    }
    if (const auto scaled = clip_before_scaling(op, a, *bound)) return *scaled;
    // max(min(x, high), low) = min(max(x, low), high) for low <= high.
    if (is_max) {
      const auto inner = with_constant(a, ScalarOp::kMin);
      if (inner && *bound <= inner->second) {
        return apply(ScalarOp::kMin, make_clip(op, inner->first, b), at(a).args[1]);
      }
    }
    return apply(op, a, b);
  }

  /// The clip of p * c + d as that of p + d/c, times c, where the bound stays what it is: near its
  /// zero p + d/c is exact, and p * c + d has lost most of its digits.
  std::optional<int> clip_before_scaling(ScalarOp op, int a, double bound) {
    const auto sum = with_constant(a, ScalarOp::kAdd);
    const auto scaled = with_constant(sum ? sum->first : a, ScalarOp::kMul);
    if (!scaled || !(scaled->second > 0) || shared_[a]) return std::nullopt;
    const bool of_clip = is(scaled->first, ScalarOp::kMin) || is(scaled->first, ScalarOp::kMax);
    if (!sum && !of_clip) return std::nullopt;
    const DType dtype = at(a).dtype;
    const double factor = scaled->second, before = rounded(bound / factor, dtype);
    const double addend = sum ? sum->second : 0;
    if (rounded(before * factor, dtype) != bound ||
        !may_shift_first(factor, addend, dtype, demand_)) {
      return std::nullopt;
    }
    const int shifted = sum ? make_add_constant(scaled->first, addend / factor) : scaled->first;
    return make_mul_constant(make_clip(op, shifted, constant(before, dtype)), factor);
  }

  // ---- result ----

  /// What `result` depends on, each node after its arguments and as late as that.
  ScalarBody extract(int result) const {
    ScalarBody body;
    std::vector<int> map(nodes_.size(), -1);
    std::vector<int> pending = {result};
    while (!pending.empty()) {
      const int id = pending.back();
      int missing = -1;
      for (int argument : nodes_[id].args) {
        if (argument >= 0 && map[argument] < 0 && missing < 0) missing = argument;
      }
      if (missing >= 0) {
        pending.push_back(missing);
        continue;
      }
      pending.pop_back();
      if (map[id] >= 0) continue;
      map[id] = static_cast<int>(body.nodes.size());
      body.nodes.push_back(nodes_[id]);
      for (int& argument : body.nodes.back().args) {
        if (argument >= 0) argument = map[argument];
      }
    }
    return body;
  }

  using Key = std::tuple<ScalarOp, DType, std::array<int, 3>, int, int64_t, int64_t>;
  const ScalarBody& body_;
  const std::vector<ValueRange>& operands_;
  const std::vector<Demand> demands_;  // of body_'s nodes
  Demand demand_;                      // of the node at hand
  std::vector<ScalarNode> nodes_;
  std::vector<ValueRange> ranges_;  // of each node
  std::vector<bool> overflows_;     // whether finite arguments may give no finite value
  /// Whether the model uses the value several times. It stays, so that nothing is gained by another
  /// way to what is made of it; and what is made of one rounded value fits together.
  std::vector<bool> shared_;
  std::vector<int> depths_;  // of each node, 0 for operands and constants
  std::map<Key, int> ids_;
};

}  // namespace

ScalarBody simplify_body(const ScalarBody& body, const Demand& of_result,
                         const std::vector<ValueRange>& operands) {
  return Simplifier(body, of_result, operands).run();
}

}  // namespace corf::rewrite
