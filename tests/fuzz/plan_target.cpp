#include <array>
#include <cmath>
#include <fmt/format.h>

#include "fusion/prepare.h"
#include "fusion/text.h"
#include "graph/evaluate.h"
#include "loop/interpret.h"
#include "loop/text.h"
#include "search/find_plan.h"
#include "tests/fusion/random_chain.h"
#include "tests/fusion/random_plan.h"
#include "tests/fuzz/damaged_plan.h"
#include "tests/fuzz/targets.h"
#include "tests/lower/lowered.h"
#include "tests/lower/random_graph.h"

namespace corf::fuzz {
namespace {

constexpr size_t kNumGraphs = 48;

/// How large a graph may be. Most are small: they have the same ways to go wrong, and an execution
/// takes as long as the plan and its points are many.
struct Limits {
  size_t nodes;    // constants and inputs included
  int64_t points;  // of all compute operators: what the interpreter runs through
};
Limits limits_of(size_t number) {
  if (number % 8 == 0) return {64, 8000};
  return number % 8 < 3 ? Limits{16, 1000} : Limits{10, 300};
}
constexpr size_t kPlansOfIsa = 4, kNumPlans = kPlansOfIsa * std::size(kIsas);
constexpr int64_t kMostPartitions = 64;

/// A small graph with plans of every kind as texts, each made when it is first asked for, and what
/// they must give.
struct PlannedGraph {
  graph::Graph graph;
  std::vector<Tensor> inputs, expected;
  double error = 0;
  uint32_t seed = 0;
  std::array<std::string, kNumPlans> plans;

  const std::string& plan(size_t number) {
    if (plans[number].empty()) plans[number] = make_plan(number);
    return plans[number];
  }

 private:
  std::string make_plan(size_t number) const {
    Machine machine;
    machine.isa = kIsas[number / kPlansOfIsa];
    machine.threads = 1 + static_cast<int>(seed % 3);
    const search::GroupTime one_each = [](const auto&, const auto&, const auto&) { return 1; };
    const size_t kind = number % kPlansOfIsa;
    if (kind == 0) {
      return fusion::to_string(graph, search::find_plan(graph, machine, one_each));
    }
    if (kind > 1) {
      test::RandomPlans random(graph, machine, static_cast<uint32_t>(kNumPlans * seed + number));
      if (const auto plan = random.make()) return fusion::to_string(graph, *plan);
    }
    return fusion::to_string(graph, search::find_unfused_plan(graph, machine));
  }
};

int64_t points_of(const graph::Graph& graph) {
  int64_t points = 0;
  for (const graph::Node& node : graph.nodes) {
    const auto* compute = std::get_if<graph::Compute>(&node.op);
    if (!compute) continue;
    int64_t own = 1;
    for (const index::Axis& axis : compute->space.axes) own *= axis.extent;
    points += own;
  }
  return points;
}

/// nullopt: too large.
template <typename Random>
std::optional<PlannedGraph> planned(Random random, double error, uint32_t seed, Limits most) {
  const graph::Graph& graph = random.graph();
  if (graph.nodes.size() > most.nodes || points_of(graph) > most.points) return std::nullopt;
  PlannedGraph result;
  result.error = error;
  result.inputs = random.inputs();
  auto expected = graph::evaluate(graph, result.inputs);
  if (!expected) return std::nullopt;
  result.expected = expected.take();
  result.graph = fusion::prepare(graph);
  result.seed = seed;
  return result;
}

/// The graph with that number, made when it is first asked for; three of four are chains, whose
/// groups run in strips.
PlannedGraph& graph_number(size_t number) {
  static std::array<std::optional<PlannedGraph>, kNumGraphs> graphs;
  std::optional<PlannedGraph>& graph = graphs[number];
  for (uint32_t seed = static_cast<uint32_t>(number); !graph; seed += kNumGraphs) {
    if (number % 4 == 3) {
      graph = planned(test::RandomGraph(seed), 0, seed, limits_of(number));
    } else {
      test::RandomChain chain(seed, seed % 2 == 0 ? test::RandomChain::Form::kChain
                                                  : test::RandomChain::Form::kNetwork);
      graph = planned(chain, chain.error(), seed, limits_of(number));
    }
  }
  return *graph;
}

Finding difference(const PlannedGraph& expected, const std::vector<Tensor>& actual) {
  for (size_t i = 0; i < expected.expected.size(); ++i) {
    const Tensor& want = expected.expected[i];
    for (int64_t k = 0; k < want.num_elems(); ++k) {
      const double right = static_cast<float>(want.at_f64(k)), got = actual[i].at_f64(k);
      if (right == got || std::fabs(right - got) <= expected.error) continue;
      if (std::isnan(right) && std::isnan(got)) continue;
      return fmt::format("output {}, element {} is {} instead of {}", i, k, got, right);
    }
  }
  return "";
}

/// What the program takes to interpret; plans can ask for more loops than points.
bool runs_in_time(const loop::Program& program) {
  int64_t partitions = 0;
  for (const loop::Step& step : program.steps) {
    if (const auto* call = std::get_if<loop::KernelCall>(&step)) partitions += call->partitions;
  }
  return partitions <= kMostPartitions;
}

}  // namespace

Finding plan_target(Choices choices) {
  PlannedGraph& planned = graph_number(choices.below(kNumGraphs));
  const std::string text = damaged_plan(planned.plan(choices.below(kNumPlans)), choices);
  auto plan = fusion::parse_plan(planned.graph, text);
  if (!plan) return plan.error().message.empty() ? "refused without a reason:\n" + text : "";
  auto finding = [&](std::string_view what, std::string_view why) {
    return fmt::format("{}: {}\n{}", what, why, text);
  };
  const std::string printed = fusion::to_string(planned.graph, *plan);
  auto again = fusion::parse_plan(planned.graph, printed);
  if (!again) return finding("its print is refused", again.error().message);
  if (fusion::to_string(planned.graph, *again) != printed) return finding("no round trip", printed);
  // Verified after each pass.
  auto program = test::lowered(planned.graph, *plan);
  if (!program) return finding("it cannot be lowered", program.error().message);
  if (!runs_in_time(*program)) return "";
  auto actual = loop::interpret(*program, planned.inputs);
  if (!actual) return finding("it cannot be interpreted", actual.error().message);
  const Finding different = difference(planned, *actual);
  return different.empty() ? "" : finding("it gives other values", different);
}

}  // namespace corf::fuzz
