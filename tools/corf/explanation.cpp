#include "explanation.h"

#include <algorithm>
#include <fmt/format.h>

#include "markup.h"
#include "support/printable.h"
#include "terminal.h"

namespace corf::command {

std::optional<double> MeasuredGroup::measured_ms() const {
  if (steps.empty()) return std::nullopt;
  double time_ms = 0;
  for (const StepProfile& step : steps) time_ms += step.time_ms;
  return time_ms;
}

bool MeasuredGroup::is_fused() const {
  return std::any_of(group.links.begin(), group.links.end(), [](const ExplainedLink& link) {
    return !is_inline(link) && link.strategy != "materialise";
  });
}

bool is_inline(const ExplainedLink& link) { return link.strategy == "inline"; }

std::string time_text(std::optional<double> time_ms) {
  return time_ms && *time_ms > 0 ? fmt::format("{:.4f}", *time_ms) : "-";
}

std::string title(const ExplainedGroup& group) {
  std::vector<std::string> names;
  for (const std::string& node : group.nodes) {
    const bool inlined = std::any_of(
        group.links.begin(), group.links.end(),
        [&](const ExplainedLink& link) { return is_inline(link) && link.consumer == node; });
    if (!inlined) names.push_back(node);
  }
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " -> ") + name;
  const size_t others = group.nodes.size() - names.size();
  if (others > 0) text += fmt::format(" +{}", others);
  return text;
}

Json to_json(const std::vector<MeasuredGroup>& groups) {
  Json list = Json::array();
  for (const MeasuredGroup& entry : groups) {
    Json links = Json::array();
    for (const ExplainedLink& link : entry.group.links) {
      links.push_back({{"producer", link.producer},
                       {"consumer", link.consumer},
                       {"mapping", link.mapping},
                       {"strategy", link.strategy},
                       {"why", link.why}});
    }
    const auto measured_ms = entry.measured_ms();
    list.push_back({{"nodes", entry.group.nodes},
                    {"predicted_ms", entry.group.predicted_ms},
                    {"measured_ms", measured_ms ? Json(*measured_ms) : Json(nullptr)},
                    {"links", links}});
  }
  return {{"groups", list}};
}

std::string to_table(const std::vector<MeasuredGroup>& groups, int columns) {
  constexpr int kTimes = 27;  // columns of the times
  std::string text = fmt::format("{:>12} {:>12}  {}\n", "predicted ms", "measured ms", "group");
  const auto add = [&](const std::string& line) {
    text += wrapped(line, columns, kTimes + 4) + '\n';
  };
  double predicted_ms = 0, measured_ms = 0;
  size_t fused = 0;
  for (const MeasuredGroup& entry : groups) {
    const ExplainedGroup& group = entry.group;
    add(fmt::format("{:>12} {:>12}  {}", time_text(group.predicted_ms),
                    time_text(entry.measured_ms()), printable(title(group))));
    predicted_ms += group.predicted_ms;
    measured_ms += entry.measured_ms().value_or(0);
    fused += entry.is_fused();
    for (const ExplainedLink& link : group.links) {
      if (is_inline(link)) continue;
      add(fmt::format("{:27}  {} -> {}: {}, {} ({})", "", printable(link.producer),
                      printable(link.consumer), link.mapping, link.strategy, printable(link.why)));
    }
  }
  add(fmt::format("{:>12} {:>12}  {} groups, {} of them of several complex operators",
                  time_text(predicted_ms), time_text(measured_ms), groups.size(), fused));
  return text;
}

namespace {

std::string dot(const std::string& text) {
  return '"' + escaped(printable(text), {{'"', "\\\""}, {'\\', "\\\\"}, {'\n', " "}}) + '"';
}

}  // namespace

std::string to_dot(const std::vector<MeasuredGroup>& groups) {
  std::string text = "digraph plan {\n  node [shape=box, style=rounded, fontname=sans];\n";
  for (size_t g = 0; g < groups.size(); ++g) {
    const ExplainedGroup& group = groups[g].group;
    text += fmt::format(
        "  subgraph cluster_{} {{\n    label={};\n    color=\"#c8ccd2\";\n", g,
        dot(fmt::format("{} ms predicted, {} ms measured", time_text(group.predicted_ms),
                        time_text(groups[g].measured_ms()))));
    for (const std::string& node : group.nodes) text += fmt::format("    {};\n", dot(node));
    text += "  }\n";
  }
  for (const MeasuredGroup& entry : groups) {
    for (const ExplainedLink& link : entry.group.links) {
      text += fmt::format("  {} -> {} [color=\"{}\", label={}, tooltip={}];\n", dot(link.producer),
                          dot(link.consumer), color_of(link.strategy),
                          dot(is_inline(link) ? "" : link.strategy),
                          dot(link.mapping + ": " + link.why));
    }
  }
  return text + "}\n";
}

}  // namespace corf::command
