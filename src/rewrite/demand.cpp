#include "rewrite/demand.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace corf::rewrite {
using graph::Combiner;
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;

namespace {

/// What the operation asks of its argument at `position`, where so much is asked of its result.
Demand demand_of_argument(const ScalarNode& node, int position, const Demand& of_result,
                          int64_t num_elems) {
  switch (node.op) {
    case ScalarOp::kFloor:
    case ScalarOp::kCeil:
    case ScalarOp::kRoundEven:
    case ScalarOp::kSign:
    case ScalarOp::kTruncate:
      return {true, of_result.sign_of_zero};
    case ScalarOp::kMod:
    case ScalarOp::kFmod:
    case ScalarOp::kLess:
    case ScalarOp::kLessEqual:
    case ScalarOp::kEqual:
    case ScalarOp::kIsNan:
    case ScalarOp::kIsInf:
      return {true, false};
    case ScalarOp::kCast:
      return is_float(node.dtype) ? of_result : Demand{true, false};
    case ScalarOp::kDiv:
      return {of_result.digits, of_result.sign_of_zero || position == 1, of_result.spread_over,
              of_result.absolute};
    case ScalarOp::kPow:
    case ScalarOp::kReciprocal:
    case ScalarOp::kRsqrt:
      return {of_result.digits, true};
    case ScalarOp::kSelect:
      return position == 0 ? Demand{} : of_result;
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
      return {of_result.digits, of_result.sign_of_zero, std::max(of_result.spread_over, num_elems),
              of_result.absolute};
    case ScalarOp::kMul:
    case ScalarOp::kMin:
    case ScalarOp::kMax:
    case ScalarOp::kNeg:
    case ScalarOp::kAbs:
    case ScalarOp::kSqrt:
      return of_result;
    case ScalarOp::kExp:
      return {false, of_result.sign_of_zero, 0, true};
    default:  // elementary functions, with roundings of their own
      return {false, of_result.sign_of_zero};
  }
}

/// What a routine asks of what it reads.
Demand demand_of_routine(const graph::Opaque& opaque, const Demand& of_outputs) {
  static constexpr std::array<std::string_view, 4> kSumsOfProducts = {"LSTM", "GRU", "RNN",
                                                                      "DynamicQuantizeLSTM"};
  static constexpr std::array<std::string_view, 4> kMoves = {"ScatterElements", "ScatterND",
                                                             "GatherND", "CumSum"};
  const auto is_one_of = [&](const auto& names) {
    return std::find(names.begin(), names.end(), opaque.routine) != names.end();
  };
  if (is_one_of(kSumsOfProducts)) return {};
  if (is_one_of(kMoves)) return of_outputs;
  return {true, true};
}

}  // namespace

std::vector<Demand> demands(const ScalarBody& body, const Demand& of_result, int64_t num_elems) {
  std::vector<Demand> result(body.nodes.size());
  result.back() = of_result;
  for (size_t i = body.nodes.size(); i-- > 0;) {
    const ScalarNode& node = body.nodes[i];
    for (int position = 0; position < graph::num_args(node.op); ++position) {
      result[node.args[position]] |= demand_of_argument(node, position, result[i], num_elems);
    }
  }
  return result;
}

Demand demand_of_body(const Compute& compute, const Demand& of_output) {
  switch (compute.combiner) {
    case Combiner::kSum:
    case Combiner::kProduct:
      return {};
    case Combiner::kArgMin:
    case Combiner::kArgMax:
      return {true, false};
    default:
      return of_output;
  }
}

std::vector<Demand> demands(const Graph& graph) {
  std::vector<Demand> result(graph.values.size());
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    Demand of_outputs;
    for (graph::ValueId output : node->outputs) of_outputs |= result[output];
    if (const auto* compute = std::get_if<Compute>(&node->op)) {
      const std::vector<Demand> inside =
          demands(compute->body, demand_of_body(*compute, of_outputs),
                  num_elems(graph.values[node->outputs[0]].shape));
      for (size_t i = 0; i < inside.size(); ++i) {
        const ScalarNode& scalar = compute->body.nodes[i];
        if (scalar.op == ScalarOp::kOperand) result[node->inputs[scalar.index]] |= inside[i];
      }
      continue;
    }
    if (const auto* opaque = std::get_if<graph::Opaque>(&node->op)) {
      of_outputs = demand_of_routine(*opaque, of_outputs);
    }
    for (graph::ValueId input : node->inputs) result[input] |= of_outputs;
  }
  for (size_t i = 0; i < result.size(); ++i) {
    if (result[i].spread_over <= num_elems(graph.values[i].shape)) result[i].spread_over = 0;
  }
  return result;
}

}  // namespace corf::rewrite
