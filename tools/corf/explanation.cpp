#include "explanation.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "support/printable.h"

namespace corf::command {
namespace {

bool is_inline(const ExplainedLink& link) { return link.strategy == "inline"; }

std::string time_text(std::optional<double> time_ms) {
  return time_ms && *time_ms > 0 ? fmt::format("{:.4f}", *time_ms) : "-";
}

/// The nodes between which values move: those that are no epilogue of another. A group without
/// such links is named by its first node.
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

std::string escaped(const std::string& text, const std::map<char, std::string>& escapes) {
  std::string result;
  for (char c : text) {
    const auto it = escapes.find(c);
    result += it == escapes.end() ? std::string(1, c) : it->second;
  }
  return result;
}

std::string html(const std::string& text) {
  return escaped(printable(text), {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}});
}

std::string dot(const std::string& text) {
  return '"' + escaped(printable(text), {{'"', "\\\""}, {'\\', "\\\\"}, {'\n', " "}}) + '"';
}

std::string color_of(const std::string& strategy) {
  if (strategy == "inline") return "#8a8f98";
  return strategy == "materialise" ? "#c0392b" : "#1e8449";
}

constexpr const char* kStyle = R"(
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #20242a; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: 3px 10px; vertical-align: top; }
th { border-bottom: 2px solid #20242a; }
tr.group td { border-top: 1px solid #c8ccd2; font-weight: 600; }
tr.link td { color: #4a4f57; }
td.time { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { height: 7px; margin-top: 2px; }
)";

std::string bar(double time_ms, double longest_ms, const char* color) {
  const double percent = longest_ms > 0 ? 100 * time_ms / longest_ms : 0;
  return fmt::format("<div class=\"bar\" style=\"width:{:.1f}%;background:{}\"></div>", percent,
                     color);
}

}  // namespace

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
    list.push_back({{"nodes", entry.group.nodes},
                    {"predicted_ms", entry.group.predicted_ms},
                    {"measured_ms", entry.measured_ms ? Json(*entry.measured_ms) : Json(nullptr)},
                    {"links", links}});
  }
  return {{"groups", list}};
}

std::string to_table(const std::vector<MeasuredGroup>& groups) {
  std::string text = fmt::format("{:>12} {:>12}  {}\n", "predicted ms", "measured ms", "group");
  double predicted_ms = 0, measured_ms = 0;
  size_t fused = 0;
  for (const MeasuredGroup& entry : groups) {
    const ExplainedGroup& group = entry.group;
    text += fmt::format("{:>12} {:>12}  {}\n", time_text(group.predicted_ms),
                        time_text(entry.measured_ms), printable(title(group)));
    predicted_ms += group.predicted_ms;
    measured_ms += entry.measured_ms.value_or(0);
    bool streams = false;
    for (const ExplainedLink& link : group.links) {
      if (is_inline(link)) continue;
      streams |= link.strategy != "materialise";
      text +=
          fmt::format("{:27}  {} -> {}: {}, {} ({})\n", "", printable(link.producer),
                      printable(link.consumer), link.mapping, link.strategy, printable(link.why));
    }
    fused += streams;
  }
  text += fmt::format("{:>12} {:>12}  {} groups, {} of them of several complex operators\n",
                      time_text(predicted_ms), time_text(measured_ms), groups.size(), fused);
  return text;
}

std::string to_dot(const std::vector<MeasuredGroup>& groups) {
  std::string text = "digraph plan {\n  node [shape=box, style=rounded, fontname=sans];\n";
  for (size_t g = 0; g < groups.size(); ++g) {
    const ExplainedGroup& group = groups[g].group;
    text += fmt::format(
        "  subgraph cluster_{} {{\n    label={};\n    color=\"#c8ccd2\";\n", g,
        dot(fmt::format("{} ms predicted, {} ms measured", time_text(group.predicted_ms),
                        time_text(groups[g].measured_ms))));
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

std::string to_html(const std::string& model, const std::vector<MeasuredGroup>& groups) {
  double longest_ms = 0;
  for (const MeasuredGroup& entry : groups) {
    longest_ms = std::max({longest_ms, entry.group.predicted_ms, entry.measured_ms.value_or(0)});
  }
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Plan of {0}</title>\n"
      "<style>{1}</style>\n<h1>Plan of {0}</h1>\n"
      "<p>Each group runs as one kernel. Grey bars: predicted time; blue bars: measured.</p>\n"
      "<table>\n<tr><th>group<th>mapping<th>strategy<th>why<th>predicted ms<th>measured ms"
      "<th style=\"width:20%\"></tr>\n",
      html(model), kStyle);
  for (const MeasuredGroup& entry : groups) {
    const ExplainedGroup& group = entry.group;
    std::string nodes;
    for (const std::string& node : group.nodes) nodes += (nodes.empty() ? "" : ", ") + node;
    text += fmt::format(
        "<tr class=\"group\" title=\"{}\"><td colspan=\"4\">{}<td class=\"time\">{}"
        "<td class=\"time\">{}<td>{}{}</tr>\n",
        html(nodes), html(title(group)), time_text(group.predicted_ms),
        time_text(entry.measured_ms), bar(group.predicted_ms, longest_ms, "#8a8f98"),
        bar(entry.measured_ms.value_or(0), longest_ms, "#2471a3"));
    for (const ExplainedLink& link : group.links) {
      if (is_inline(link)) continue;
      text += fmt::format(
          "<tr class=\"link\"><td>{} &rarr; {}<td>{}<td style=\"color:{}\">{}<td colspan=\"4\">{}"
          "</tr>\n",
          html(link.producer), html(link.consumer), html(link.mapping), color_of(link.strategy),
          html(link.strategy), html(link.why));
    }
  }
  return text + "</table>\n</html>\n";
}

}  // namespace corf::command
