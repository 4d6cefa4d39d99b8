#pragma once
#include <corf/corf.hpp>
#include <optional>
#include <string>
#include <vector>

#include "json.h"

namespace corf::command {

/// A group of the plan with what it took.
struct MeasuredGroup {
  ExplainedGroup group;
  std::vector<StepProfile> steps;  // none: nothing was measured

  std::optional<double> measured_ms() const;
  /// Of the values that its operators hand to each other, some never go through memory.
  bool is_fused() const;
};

/// The nodes between which values move: those that are no epilogue of another, "first -> second
/// +3". A group without such links is named by its first node. As the model has them: not yet
/// printable.
std::string title(const ExplainedGroup& group);
/// Milliseconds; "-" for none.
std::string time_text(std::optional<double> time_ms);
bool is_inline(const ExplainedLink& link);

Json to_json(const std::vector<MeasuredGroup>& groups);
/// A table: each group with its times, and below it the links that are not inline. Lines are broken
/// to `columns` characters; 0: as long as they are.
std::string to_table(const std::vector<MeasuredGroup>& groups, int columns);
/// Graphviz: a box for each group around its nodes, an edge for each link.
std::string to_dot(const std::vector<MeasuredGroup>& groups);

}  // namespace corf::command
