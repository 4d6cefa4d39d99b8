#include "fusion/text.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <optional>

#include "fusion/check_plan.h"
#include "fusion/group_nests.h"
#include "fusion/resolve.h"
#include "index/scanner.h"

namespace corf::fusion {
namespace {

using index::quoted;
using index::Scanner;

constexpr GroupKind kGroupKinds[] = {GroupKind::kCompute, GroupKind::kViewCopy,
                                     GroupKind::kOutputCopy, GroupKind::kRoutine};

constexpr Prefetch kPrefetches[] = {Prefetch::kNone, Prefetch::kPanel, Prefetch::kAhead};

std::string_view to_string(GroupKind kind) {
  switch (kind) {
    case GroupKind::kCompute:
      return "compute";
    case GroupKind::kViewCopy:
      return "copy";
    case GroupKind::kOutputCopy:
      return "output";
    case GroupKind::kRoutine:
      return "routine";
  }
  return "";
}

std::string axis_name(const Nest& nest, int axis) { return axis < 0 ? "-" : nest.axes[axis].name; }

std::string axis_list(const Nest& nest, const std::vector<int>& axes) {
  if (axes.empty()) return "-";
  std::vector<std::string> names;
  for (int axis : axes) names.push_back(axis_name(nest, axis));
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string print_axes(const Nest& nest) {
  std::string parallel, reduction;
  for (const NestAxis& axis : nest.axes) {
    (axis.reduction ? reduction : parallel) += fmt::format(" {}={}", axis.name, axis.extent);
  }
  return reduction.empty() ? parallel : parallel + " |" + reduction;
}

std::string print_schedule(const ScheduledNest& scheduled) {
  const Nest& nest = scheduled.nest;
  const NestSchedule& s = scheduled.schedule;
  std::vector<std::string> tile;
  for (const auto& tiled : s.register_tile) {
    tile.push_back(fmt::format("{} {}", axis_name(nest, tiled.axis), tiled.extent));
  }
  return fmt::format(
      "  schedule {}vector {} {}{}{} tile {} unroll {} reduce {} steps {} prefetch {} order {} "
      "block "
      "{} {} split {} {}\n",
      s.matrix ? fmt::format("matrix {} ", s.matrix) : "", axis_name(nest, s.vector_axis),
      s.vector_tile, s.lane_steps > 1 ? fmt::format(" beside {}", s.lane_steps) : "",
      s.byte_steps > 1 ? fmt::format(" bytes {}", s.byte_steps) : "",
      tile.empty() ? "-" : fmt::format("{}", fmt::join(tile, ", ")),
      axis_list(nest, s.unrolled_reductions), axis_list(nest, s.reduction_order),
      s.reduction_unroll, to_string(s.prefetch), axis_list(nest, s.parallel_order),
      axis_name(nest, s.block_axis), s.block_tiles, axis_name(nest, s.partition_axis),
      s.partitions);
}

class PlanParser {
 public:
  PlanParser(const graph::Graph& graph, std::string_view text) : graph_(graph), scanner_(text) {}

  Result<FusionPlan> run() {
    plan_.storage = plan_storage(graph_);
    checker_.emplace(graph_, plan_.storage);
    scanner_.expect("plan");
    while (!scanner_.failed() && !scanner_.at_end()) parse_group();
    if (scanner_.failed()) return scanner_.error();
    CORF_RETURN_IF_ERROR(checker_->finish());
    return std::move(plan_);
  }

 private:
  template <typename T, size_t N>
  T keyword(const T (&values)[N], std::string_view what) {
    for (T value : values) {
      if (scanner_.accept(to_string(value))) return value;
    }
    scanner_.fail(fmt::format("expected {}", what));
    return values[0];
  }

  graph::NodeId node() {
    const std::string name = scanner_.quoted("a node's name");
    for (size_t id = 0; id < graph_.nodes.size(); ++id) {
      if (graph_.nodes[id].name == name) return static_cast<graph::NodeId>(id);
    }
    scanner_.fail(fmt::format("the graph has no node \"{}\"", name));
    return 0;
  }

  graph::ValueId value() {
    const std::string name = scanner_.quoted("a value's name");
    for (size_t id = 0; id < graph_.values.size(); ++id) {
      if (graph_.values[id].name == name) return static_cast<graph::ValueId>(id);
    }
    scanner_.fail(fmt::format("the graph has no value \"{}\"", name));
    return 0;
  }

  void parse_group() {
    GroupPlan group;
    scanner_.expect("group");
    group.kind = keyword(kGroupKinds, "a group's kind");
    if (group.kind == GroupKind::kOutputCopy) {
      group.output = scanner_.integer<int>("an output's number");
      if (group.output < 0 || group.output >= static_cast<int>(graph_.outputs.size())) {
        scanner_.fail("the graph has no such output");
        return;
      }
    }
    scanner_.expect("{");
    std::optional<std::vector<Nest>> nests;
    while (!scanner_.failed() && !scanner_.accept("}")) {
      if (nests && !scanner_.accept("schedule")) {
        scanner_.fail("nothing but schedules stands behind a group's first schedule");
      } else if (nests) {
        parse_next_schedule(group, *nests);
      } else if (scanner_.accept("stage")) {
        group.stages.emplace_back();
      } else if (scanner_.accept("node")) {
        if (group.stages.empty()) group.stages.emplace_back();
        group.stages.back().nodes.push_back(node());
      } else if (!group.stages.empty() && scanner_.accept("store")) {
        group.stages.back().stored.push_back(value());
      } else if (scanner_.accept("strips")) {
        parse_strips(group);
      } else {
        scanner_.expect("schedule");
        nests = derive_nests(group);
        parse_next_schedule(group, *nests);
      }
    }
    if (scanner_.failed()) return;
    if (!nests) nests = derive_nests(group);
    if (scanner_.failed()) return;
    if (group.nests.size() != nests->size()) {
      refuse(group, "it has more nests than schedules");
      return;
    }
    if (group.walk) require(group, check_strip_tiles(group));
    plan_.groups.push_back(std::move(group));
  }

  /// Names the group at hand, and the schedule if it is at one.
  void refuse(const GroupPlan& group, std::string_view why, bool schedule = false) {
    std::string name = fmt::format("group {}", plan_.groups.size() + 1);
    const std::vector<graph::NodeId> nodes = group.nodes();
    if (!nodes.empty()) name += fmt::format(" (node {})", quoted(graph_.nodes[nodes[0]].name));
    if (schedule) name += fmt::format(", schedule {}", group.nests.size() + 1);
    scanner_.fail(fmt::format("{}: {}", name, why));
  }

  void require(const GroupPlan& group, const Status& status, bool schedule = false) {
    if (!status) refuse(group, status.error().message, schedule);
  }

  void parse_next_schedule(GroupPlan& group, std::vector<Nest>& nests) {
    if (scanner_.failed()) return;
    if (group.nests.size() == nests.size()) {
      refuse(group, "it has more schedules than nests");
      return;
    }
    Nest& nest = nests[group.nests.size()];
    NestSchedule schedule = parse_schedule(nest);
    if (scanner_.failed()) return;
    require(group, check_nest_schedule(nest, StorageView(plan_.storage, group.walk), schedule),
            /*schedule=*/true);
    group.nests.push_back({std::move(nest), std::move(schedule)});
  }

  void parse_strips(GroupPlan& group) {
    StripSchedule strips;
    strips.stream_dim = scanner_.integer<int>("a dimension");
    scanner_.expect("by");
    strips.strip = scanner_.integer("rows");
    while (!scanner_.failed() && scanner_.accept("outer")) {
      StripSchedule::Outer outer;
      outer.dim = scanner_.integer<int>("a dimension");
      scanner_.expect("by");
      outer.block = scanner_.integer("points");
      strips.outer.push_back(outer);
    }
    if (scanner_.accept("scatter")) {
      StripSchedule::Scatter scatter;
      scatter.axis = scanner_.integer<int>("an axis");
      scanner_.expect("by");
      scatter.chunk = scanner_.integer("steps");
      strips.scatter = scatter;
    }
    while (!scanner_.failed() && scanner_.accept("rows")) {
      StripSchedule::RowScatter scatter;
      scatter.axis = scanner_.integer<int>("an axis");
      scanner_.expect("of");
      scatter.stage = scanner_.integer<int>("a stage");
      strips.row_scatters.push_back(scatter);
    }
    scanner_.expect("split");
    strips.partition_loop = scanner_.integer<int>("a loop");
    strips.partitions = scanner_.integer("partitions");
    group.walk.emplace().schedule = std::move(strips);  // the rest follows from the stages
  }

  std::vector<Nest> derive_nests(GroupPlan& group) {
    if (Status sound = checker_->add(group); !sound) {
      refuse(group, sound.error().message);
      return {};
    }
    if (group.walk) {
      Result<Walk> walk = resolve_walk(graph_, plan_.storage, group.stages, group.walk->schedule);
      if (!walk) {
        refuse(group, walk.error().message);
        return {};
      }
      group.walk = walk.take();
    }
    return group_nests(graph_, plan_.storage, group);
  }

  int axis(const Nest& nest) {
    const std::string name = scanner_.name("an axis");
    for (size_t i = 0; i < nest.axes.size(); ++i) {
      if (nest.axes[i].name == name) return static_cast<int>(i);
    }
    scanner_.fail(fmt::format("the nest has no axis '{}'; it has{}", name, print_axes(nest)));
    return -1;
  }

  int optional_axis(const Nest& nest) { return scanner_.accept("-") ? -1 : axis(nest); }

  std::vector<int> axes(const Nest& nest) {
    std::vector<int> result;
    if (scanner_.accept("-")) return result;
    do {
      result.push_back(axis(nest));
    } while (!scanner_.failed() && scanner_.accept(","));
    return result;
  }

  NestSchedule parse_schedule(const Nest& nest) {
    NestSchedule s;
    if (scanner_.accept("matrix")) s.matrix = scanner_.integer("channels");
    scanner_.expect("vector");
    s.vector_axis = optional_axis(nest);
    s.vector_tile = scanner_.integer("lanes");
    if (scanner_.accept("beside")) s.lane_steps = scanner_.integer("steps");
    if (scanner_.accept("bytes")) s.byte_steps = scanner_.integer("steps");
    scanner_.expect("tile");
    if (!scanner_.accept("-")) {
      do {
        int tiled = axis(nest);
        s.register_tile.push_back({tiled, scanner_.integer("an extent")});
      } while (!scanner_.failed() && scanner_.accept(","));
    }
    scanner_.expect("unroll");
    s.unrolled_reductions = axes(nest);
    scanner_.expect("reduce");
    s.reduction_order = axes(nest);
    scanner_.expect("steps");
    s.reduction_unroll = scanner_.integer<int>("steps");
    scanner_.expect("prefetch");
    s.prefetch = keyword(kPrefetches, "none, panel or ahead");
    scanner_.expect("order");
    s.parallel_order = axes(nest);
    scanner_.expect("block");
    s.block_axis = optional_axis(nest);
    s.block_tiles = scanner_.integer("tiles");
    scanner_.expect("split");
    s.partition_axis = optional_axis(nest);
    s.partitions = scanner_.integer("partitions");
    return s;
  }

  const graph::Graph& graph_;
  Scanner scanner_;
  FusionPlan plan_;
  std::optional<PlanChecker> checker_;
};

std::string print_strips(const StripSchedule& strips) {
  std::string text = fmt::format("  strips {} by {}", strips.stream_dim, strips.strip);
  for (const auto& outer : strips.outer) {
    text += fmt::format(" outer {} by {}", outer.dim, outer.block);
  }
  if (const auto& scatter = strips.scatter) {
    text += fmt::format(" scatter {} by {}", scatter->axis, scatter->chunk);
  }
  for (const auto& scatter : strips.row_scatters) {
    text += fmt::format(" rows {} of {}", scatter.axis, scatter.stage);
  }
  return text + fmt::format(" split {} {}\n", strips.partition_loop, strips.partitions);
}

std::string print_group(const graph::Graph& graph, const StoragePlan& storage,
                        const GroupPlan& group) {
  const StorageView view(storage, group.walk);
  std::string text = fmt::format("group {}", to_string(group.kind));
  if (group.output >= 0) text += fmt::format(" {}", group.output);
  text += " {\n";
  for (const Stage& stage : group.stages) {
    if (group.stages.size() > 1) text += "  stage\n";
    for (graph::NodeId id : stage.nodes) {
      text += fmt::format("  node {}\n", quoted(graph.nodes[id].name));
    }
    for (graph::ValueId value : stage.stored) {
      const Storage& place = view.place(value);
      const bool ring = view.root(place.root).kind == Root::Kind::kRing;
      text += fmt::format("  store {}  # {} {} at {}, strides [{}]\n",
                          quoted(graph.values[value].name), ring ? "ring" : "buffer", place.root,
                          place.offset, fmt::join(place.strides, ", "));
    }
  }
  for (const Link& link : links_of(graph, group)) {
    const std::string ring = describe_ring(link.strategy);
    text += fmt::format("  # {} from {} to {}: {}{}\n", quoted(graph.values[link.value].name),
                        quoted(graph.nodes[link.producer].name),
                        quoted(graph.nodes[link.consumer].name), to_string(link.strategy),
                        ring.empty() ? "" : ", " + ring);
  }
  if (group.walk) text += print_strips(group.walk->schedule);
  for (const ScheduledNest& scheduled : group.nests) {
    text += fmt::format("  #{}\n{}", print_axes(scheduled.nest), print_schedule(scheduled));
  }
  return text + "}\n";
}

std::string print_groups(const graph::Graph& graph, const FusionPlan& plan) {
  std::string text;
  for (const GroupPlan& group : plan.groups) text += print_group(graph, plan.storage, group);
  return text;
}

}  // namespace

std::string to_string(const graph::Graph& graph, const FusionPlan& plan) {
  return "plan\n" + print_groups(graph, plan);
}

std::string to_string(const SearchEffort& search) {
  if (search.num_runs == 0) return "# nothing was tried as one kernel\n";
  return fmt::format(
      "# {} runs of operators were tried as one kernel ({} of them equal to one before), in {} "
      "ways; "
      "of the cuts between them {}\n",
      search.num_runs, search.num_known, search.num_priced,
      search.exact ? "the best ones were found" : "the best few ways were kept");
}

Result<FusionPlan> parse_plan(const graph::Graph& graph, std::string_view text) {
  return PlanParser(graph, text).run();
}

std::string plan_hash(const graph::Graph& graph, const FusionPlan& plan) {
  uint64_t hash = 14695981039346656037ull;
  for (unsigned char byte : to_string(graph, plan)) hash = (hash ^ byte) * 1099511628211ull;
  return fmt::format("{:016x}", hash);
}

}  // namespace corf::fusion
