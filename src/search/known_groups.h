#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fusion/plan.h"

namespace corf::search {

struct StripSearch;
struct TimedGroup;

/// A kernel of a plan, to be taken over by the plan of a graph that differs in some extents.
struct KnownGroup {
  std::string first, last;  // of the first and the last stage: names of the first node
  size_t num_stages = 1;
  std::optional<fusion::StripSchedule> strips;
  int64_t rows = 0;  // of the strips' stream dimension
  struct Stage {
    fusion::NestSchedule schedule;
    std::vector<int64_t> extents;  // of the nest's axes
  };
  std::vector<Stage> stages;
};

/// The kernels of the plan, routines and copies apart.
std::vector<KnownGroup> known_groups(const graph::Graph& graph, const fusion::FusionPlan& plan);

/// A group that runs alone, with the schedule of the known one; nullopt if it does not fit, or
/// makes more tiles than the group's own.
std::optional<fusion::GroupPlan> alone_as(const KnownGroup& known, const fusion::GroupPlan& group);

/// Marks the axes that are longer or shorter in the known group.
void mark_varying(const KnownGroup& known, fusion::GroupPlan& group);

/// The same stages in strips and with schedules as the known group has them, the strips' length in
/// proportion, or as `found` has them; nullopt if they do not fit.
std::optional<TimedGroup> in_strips_as(StripSearch& search, const KnownGroup& known,
                                       const fusion::GroupPlan& joined,
                                       const fusion::StripSchedule& found);

}  // namespace corf::search
