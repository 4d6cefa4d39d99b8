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
  std::optional<double> measured_ms;
};

Json to_json(const std::vector<MeasuredGroup>& groups);
/// A table: each group with its times, and below it the links that are not inline.
std::string to_table(const std::vector<MeasuredGroup>& groups);
/// Graphviz: a box for each group around its nodes, an edge for each link.
std::string to_dot(const std::vector<MeasuredGroup>& groups);
/// A page of its own with the same table and bars for the times.
std::string to_html(const std::string& model, const std::vector<MeasuredGroup>& groups);

}  // namespace corf::command
