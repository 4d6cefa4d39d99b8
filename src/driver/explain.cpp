#include "driver/explain.h"

#include <fmt/format.h>
#include <functional>
#include <map>
#include <set>

#include "driver/pipeline.h"
#include "driver/prediction.h"
#include "fusion/order.h"
#include "fusion/strips.h"
#include "mapping/analyze.h"
#include "search/choose_strips.h"
#include "search/find_plan.h"

namespace corf::driver {
namespace {

using fusion::FusionGroup;
using fusion::LinkStrategy;

class Explainer {
 public:
  Explainer(const Pipeline& pipeline, const CompileOptions& options)
      : graph_(pipeline.graph),
        machine_(pipeline.machine),
        plan_(pipeline.plan),
        options_(options),
        separate_(fusion::plan_storage(pipeline.graph)),
        time_(prediction(pipeline.graph, pipeline.machine)),
        cache_(pipeline.graph, separate_) {}

  Result<std::vector<ExplainedGroup>> run() {
    for (size_t g = 0; g < plan_.groups.size(); ++g) CORF_RETURN_IF_ERROR(add_group(g));
    CORF_ASSIGN(const mapping::MappingTable table, mapping::analyze(graph_));
    for (const mapping::PairMapping& pair : table.pairs) add_link(pair);
    return std::move(result_);
  }

 private:
  struct Place {
    size_t group = 0, stage = 0;
  };

  Status add_group(size_t g) {
    const FusionGroup& group = plan_.groups[g];
    ExplainedGroup explained;
    for (size_t s = 0; s < group.stages.size(); ++s) {
      for (graph::NodeId id : group.stages[s].nodes) {
        explained.nodes.push_back(graph_.nodes[id].name);
        places_[id] = {g, s};
      }
    }
    if (group.kind == fusion::GroupKind::kOutputCopy) {
      explained.nodes.push_back("output " + graph_.output_names[group.output]);
    }
    explained.num_steps = group.strips                                ? 1
                          : group.kind == fusion::GroupKind::kRoutine ? 1
                                                                      : int(group.nests.size());
    std::optional<fusion::StripAnalysis> strips;
    if (group.strips) {
      CORF_ASSIGN(strips, fusion::analyze_strips(graph_, plan_.storage, group));
      for (const fusion::StripRing& ring : strips->rings) ring_rows_[ring.value] = ring.rows;
    }
    if (group.kind == fusion::GroupKind::kCompute) {
      const fusion::StripAnalysis* const analysis = strips ? &*strips : nullptr;
      explained.predicted_cycles = time_(plan_.storage, group, analysis, std::cref(written_));
      written_.add(group, analysis);
    }
    result_.push_back(std::move(explained));
    return {};
  }

  void add_link(const mapping::PairMapping& pair) {
    const auto from = places_.find(pair.producer), to = places_.find(pair.consumer);
    if (from == places_.end() || to == places_.end()) return;
    const auto& [g, s] = from->second;
    const auto& [h, t] = to->second;
    ExplainedLink link;
    link.producer = pair.producer_name;
    link.consumer = pair.consumer_name;
    link.mapping = mapping::to_string(pair.forward);
    LinkStrategy strategy = LinkStrategy::kMaterialise;
    const auto ring = ring_rows_.find(pair.intermediate);
    if (g == h && s == t) {
      strategy = LinkStrategy::kInline;
      link.why = "one computes where the other reads";
    } else if (g == h && ring != ring_rows_.end()) {
      strategy = LinkStrategy::kStream;
      link.why = fmt::format("ring of {} rows", ring->second);
    } else if (g == h) {
      link.why = "strip by strip in one kernel, but other groups read it as well";
    } else {
      link.why = why_apart(g, h);
    }
    link.strategy = fusion::to_string(strategy);
    auto& links = result_[h].links;
    const bool known = std::any_of(links.begin(), links.end(), [&](const ExplainedLink& other) {
      return other.producer == link.producer && other.consumer == link.consumer;
    });
    if (!known) links.push_back(std::move(link));
  }

  std::string why_apart(size_t first, size_t second) {
    const auto [it, fresh] = reasons_.try_emplace({first, second});
    if (fresh) it->second = reason_apart(first, second);
    return it->second;
  }

  std::string reason_apart(size_t first, size_t second) {
    if (options_.plan_text) return "the given plan keeps them apart";
    if (options_.plan == PlanMode::kUnfused) return "every operator alone, as asked for";
    if (second != first + 1) {
      const size_t between = second - first - 1;
      return between == 1 ? "another group runs between them"
                          : fmt::format("{} other groups run between them", between);
    }
    const FusionGroup &a = plan_.groups[first], &b = plan_.groups[second];
    FusionGroup joined;
    joined.stages = a.stages;
    joined.stages.insert(joined.stages.end(), b.stages.begin(), b.stages.end());
    if (joined.stages.size() > search::kMaxStages) {
      return fmt::format("a kernel takes at most {} operators", search::kMaxStages);
    }
    const search::StripChoice choice =
        search::choose_strips(graph_, separate_, machine_, joined, time_, cache_);
    if (!choice.legal) return refusal(std::move(joined));
    if (choice.best.empty())
      return "no rings fit the second cache level with tiles that fit their strips";
    const double apart = predicted(first) + predicted(second);
    const double ratio = choice.best[0].time / apart;
    if (ratio * search::kLeastGain >= 1) {
      return fmt::format(
          "one kernel is predicted to take {:.2f} times as long; less than {:.2f} pays", ratio,
          1 / search::kLeastGain);
    }
    return fmt::format("other cuts save more: one kernel is predicted to take {:.2f} of the time",
                       ratio);
  }

  double predicted(size_t g) const { return result_[g].predicted_cycles; }

  /// Why the group cannot walk along the outermost of the dimensions that it could stream.
  std::string refusal(FusionGroup joined) {
    const graph::ValueId last = joined.stages.back().stored[0];
    const Shape& points = graph_.values[last].shape;
    for (int dim : fusion::order_of_strides(separate_.values[last].strides)) {
      if (points[dim] < 2) continue;
      joined.strips.emplace();
      joined.strips->stream_dim = dim;
      const auto strips = fusion::measure_strips(graph_, separate_, joined, cache_);
      if (!strips) return strips.error().message;
    }
    return "no dimension has several points to stream";
  }

  const graph::Graph& graph_;
  const Machine& machine_;
  const fusion::FusionPlan& plan_;
  const CompileOptions& options_;
  fusion::StoragePlan separate_;  // as if every operator ran alone
  search::GroupTime time_;
  fusion::SpansSoFar written_;
  fusion::StripCache cache_;
  std::map<graph::NodeId, Place> places_;
  std::map<graph::ValueId, int64_t> ring_rows_;
  std::map<std::pair<size_t, size_t>, std::string> reasons_;
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
