#include "lower/lower.h"

#include <optional>
#include <set>
#include <span>

#include "lower/kernel_builder.h"
#include "lower/lower_nest.h"
#include "lower/lower_strips.h"

namespace corf::lower {
namespace {

using fusion::GroupKind;
using fusion::GroupPlan;
using fusion::Nest;
using graph::Graph;

/// Products and sums of a contraction count 2, other operations 1 a point.
int64_t flops_of(const Nest& nest) {
  int64_t points = 1, parallel = 1;
  for (const auto& axis : nest.axes) {
    points *= axis.extent;
    if (!axis.reduction) parallel *= axis.extent;
  }
  int64_t inside = nest.reduce_op >= 0 ? 1 : 0, outside = 0;
  for (int i = 0; i < static_cast<int>(nest.ops.size()); ++i) {
    if (nest.ops[i].kind != fusion::NestOp::Kind::kApply) continue;
    (i < nest.reduce_op ? inside : outside) += 1;
  }
  return points * inside + parallel * outside;
}

/// What the nests read from memory and write to it, each operand once; rings cost nothing.
int64_t bytes_of(const Graph& graph, const fusion::StorageView& storage,
                 const std::vector<const Nest*>& nests) {
  std::set<graph::ValueId> values;
  auto add = [&](const fusion::Access& access) {
    if (storage.root(access.root).kind != fusion::Root::Kind::kRing) values.insert(access.value);
  };
  for (const Nest* nest : nests) {
    for (const auto& load : nest->loads) add(load);
    for (const auto& store : nest->stores) add(store.access);
  }
  int64_t bytes = 0;
  for (graph::ValueId value : values) {
    bytes += num_elems(graph.values[value].shape) * size_bytes(graph.values[value].dtype);
  }
  return bytes;
}

/// The node of a stage that does the most: the one with a reduction, else the first.
std::string label_of(const Graph& graph, const fusion::Stage& stage) {
  const graph::Node* lead = &graph.nodes[stage.nodes[0]];
  for (graph::NodeId id : stage.nodes) {
    const auto* compute = std::get_if<graph::Compute>(&graph.nodes[id].op);
    if (compute && compute->combiner != graph::Combiner::kNone) lead = &graph.nodes[id];
  }
  std::string label = lead->name;
  if (stage.nodes.size() > 1) label += " +" + std::to_string(stage.nodes.size() - 1);
  return label;
}

std::string label_of(const Graph& graph, const GroupPlan& group) {
  if (group.kind == GroupKind::kOutputCopy) {
    return "output " + graph.output_names[group.output];
  }
  std::string label;
  for (const fusion::Stage& stage : group.stages) {
    label += (label.empty() ? "" : " -> ") + label_of(graph, stage);
  }
  return label;
}

void lower_routine(const Graph& graph, const fusion::StoragePlan& storage, const GroupPlan& group,
                   ProgramBuffers& buffers, loop::Program& program) {
  const graph::Node& node = graph.nodes[group.stages[0].nodes[0]];
  const auto& opaque = std::get<graph::Opaque>(node.op);
  loop::RoutineCall call;
  call.routine = opaque.routine;
  call.attributes.insert(opaque.attributes.begin(), opaque.attributes.end());
  call.label = node.name;
  auto operand = [&](graph::ValueId value) {
    return loop::RoutineOperand{buffers.of_root(storage.values[value].root),
                                graph.values[value].shape};
  };
  for (graph::ValueId value : node.inputs) call.inputs.push_back(operand(value));
  for (graph::ValueId value : node.outputs) call.outputs.push_back(operand(value));
  program.steps.push_back(std::move(call));
}

/// Stages that stand for other work than they do say so.
int64_t work_of(const Graph& graph, const GroupPlan& group,
                std::span<const fusion::ScheduledNest> nests) {
  int64_t work = 0;
  for (size_t i = 0; i < nests.size(); ++i) {
    std::optional<int64_t> told;
    if (group.kind == GroupKind::kCompute) {
      for (graph::NodeId id : group.stages[i].nodes) {
        const std::optional<int64_t>& node = graph.nodes[id].work_flops;
        if (node) told = told.value_or(0) + *node;
      }
    }
    work += told ? *told : flops_of(nests[i].nest);
  }
  return work;
}

void add_call(const Graph& graph, const GroupPlan& group,
              std::span<const fusion::ScheduledNest> nests, KernelBuilder& builder,
              loop::Program& program) {
  builder.finish();
  loop::KernelCall call = builder.call();
  call.kernel = static_cast<int>(program.kernels.size());
  call.label = label_of(graph, group);
  for (graph::NodeId id : group.nodes()) call.nodes.push_back(graph.nodes[id].name);
  std::vector<const Nest*> all;
  for (const fusion::ScheduledNest& scheduled : nests) {
    const Nest& nest = scheduled.nest;
    all.push_back(&nest);
    call.executed_flops += flops_of(nest);
  }
  call.work_flops = work_of(graph, group, nests);
  call.compulsory_bytes = bytes_of(graph, builder.storage(), all);
  program.kernels.push_back(builder.kernel());
  program.steps.push_back(std::move(call));
}

}  // namespace

Result<loop::Program> lower(const Graph& graph, const fusion::FusionPlan& plan, int threads,
                            KnownConstants* known) {
  loop::Program program;
  ProgramBuffers buffers(graph, plan.storage, program, threads, known);
  // Inputs and outputs keep their positions even where no kernel touches them.
  for (size_t i = 0; i < plan.storage.roots.size(); ++i) {
    fusion::Root::Kind kind = plan.storage.roots[i].kind;
    if (kind == fusion::Root::Kind::kInput || kind == fusion::Root::Kind::kOutput) {
      buffers.of_root(static_cast<int>(i));
    }
  }
  for (const GroupPlan& group : plan.groups) {
    if (group.kind == GroupKind::kRoutine) {
      lower_routine(graph, plan.storage, group, buffers, program);
      continue;
    }
    const fusion::StorageView storage(plan.storage, group.walk);
    if (group.walk) {
      KernelBuilder builder(buffers, storage, "k" + std::to_string(program.kernels.size()));
      lower_strips(group, builder);
      add_call(graph, group, group.nests, builder, program);
      continue;
    }
    for (const fusion::ScheduledNest& scheduled : group.nests) {
      KernelBuilder builder(buffers, storage, "k" + std::to_string(program.kernels.size()));
      lower_nest(scheduled.nest, scheduled.schedule, builder);
      add_call(graph, group, {&scheduled, 1}, builder, program);
    }
  }
  return program;
}

}  // namespace corf::lower
