#include "tests/driver/random_model.h"

#include <cmath>

#include "graph/operators.h"

namespace corf::test {

using graph::Combiner;
using graph::ScalarOp;
using graph::ValueId;
using index::Expr;

RandomModel::RandomModel(uint32_t seed) : random_(seed) {
  if (chance(0.35)) dtype_ = chance(0.6) ? DType::kF16 : DType::kBF16;
  const int64_t num_inputs = pick(1, 2);
  Shape extents = {pick(1, 3), pick(1, 20), pick(1, 9), pick(1, 9)};
  if (chance(0.3)) extents.erase(extents.begin());
  if (chance(0.1)) extents[pick(0, int64_t(extents.size()) - 1)] = 0;
  for (int64_t i = 0; i < num_inputs; ++i) {
    Shape one = extents;
    for (int64_t& extent : one) {
      if (i > 0 && chance(0.3)) extent = 1;
    }
    values_.push_back(graph_.add_input(name("x"), dtype_, one));
  }
  const int64_t layers = pick(2, 9);
  for (int64_t i = 0; i < layers; ++i) {
    const bool last = chance(0.75);
    const ValueId x = last ? values_.back() : values_[pick(0, int64_t(values_.size()) - 1)];
    values_.push_back(layer(x));
  }
  const auto is_input = [&](ValueId value) {
    return std::holds_alternative<graph::Input>(graph_.producer(value).op);
  };
  if (is_input(values_.back())) values_.push_back(activation(values_.back()));
  graph_.outputs.push_back(values_.back());
  const ValueId another = values_[pick(0, int64_t(values_.size()) - 1)];
  if (!is_input(another) && another != values_.back()) graph_.outputs.push_back(another);
  for (size_t i = 0; i < graph_.outputs.size(); ++i) {
    graph_.output_names.push_back("y" + std::to_string(i));
  }
}

std::vector<Tensor> RandomModel::inputs() {
  std::vector<Tensor> result;
  for (ValueId value : graph_.inputs) {
    Tensor tensor(dtype_, shape(value));
    const bool whole = chance(0.4);
    const double offset = chance(0.1) ? 100 : 0;
    std::normal_distribution<double> normal(offset, 2);
    for (int64_t i = 0; i < tensor.num_elems(); ++i) {
      tensor.set_f64(i, whole ? static_cast<double>(pick(-60, 60)) : normal(random_));
    }
    result.push_back(std::move(tensor));
  }
  return result;
}

int64_t RandomModel::pick(int64_t lo, int64_t hi) {
  return std::uniform_int_distribution<int64_t>(lo, hi)(random_);
}

bool RandomModel::chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

double RandomModel::number() {
  constexpr double kNumbers[] = {0.5,  2,    3,    6,       41,      1.0 / 3, 0.1,  255,
                                 1e-3, 1e3,  1e-5, 1e-20,   1e20,    1e-30,   -1,   -7,
                                 1024, 1e-6, 12.5, 0.44715, 1.41421, 8,       1e10, 65504};
  return kNumbers[pick(0, int64_t(std::size(kNumbers)) - 1)];
}

std::string RandomModel::name(const std::string& kind) {
  return kind + "_" + std::to_string(count_++);
}

ValueId RandomModel::constant(Shape extents) {
  Tensor tensor(dtype_, std::move(extents));
  std::normal_distribution<double> normal;
  for (int64_t i = 0; i < tensor.num_elems(); ++i) tensor.set_f64(i, normal(random_));
  return graph_.add_constant(name("c"), std::move(tensor));
}

ValueId RandomModel::unary(ValueId x, const std::function<int(Body&, int)>& body) {
  return graph::elementwise(
      graph_, name("unary"), {x},
      [&](Body& scalar, const std::vector<int>& in) { return body(scalar, in[0]); });
}

ValueId RandomModel::binary(ScalarOp op, ValueId a, ValueId b) {
  return graph::elementwise(
      graph_, name(std::string(graph::to_string(op))), {a, b},
      [&](Body& body, const std::vector<int>& in) { return body.apply(op, in[0], in[1]); });
}

ValueId RandomModel::with_constant(ScalarOp op, ValueId x, double value) {
  Tensor tensor(dtype_, {});
  tensor.set_f64(0, value);
  return binary(op, x, graph_.add_constant(name("c"), std::move(tensor)));
}

ValueId RandomModel::layer(ValueId x) {
  switch (pick(0, 10)) {
    case 0:
      return activation(x);
    case 1:
    case 2:
      return scaled(x);
    case 3:
      return rounded(x);
    case 4:
      return branch(x);
    case 5:
      return repeated(x);
    case 6:
      return reduced(x);
    case 7:
      return normalized(x);
    case 8:
    case 9:
      return product(x);
    default:
      return viewed(x);
  }
}

ValueId RandomModel::activation(ValueId x) {
  constexpr ScalarOp kOps[] = {ScalarOp::kTanh, ScalarOp::kSigmoid, ScalarOp::kExp, ScalarOp::kErf,
                               ScalarOp::kAbs,  ScalarOp::kNeg,     ScalarOp::kSqrt};
  const ScalarOp op = kOps[pick(0, int64_t(std::size(kOps)) - 1)];
  return unary(x, [&](Body& body, int value) {
    if (op == ScalarOp::kSqrt) value = body.apply(ScalarOp::kAbs, value);
    if (op == ScalarOp::kExp) {
      value = body.apply(ScalarOp::kMin, value, body.constant(10, dtype_));
    }
    return body.apply(op, value);
  });
}

/// x * c, x / c, x + c, c / x and so on, several of them.
ValueId RandomModel::scaled(ValueId x) {
  const int64_t steps = pick(1, 3);
  for (int64_t i = 0; i < steps; ++i) {
    constexpr ScalarOp kOps[] = {ScalarOp::kMul, ScalarOp::kDiv, ScalarOp::kAdd,
                                 ScalarOp::kSub, ScalarOp::kMax, ScalarOp::kMin};
    x = with_constant(kOps[pick(0, 5)], x, number());
  }
  return x;
}

/// Rounded to whole numbers, perhaps through integers and an integer's division.
ValueId RandomModel::rounded(ValueId x) {
  if (chance(0.5)) x = with_constant(ScalarOp::kDiv, x, static_cast<double>(pick(2, 50)));
  constexpr ScalarOp kOps[] = {ScalarOp::kFloor, ScalarOp::kCeil, ScalarOp::kRoundEven};
  const ScalarOp op = kOps[pick(0, 2)];
  const bool through_integers = chance(0.3);
  const int64_t divisor = pick(1, 9);
  return unary(x, [&](Body& body, int value) {
    const double most = 2000;  // exact in each type but bfloat16
    value = body.apply(ScalarOp::kMin, value, body.constant(most, dtype_));
    value = body.apply(ScalarOp::kMax, value, body.constant(-most, dtype_));
    value = body.apply(op, value);
    if (!through_integers) return value;
    value = body.cast(value, DType::kI32);
    value = body.apply(ScalarOp::kDiv, value, body.constant_i64(divisor, DType::kI32));
    return body.cast(value, dtype_);
  });
}

/// Two ways from x that meet again, or x with something earlier of a shape that fits.
ValueId RandomModel::branch(ValueId x) {
  std::vector<ValueId> fitting = {scaled(x), activation(x)};
  for (ValueId value : values_) {
    const Shape &a = shape(value), &b = shape(x);
    bool fits = a.size() == b.size();
    for (size_t d = 0; fits && d < a.size(); ++d) fits = a[d] == b[d] || a[d] == 1;
    if (fits) fitting.push_back(value);
  }
  const ValueId other = fitting[pick(0, int64_t(fitting.size()) - 1)];
  constexpr ScalarOp kOps[] = {ScalarOp::kAdd, ScalarOp::kSub, ScalarOp::kMul, ScalarOp::kMax};
  return binary(kOps[pick(0, 3)], chance(0.5) ? x : activation(x), other);
}

ValueId RandomModel::repeated(ValueId x) {
  const Shape in = shape(x);
  const auto rank = static_cast<int>(in.size());
  if (chance(0.4)) {
    std::vector<int> axes;
    Shape out = in;
    for (int d = 0; d < rank; ++d) {
      if (!chance(0.5)) continue;
      axes.push_back(d);
      out[d] = chance(0.05) ? 0 : pick(1, 7);
    }
    if (axes.empty()) return x;
    ValueId one = graph::reduce(graph_, name("one"), x, Combiner::kSum, axes, true);
    return graph_.add_view(name("expand"), graph::Broadcast{}, {one}, out);
  }
  graph::Compute repeat;
  graph::Operand operand;
  for (int d = 0; d < rank; ++d) {
    const Expr at = Expr::variable(d), last(in[d] - 1);
    const int64_t times = chance(0.5) ? pick(2, 4) : 1;
    const int64_t kind = in[d] == 0 || times == 1 ? 0 : pick(1, 3);
    int64_t to = in[d];
    Expr from = at;
    if (kind == 1) to = in[d] * times, from = index::floor_div(at, Expr(times));
    if (kind == 2) to = in[d] * times, from = index::mod(at, Expr(in[d]));
    if (kind == 3) to = in[d] + times, from = index::min(index::max(at - Expr(1), Expr(0)), last);
    operand.map.exprs.push_back(from);
    repeat.space.axes.push_back({"d" + std::to_string(d), to});
  }
  repeat.operands.push_back(std::move(operand));
  repeat.body.operand(0, dtype_);
  return graph_.add_compute(name("repeat"), std::move(repeat), {x});
}

ValueId RandomModel::reduced(ValueId x) {
  const Shape in = shape(x);
  std::vector<int> axes;
  int64_t count = 1;
  for (int d = 0; d < static_cast<int>(in.size()); ++d) {
    if (!chance(0.5)) continue;
    axes.push_back(d);
    count *= in[d];
  }
  if (axes.empty()) return x;
  constexpr Combiner kCombiners[] = {Combiner::kSum, Combiner::kSum, Combiner::kMin, Combiner::kMax,
                                     Combiner::kProduct};
  const Combiner combiner = kCombiners[pick(0, 4)];
  if (combiner == Combiner::kProduct) {
    x = unary(x, [&](Body& body, int value) { return body.apply(ScalarOp::kTanh, value); });
  }
  x = graph::reduce(graph_, name("reduce"), x, combiner, axes, true);
  const bool mean = combiner == Combiner::kSum && count > 0 && chance(0.5);
  return mean ? with_constant(ScalarOp::kDiv, x, static_cast<double>(count)) : x;
}

/// Softmax, or the standard deviation's norm, along one axis.
ValueId RandomModel::normalized(ValueId x) {
  const Shape in = shape(x);
  const auto axis = static_cast<int>(pick(0, int64_t(in.size()) - 1));
  if (in[axis] == 0) return x;
  if (chance(0.5)) {
    const ValueId most = graph::reduce(graph_, name("most"), x, Combiner::kMax, {axis}, true);
    const ValueId shifted = binary(ScalarOp::kSub, x, most);
    const ValueId powers =
        unary(shifted, [](Body& body, int value) { return body.apply(ScalarOp::kExp, value); });
    const ValueId sum = graph::reduce(graph_, name("sum"), powers, Combiner::kSum, {axis}, true);
    return binary(ScalarOp::kDiv, powers, sum);
  }
  const auto mean = [&](ValueId value) {
    return with_constant(ScalarOp::kDiv,
                         graph::reduce(graph_, name("sum"), value, Combiner::kSum, {axis}, true),
                         static_cast<double>(in[axis]));
  };
  const ValueId centred = binary(ScalarOp::kSub, x, mean(x));
  const ValueId variance = mean(binary(ScalarOp::kMul, centred, centred));
  const ValueId shifted = with_constant(ScalarOp::kAdd, variance, 1e-3);
  const ValueId deviation =
      unary(shifted, [](Body& body, int value) { return body.apply(ScalarOp::kSqrt, value); });
  return binary(ScalarOp::kDiv, centred, deviation);
}

/// With constants along the last axis, or a convolution.
ValueId RandomModel::product(ValueId x) {
  const Shape in = shape(x);
  if (in.size() == 4 && chance(0.5)) {
    const int64_t kernel = pick(1, 3);
    graph::Window window{{kernel, kernel}, {pick(1, 2), 1}, {1, 1}, {1, 1}, {kernel, kernel}};
    return graph::conv(graph_, name("conv"), x, constant({pick(1, 24), in[1], kernel, kernel}),
                       window, 1);
  }
  return graph::matmul(graph_, name("matmul"), x, constant({in.back(), pick(1, 24)}));
}

ValueId RandomModel::viewed(ValueId x) {
  const Shape in = shape(x);
  const auto rank = static_cast<int>(in.size());
  Shape out = in;
  const auto axis = static_cast<int>(pick(0, rank - 1));
  switch (pick(0, 3)) {
    case 0: {
      graph::Transpose transpose;
      for (int d = 0; d < rank; ++d) transpose.permutation.push_back(d);
      std::shuffle(transpose.permutation.begin(), transpose.permutation.end(), random_);
      for (int d = 0; d < rank; ++d) out[d] = in[transpose.permutation[d]];
      return graph_.add_view(name("transpose"), transpose, {x}, out);
    }
    case 1: {
      graph::Slice slice{std::vector<int64_t>(rank, 0), std::vector<int64_t>(rank, 1)};
      slice.starts[axis] = pick(0, in[axis]);
      out[axis] = in[axis] - slice.starts[axis];
      return graph_.add_view(name("slice"), slice, {x}, out);
    }
    case 2: {
      graph::Pad pad{std::vector<int64_t>(rank, 0), chance(0.5) ? 0.0 : 1.5};
      pad.before[axis] = pick(0, 2);
      out[axis] = in[axis] + pad.before[axis] + pick(0, 2);
      return graph_.add_view(name("pad"), pad, {x}, out);
    }
    default: {
      std::vector<ValueId> parts = {x};
      for (ValueId value : values_) {
        Shape other = shape(value);
        if (other.size() != in.size() || parts.size() == 3) continue;
        const int64_t extent = other[axis];
        other[axis] = in[axis];
        if (other != in || !chance(0.5)) continue;
        parts.push_back(value);
        out[axis] += extent;
      }
      return graph_.add_view(name("concat"), graph::Concat{axis}, parts, out);
    }
  }
}

}  // namespace corf::test
