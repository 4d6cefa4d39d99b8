#include "rewrite/simplify_body.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace corf::rewrite {
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;

namespace {

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

/// Builds a body out of simplified nodes. Each `make_...` returns a node with the value asked for;
/// arguments are nodes that it has returned.
class Simplifier {
 public:
  explicit Simplifier(const ScalarBody& body) : body_(body) {}

  ScalarBody run() {
    std::vector<int> map;
    for (const ScalarNode& node : body_.nodes) {
      ScalarNode mapped = node;
      for (int& arg : mapped.args) {
        if (arg >= 0) arg = map[arg];
      }
      map.push_back(make(mapped));
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
      int depth = 0;
      for (int argument : node.args) {
        if (argument >= 0) depth = std::max(depth, depths_[argument] + 1);
      }
      depths_.push_back(depth);
    }
    return entry->second;
  }
  /// The order of a sum's and a product's arguments: the deeper one first, whoever wrote it how.
  bool comes_before(int a, int b) const {
    if (depths_[a] != depths_[b]) return depths_[a] > depths_[b];
    if (is(a, ScalarOp::kOperand) && is(b, ScalarOp::kOperand)) return at(a).index < at(b).index;
    return a < b;
  }
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
    // Constant addends move to the end of the sum.
    if (const auto inner = with_constant(a, ScalarOp::kAdd)) {
      return make_add_constant(make_add(inner->first, b), inner->second);
    }
    if (const auto inner = with_constant(b, ScalarOp::kAdd)) {
      return make_add_constant(make_add(a, inner->first), inner->second);
    }
    if (const auto negated = with_constant(b, ScalarOp::kMul); negated && negated->second == -1) {
      return apply(ScalarOp::kSub, a, negated->first);
    }
    if (comes_before(b, a)) std::swap(a, b);
    return apply(ScalarOp::kAdd, a, b);
  }

  int make_add_constant(int a, double c) {
    const DType dtype = at(a).dtype;
    if (const auto value = constant_of(a)) return constant(*value + c, dtype);
    if (c == 0) return a;
    if (const auto inner = with_constant(a, ScalarOp::kAdd)) {
      return make_add_constant(inner->first, inner->second + c);
    }
    // 1 + tanh(x) = 2 sigmoid(2 x), which does not cancel where tanh is near -1.
    if (c == 1 && is(a, ScalarOp::kTanh)) {
      return make_mul_constant(apply(ScalarOp::kSigmoid, make_mul_constant(at(a).args[0], 2)), 2);
    }
    return apply(ScalarOp::kAdd, a, constant(c, dtype));
  }

  /// x + (x * p) * c, p a product: x * (p * c + 1).
  std::optional<int> factor_out(int x, int sum) {
    const auto scaled = with_constant(sum, ScalarOp::kMul);
    if (!scaled || !is(scaled->first, ScalarOp::kMul)) return std::nullopt;
    const std::array<int, 3> factors = at(scaled->first).args;
    for (int position : {0, 1}) {
      if (factors[position] != x) continue;
      const int rest = make_mul_constant(factors[1 - position], scaled->second);
      return make_mul(x, make_add_constant(rest, 1));
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

  int make_mul(int a, int b) {
    if (constant_of(a)) std::swap(a, b);
    if (const auto value = constant_of(b)) return make_mul_constant(a, *value);
    // Constant factors move out of the product.
    if (const auto inner = with_constant(a, ScalarOp::kMul)) {
      return make_mul_constant(make_mul(inner->first, b), inner->second);
    }
    if (const auto inner = with_constant(b, ScalarOp::kMul)) {
      return make_mul_constant(make_mul(a, inner->first), inner->second);
    }
    if (comes_before(b, a)) std::swap(a, b);
    return apply(ScalarOp::kMul, a, b);
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
    if (const auto inner = with_constant(a, ScalarOp::kMul)) {
      return make_mul_constant(inner->first, inner->second * c);
    }
    if (const auto inner = with_constant(a, ScalarOp::kAdd)) {
      return make_add_constant(make_mul_constant(inner->first, c), inner->second * c);
    }
    if (is(a, ScalarOp::kMul)) {
      const auto [p, q, unused] = at(a).args;
      if (const auto absorbed = absorb_factor(p, c)) return make_product(*absorbed, q);
      if (const auto absorbed = absorb_factor(q, c)) return make_product(p, *absorbed);
    }
    return std::nullopt;
  }

  /// p * q where a constant factor has just been absorbed by one of them, and must not come out.
  int make_product(int p, int q) {
    if (constant_of(p) || constant_of(q)) return make_mul(p, q);
    if (with_constant(p, ScalarOp::kMul) || with_constant(q, ScalarOp::kMul)) {
      return make_mul(p, q);
    }
    if (comes_before(q, p)) std::swap(p, q);
    return apply(ScalarOp::kMul, p, q);
  }

  int make_div(int a, int b) {
    if (const auto divisor = constant_of(b)) {
      const double inverse = 1 / *divisor;
      if (std::isnormal(*divisor) && std::isnormal(static_cast<float>(inverse))) {
        return make_mul_constant(a, inverse);
      }
      return apply(ScalarOp::kDiv, a, b);
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
    if (is(a, ScalarOp::kSqrt)) return apply(ScalarOp::kRsqrt, at(a).args[0]);
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

  int make_pow(int a, int b) {
    const std::optional<double> exponent = constant_of(b);
    if (!exponent) return apply(ScalarOp::kPow, a, b);
    if (*exponent == 0) return constant(1, at(a).dtype);
    if (*exponent == 1) return a;
    if (*exponent == 2) return make_mul(a, a);
    if (*exponent == 3) return make_mul(a, make_mul(a, a));
    if (*exponent == -1) return make_reciprocal(a);
    if (*exponent == 0.5) return apply(ScalarOp::kSqrt, a);
    if (*exponent == -0.5) return apply(ScalarOp::kRsqrt, a);
    if (*exponent == 0.25 || *exponent == 0.75 || *exponent == 1.5) {
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
    if (!scaled || !(scaled->second > 0)) return std::nullopt;
    const bool of_clip = is(scaled->first, ScalarOp::kMin) || is(scaled->first, ScalarOp::kMax);
    if (!sum && !of_clip) return std::nullopt;
    const DType dtype = at(a).dtype;
    const double factor = scaled->second, before = bound / factor;
    const bool exact =
        dtype == DType::kF32
            ? static_cast<float>(before) * static_cast<float>(factor) == static_cast<float>(bound)
            : before * factor == bound;
    const double shift = sum ? sum->second / factor : 0;
    if (!exact) return std::nullopt;
    const int shifted = sum ? make_add_constant(scaled->first, shift) : scaled->first;
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
  std::vector<ScalarNode> nodes_;
  std::vector<int> depths_;  // of each node, 0 for operands and constants
  std::map<Key, int> ids_;
};

}  // namespace

ScalarBody simplify_body(const ScalarBody& body) { return Simplifier(body).run(); }

}  // namespace corf::rewrite
