#pragma once
#include <cmath>
#include <random>
#include <vector>

#include "rewrite/value_range.h"
#include "tests/rewrite/compare.h"

/// The measure of rewrite/rounding.h: the error of a graph that is computed operator by operator,
/// every result rounded to its type.
namespace corf::rewrite {

/// A graph whose scalar operations are each rounded to their type.
inline graph::Graph rounded_everywhere(graph::Graph graph) {
  for (graph::Node& node : graph.nodes) {
    auto* compute = std::get_if<graph::Compute>(&node.op);
    if (!compute) continue;
    graph::ScalarBody body;
    std::vector<int> map;
    for (graph::ScalarNode scalar : compute->body.nodes) {
      for (int& arg : scalar.args) {
        if (arg >= 0) arg = map[arg];
      }
      body.nodes.push_back(scalar);
      if (is_float(scalar.dtype) && graph::num_args(scalar.op) > 0) {
        graph::ScalarNode rounding;
        rounding.op = graph::ScalarOp::kCast;
        rounding.dtype = scalar.dtype;
        rounding.args[0] = static_cast<int>(body.nodes.size()) - 1;
        body.nodes.push_back(rounding);
      }
      map.push_back(static_cast<int>(body.nodes.size()) - 1);
    }
    compute->body = std::move(body);
  }
  return graph;
}

/// Where a disturbance goes: up or down everywhere, which is the worst for a sum of what is
/// disturbed, or up at some points of the iteration space and down at others.
enum class Direction { kUp, kDown, kMixed, kOtherwiseMixed };

/// The body with what node `at` gives off by half a unit of its last place.
inline graph::ScalarBody disturbed(const graph::Compute& compute, int at, Direction direction) {
  using graph::ScalarOp;
  graph::ScalarBody body;
  std::vector<int> map;
  for (size_t i = 0; i < compute.body.nodes.size(); ++i) {
    graph::ScalarNode scalar = compute.body.nodes[i];
    for (int& arg : scalar.args) {
      if (arg >= 0) arg = map[arg];
    }
    body.nodes.push_back(scalar);
    map.push_back(static_cast<int>(body.nodes.size()) - 1);
    if (static_cast<int>(i) != at) continue;
    const DType dtype = scalar.dtype;
    const double unit = std::ldexp(1.0, -float_format(dtype).digits);
    if (direction == Direction::kUp || direction == Direction::kDown) {
      const double by = direction == Direction::kUp ? unit : -unit;
      const int magnitude = body.apply(ScalarOp::kAbs, map.back());
      const int part = body.apply(ScalarOp::kMul, magnitude, body.constant(by, dtype));
      map.back() = body.apply(ScalarOp::kAdd, map.back(), part);
      continue;
    }
    int phase = body.constant(at + (direction == Direction::kMixed ? 0.5 : 2.2), dtype);
    for (size_t axis = 0; axis < compute.space.axes.size(); ++axis) {
      const int index = body.cast(body.axis_index(static_cast<int>(axis)), dtype);
      const int term = body.apply(ScalarOp::kMul, index,
                                  body.constant(2.399 * static_cast<double>(axis + 1), dtype));
      phase = body.apply(ScalarOp::kAdd, phase, term);
    }
    const int sign = body.apply(ScalarOp::kSign, body.apply(ScalarOp::kSin, phase));
    const int part = body.apply(ScalarOp::kMul, map.back(), body.constant(unit, dtype));
    map.back() = body.apply(ScalarOp::kAdd, map.back(), body.apply(ScalarOp::kMul, part, sign));
  }
  return body;
}

/// Whether the model rounds what the scalar node gives: it computes, or reads a sum.
inline bool is_rounded_by_model(const graph::Graph& graph, const graph::Node& node,
                                const graph::ScalarNode& scalar) {
  if (!is_float(scalar.dtype)) return false;
  if (scalar.op != graph::ScalarOp::kOperand) return graph::num_args(scalar.op) > 0;
  const graph::Node& source = graph.producer(node.inputs[scalar.index]);
  const auto* compute = std::get_if<graph::Compute>(&source.op);
  return compute && compute->combiner == graph::Combiner::kSum;
}

inline bool same_number(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// A graph's results: exact, operator by operator, and how far off the latter may be: as far as
/// they are, and as the roundings of all operations at their worst, one by one, would make them.
struct ModelResults {
  std::vector<Tensor> exact, model;
  std::vector<std::vector<double>> error;
};
inline ModelResults model_results(const graph::Graph& graph, const std::vector<Tensor>& inputs) {
  ModelResults results;
  const auto run = [&](const graph::Graph& variant, bool round) {
    Result<std::vector<Tensor>> outputs =
        graph::evaluate(variant, inputs, {.round_to_dtype = round});
    EXPECT_TRUE(outputs.ok()) << (outputs.ok() ? "" : outputs.error().message);
    return outputs.ok() ? *outputs : std::vector<Tensor>{};
  };
  results.exact = run(graph, false);
  results.model = run(rounded_everywhere(graph), true);
  for (const Tensor& exact : results.exact) {
    results.error.emplace_back(static_cast<size_t>(exact.num_elems()), 0);
  }
  const auto add_largest_errors = [&](const std::vector<std::vector<Tensor>>& variants) {
    for (size_t o = 0; o < results.exact.size(); ++o) {
      for (int64_t e = 0; e < results.exact[o].num_elems(); ++e) {
        const double exact = results.exact[o].at_f64(e);
        double& error = results.error[o][static_cast<size_t>(e)];
        double largest = 0;
        for (const std::vector<Tensor>& outputs : variants) {
          const double got = outputs[o].at_f64(e);
          if (!same_number(got, exact)) largest = std::fmax(largest, std::fabs(got - exact));
          // Where a rounding decides whether there is a number at all, there is no error to
          // compare.
          if (std::isnan(got) != std::isnan(results.model[o].at_f64(e))) error = std::nan("");
        }
        error += largest;
      }
    }
  };
  add_largest_errors({results.model});
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto* compute = std::get_if<graph::Compute>(&graph.nodes[n].op);
    for (size_t i = 0; compute && i < compute->body.nodes.size(); ++i) {
      if (!is_rounded_by_model(graph, graph.nodes[n], compute->body.nodes[i])) continue;
      std::vector<std::vector<Tensor>> variants;
      for (Direction direction :
           {Direction::kUp, Direction::kDown, Direction::kMixed, Direction::kOtherwiseMixed}) {
        graph::Graph variant = graph;
        std::get<graph::Compute>(variant.nodes[n].op).body =
            disturbed(*compute, static_cast<int>(i), direction);
        variants.push_back(run(variant, false));
      }
      add_largest_errors(variants);
    }
  }
  return results;
}

/// Whether an element is as near to the exact result as the model's may be, twice over, and four
/// roundings of its own; or what the model gives.
inline bool is_as_exact(double got, double exact, double model, double error, DType dtype) {
  if (same_number(got, model) || same_number(got, exact) || std::isnan(error)) return true;
  if (std::isnan(got) || std::isnan(exact)) return false;
  const FloatFormat format = float_format(dtype);
  if (!std::isfinite(exact) || !std::isfinite(got)) {
    // Beyond the range by as little as a rounding.
    return std::fabs(exact) >= format.largest * 0.9999 && std::fabs(got) >= format.largest * 0.9999;
  }
  const double roundings = 4 * std::ldexp(std::fabs(exact), -format.digits) + 4 * format.unit();
  return std::fabs(got - exact) <= 2 * error + roundings;
}

/// A rewritten graph is nowhere further from the exact results than twice the model's error.
inline void expect_as_exact(const graph::Graph& before, const graph::Graph& after,
                            const std::vector<Tensor>& inputs) {
  const Status sound = graph::verify(after);
  ASSERT_TRUE(sound.ok()) << sound.error().message << "\n" << graph::to_string(after);
  const ModelResults results = model_results(before, inputs);
  Result<std::vector<Tensor>> outputs =
      graph::evaluate(rounded_everywhere(after), inputs, {.round_to_dtype = true});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  for (size_t o = 0; o < outputs->size(); ++o) {
    const Tensor& got = (*outputs)[o];
    for (int64_t e = 0; e < got.num_elems(); ++e) {
      const double exact = results.exact[o].at_f64(e), model = results.model[o].at_f64(e);
      const double error = results.error[o][static_cast<size_t>(e)];
      ASSERT_TRUE(is_as_exact(got.at_f64(e), exact, model, error, got.dtype()))
          << "element " << e << " of output " << o << " is " << got.at_f64(e) << "; exactly "
          << exact << ", by operators " << model << " +- " << error << "\n"
          << graph::to_string(before) << "\n"
          << graph::to_string(after);
    }
  }
}

/// A rewritten graph gives the bits that its operators give, one by one.
inline void expect_same_numbers(const graph::Graph& before, const graph::Graph& after,
                                const std::vector<Tensor>& inputs) {
  Result<std::vector<Tensor>> model =
      graph::evaluate(rounded_everywhere(before), inputs, {.round_to_dtype = true});
  Result<std::vector<Tensor>> got =
      graph::evaluate(rounded_everywhere(after), inputs, {.round_to_dtype = true});
  ASSERT_TRUE(model.ok() && got.ok());
  for (size_t o = 0; o < model->size(); ++o) {
    for (int64_t e = 0; e < (*model)[o].num_elems(); ++e) {
      ASSERT_TRUE(same_number((*model)[o].at_f64(e), (*got)[o].at_f64(e)))
          << "element " << e << " of output " << o << " is " << (*got)[o].at_f64(e) << ", not "
          << (*model)[o].at_f64(e) << "\n"
          << graph::to_string(before) << "\n"
          << graph::to_string(after);
    }
  }
}

/// Numbers at the edges: zeros, denormals, the ends of the range, large offsets, multiples of what
/// models divide by, infinities, NaN; and some of every magnitude.
inline std::vector<double> edge_numbers(DType dtype, std::mt19937& generator) {
  const FloatFormat format = float_format(dtype);
  std::vector<double> numbers = {0, 1, 3, 6, 0.5, 2.999999, 3.000001, 10, 20, 88, 100};
  for (double end : {format.unit(), 3 * format.unit(), format.smallest / 2, format.smallest,
                     format.smallest * 1e4, format.largest, format.largest / 2,
                     format.largest / 100, std::sqrt(format.largest), HUGE_VAL}) {
    numbers.push_back(end);
  }
  for (int i = 1; i < 60; i += 7) {
    for (double factor : {41.0, 61.0, 6.0, 0.1, 127.5, 3.0}) numbers.push_back(i * factor);
  }
  for (double offset : {127.5, 1000.0, 1e6}) {
    for (double by : {-0.5, 0.0, 0.25, 1.0, 3.25}) numbers.push_back(offset + by);
  }
  std::uniform_real_distribution<double> exponents(std::log2(format.unit()),
                                                   std::log2(format.largest));
  std::uniform_real_distribution<double> ordinary(-4, 4);
  for (int i = 0; i < 40; ++i) numbers.push_back(std::exp2(exponents(generator)));
  for (int i = 0; i < 40; ++i) numbers.push_back(std::exp2(ordinary(generator)));
  const size_t count = numbers.size();
  for (size_t i = 0; i < count; ++i) numbers.push_back(-numbers[i]);
  numbers.push_back(std::nan(""));
  return numbers;
}

}  // namespace corf::rewrite
