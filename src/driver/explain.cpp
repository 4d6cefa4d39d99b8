#include "driver/explain.h"

#include <fmt/format.h>
#include <functional>
#include <map>
#include <utility>

#include "driver/pipeline.h"
#include "driver/prediction.h"
#include "fusion/split_span.h"
#include "mapping/analyze.h"
#include "search/find_plan.h"

namespace corf::driver {
namespace {

using fusion::GroupPlan;

/// Why a value goes so from one operator to another in the same kernel.
std::string reason(const fusion::LinkStrategy& strategy) {
  if (std::holds_alternative<fusion::Inline>(strategy)) return "one computes where the other reads";
  if (std::holds_alternative<fusion::Materialise>(strategy)) {
    return "strip by strip in one kernel, but other groups read it as well";
  }
  return fusion::describe_ring(strategy);
}

class Explainer {
 public:
  Explainer(const Pipeline& pipeline, const CompileOptions& options)
      : graph_(pipeline.graph),
        machine_(pipeline.machine),
        plan_(pipeline.plan),
        options_(options),
        time_(prediction(pipeline.graph, pipeline.machine)) {}

  Result<std::vector<ExplainedGroup>> run() {
    for (size_t g = 0; g < plan_.groups.size(); ++g) add_group(g);
    CORF_ASSIGN(const mapping::MappingTable table, mapping::analyze(graph_));
    for (const mapping::PairMapping& pair : table.pairs) add_link(pair);
    return std::move(result_);
  }

 private:
  void add_group(size_t g) {
    const GroupPlan& group = plan_.groups[g];
    ExplainedGroup explained;
    for (graph::NodeId id : group.nodes()) {
      explained.nodes.push_back(graph_.nodes[id].name);
      group_of_[id] = g;
    }
    for (const fusion::Link& link : fusion::links_of(graph_, group)) {
      strategies_[{link.producer, link.consumer}] = link.strategy;
    }
    if (group.kind == fusion::GroupKind::kOutputCopy) {
      explained.nodes.push_back("output " + graph_.output_names[group.output]);
    }
    const bool one_step = group.walk || group.kind == fusion::GroupKind::kRoutine;
    explained.num_steps = one_step ? 1 : static_cast<int>(group.nests.size());
    if (group.kind == fusion::GroupKind::kCompute) {
      explained.predicted_cycles = time_(plan_.storage, group, done_.before_next());
    }
    done_.add(group);
    result_.push_back(std::move(explained));
  }

  void add_link(const mapping::PairMapping& pair) {
    const auto from = group_of_.find(pair.producer), to = group_of_.find(pair.consumer);
    if (from == group_of_.end() || to == group_of_.end()) return;
    const size_t g = from->second, h = to->second;
    ExplainedLink link;
    link.producer = pair.producer_name;
    link.consumer = pair.consumer_name;
    link.mapping = mapping::to_string(pair.forward);
    const auto carried_out = strategies_.find({pair.producer, pair.consumer});
    fusion::LinkStrategy strategy = fusion::Materialise{};
    if (g == h && carried_out != strategies_.end()) strategy = carried_out->second;
    link.strategy = fusion::to_string(strategy);
    link.why = g == h ? reason(strategy) : why_apart(g, h);
    auto& links = result_[h].links;
    const bool known = std::any_of(links.begin(), links.end(), [&](const ExplainedLink& other) {
      return other.producer == link.producer && other.consumer == link.consumer;
    });
    if (!known) links.push_back(std::move(link));
  }

  /// What keeps groups apart that others may run between: the first cut that nothing can cross, or
  /// the best kernel across the first.
  std::string why_apart(size_t first, size_t second) const {
    if (options_.plan_text) return "the given plan keeps them apart";
    if (options_.plan == PlanMode::kUnfused) return "every operator alone, as asked for";
    if (plan_.cuts.empty()) return "the plan found by tuning keeps them apart";
    for (size_t g = first; g < second; ++g) {
      const std::string& refusal = plan_.cuts[g].refusal;
      if (refusal.empty()) continue;
      if (second == first + 1) return refusal;
      return fmt::format("nothing runs across '{}' and '{}', which lie between them: {}",
                         name_of(g), name_of(g + 1), refusal);
    }
    return rejected(plan_.cuts[first]);
  }

  std::string name_of(size_t g) const {
    return result_[g].nodes.empty() ? "" : result_[g].nodes[0];
  }

  std::string rejected(const fusion::Cut& cut) const {
    const double ratio = cut.time / cut.time_apart;
    std::string text = fmt::format("one kernel from '{}' to '{}' is predicted to take",
                                   graph_.nodes[cut.first].name, graph_.nodes[cut.last].name);
    if (options_.plan != PlanMode::kFused) {
      text += fmt::format(" {:.4g} ms,", cut.time * machine_.cycle_ns() * 1e-6);
    }
    text += fmt::format(" {:.2f} times as long as the best without it", ratio);
    if (ratio < 1) text += "; other cuts save more";
    return text;
  }

  const graph::Graph& graph_;
  const Machine& machine_;
  const fusion::FusionPlan& plan_;
  const CompileOptions& options_;
  search::GroupTime time_;
  fusion::DoneSoFar done_;
  std::map<graph::NodeId, size_t> group_of_;
  std::map<std::pair<graph::NodeId, graph::NodeId>, fusion::LinkStrategy> strategies_;
  std::vector<ExplainedGroup> result_;
};

}  // namespace

Result<std::vector<ExplainedGroup>> explain(const onnx::Model& model,
                                            const CompileOptions& options) {
  return within_budget_of(model, options, [&]() -> Result<std::vector<ExplainedGroup>> {
    CORF_ASSIGN(const Pipeline pipeline, run_pipeline(model, options, Stage::kPlan));
    return Explainer(pipeline, options).run();
  });
}

}  // namespace corf::driver
