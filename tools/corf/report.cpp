#include "report.h"

#include <algorithm>
#include <fmt/format.h>

#include "charts.h"
#include "markup.h"

namespace corf::command {
namespace {

// Text and code go into the page as they are.
constexpr const char* kStyle = R"(
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5em auto; padding: 0 1.5em; max-width: 1800px;
  color: #20242a; box-sizing: border-box; }
h1 { font-size: 1.5em; overflow-wrap: anywhere; } h2 { font-size: 1.15em; margin: 1.6em 0 .4em; }
p { max-width: 110ch; }
svg { display: block; width: 100%; height: auto; max-height: 560px; }
dl { display: flex; flex-wrap: wrap; gap: .6em 2em; margin: 0; }
dt { color: #6b7078; } dd { margin: 0; font-size: 1.15em; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
td, th { text-align: left; padding: 3px 8px; vertical-align: top; overflow-wrap: anywhere; }
th { border-bottom: 2px solid #20242a; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid #2471a3; }
tr.group td { border-top: 1px solid #c8ccd2; font-weight: 600; }
tr.link td { color: #4a4f57; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { height: 7px; margin-top: 3px; max-width: 100%; }
)";

/// Sorts the table's bodies, one a group, by the number that each keeps for the column.
constexpr const char* kScript = R"(
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const table = button.closest("table"), key = button.dataset.key;
    const falling = table.dataset.sorted !== key && key !== "place";
    table.dataset.sorted = falling ? key : "";
    const bodies = [...table.tBodies].sort((a, b) => Number(a.dataset[key]) - Number(b.dataset[key]));
    for (const body of falling ? bodies.reverse() : bodies) table.append(body);
  });
}
)";

constexpr double kMebibyte = 1 << 20;

struct Totals {
  double predicted_ms = 0, measured_ms = 0;
  int64_t work_flops = 0;
  size_t fused = 0;
};

Totals totals_of(const std::vector<MeasuredGroup>& groups) {
  Totals totals;
  for (const MeasuredGroup& entry : groups) {
    totals.predicted_ms += entry.group.predicted_ms;
    totals.measured_ms += entry.measured_ms().value_or(0);
    for (const StepProfile& step : entry.steps) totals.work_flops += step.work_flops;
    totals.fused += entry.is_fused();
  }
  return totals;
}

std::string fact(const char* name, const std::string& value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", name, markup(value));
}

std::string percent(double part, double whole) {
  return whole > 0 && part > 0 ? fmt::format("{:.0f} %", 100 * part / whole) : "-";
}

std::string gflops(int64_t flops, double time_ms) {
  return flops > 0 && time_ms > 0
             ? fmt::format("{:.0f}", static_cast<double>(flops) / (time_ms * 1e6))
             : "-";
}

std::string facts(const ReportSubject& subject, const std::vector<MeasuredGroup>& groups) {
  const Totals totals = totals_of(groups);
  const corf_machine_info& machine = subject.machine;
  std::string html = "<dl>\n";
  html += fact("predicted", time_text(totals.predicted_ms) + " ms");
  if (subject.limit_ms > 0) {
    const corf_executable_info& executable = subject.executable;
    html += fact("measured, step by step", time_text(totals.measured_ms) + " ms");
    html += fact("speed", gflops(totals.work_flops, totals.measured_ms) + " GFLOP/s");
    html += fact("of the machine's limit", percent(subject.limit_ms, totals.measured_ms));
    html +=
        fact("constants",
             fmt::format("{:.1f} MiB", static_cast<double>(executable.constant_bytes) / kMebibyte));
    html +=
        fact("intermediates",
             fmt::format("{:.1f} MiB", static_cast<double>(executable.arena_bytes) / kMebibyte));
    html += fact("plan", executable.plan_hash);
  }
  html += fact("groups",
               fmt::format("{}, {} of several complex operators", groups.size(), totals.fused));
  html +=
      fact("machine", fmt::format("{}, {}, {} threads", machine.cpu, machine.isa, machine.threads));
  html += fact("caches", fmt::format("{} KiB, {} KiB, {} MiB", machine.l1_bytes >> 10,
                                     machine.l2_bytes >> 10, machine.l3_bytes >> 20));
  html += fact("corf", fmt::format("{} ({})", corf_version(), corf_compiler_version()));
  return html + "</dl>\n";
}

std::string bar(double time_ms, double longest_ms, const char* color) {
  const double share = longest_ms > 0 ? 100 * time_ms / longest_ms : 0;
  return fmt::format("<div class=\"bar\" style=\"width:{:.1f}%;background:{}\"></div>", share,
                     color);
}

std::string table_row(const MeasuredGroup& entry, size_t place, double total_ms,
                      double longest_ms) {
  const ExplainedGroup& group = entry.group;
  const double measured_ms = entry.measured_ms().value_or(0);
  double limit_ms = 0;
  int64_t flops = 0;
  for (const StepProfile& step : entry.steps) {
    limit_ms += step.limit_ms;
    flops += step.work_flops;
  }
  std::string nodes;
  for (const std::string& node : group.nodes) nodes += (nodes.empty() ? "" : ", ") + node;
  std::string html = fmt::format(
      "<tbody data-place=\"{}\" data-predicted=\"{}\" data-measured=\"{}\" data-speed=\"{}\" "
      "data-limit=\"{}\">\n<tr class=\"group\" title=\"{}\"><td class=\"number\">{}"
      "<td colspan=\"2\">{}<td class=\"number\">{}<td class=\"number\">{}<td class=\"number\">{}"
      "<td class=\"number\">{}<td class=\"number\">{}<td>{}{}</tr>\n",
      place, group.predicted_ms, measured_ms,
      measured_ms > 0 ? static_cast<double>(flops) / measured_ms : 0,
      measured_ms > 0 ? limit_ms / measured_ms : 0, markup(nodes), place + 1, markup(title(group)),
      time_text(group.predicted_ms), time_text(entry.measured_ms()), percent(measured_ms, total_ms),
      gflops(flops, measured_ms), percent(limit_ms, measured_ms),
      bar(group.predicted_ms, longest_ms, "#8a8f98"), bar(measured_ms, longest_ms, "#2471a3"));
  for (const ExplainedLink& link : group.links) {
    if (is_inline(link)) continue;
    html += fmt::format(
        "<tr class=\"link\"><td><td>{} &rarr; {}<td>{}, <span style=\"color:{}\">{}</span>"
        "<td colspan=\"6\">{}</tr>\n",
        markup(link.producer), markup(link.consumer), markup(link.mapping), color_of(link.strategy),
        markup(link.strategy), markup(link.why));
  }
  return html + "</tbody>\n";
}

std::string table(const std::vector<MeasuredGroup>& groups) {
  double longest_ms = 0, total_ms = 0;
  for (const MeasuredGroup& entry : groups) {
    const double measured_ms = entry.measured_ms().value_or(0);
    longest_ms = std::max({longest_ms, entry.group.predicted_ms, measured_ms});
    total_ms += measured_ms;
  }
  std::string html =
      "<table>\n<colgroup><col style=\"width:3.2em\"><col><col style=\"width:19%\">"
      "<col style=\"width:7.6em\"><col style=\"width:7.6em\"><col style=\"width:4.5em\">"
      "<col style=\"width:6em\"><col style=\"width:5.8em\"><col style=\"width:13%\"></colgroup>\n"
      "<thead><tr><th class=\"number\"><button data-key=\"place\">#</button><th>group<th>mapping, "
      "strategy<th class=\"number\"><button data-key=\"predicted\">predicted ms</button>"
      "<th class=\"number\"><button data-key=\"measured\">measured&nbsp;ms</button><th "
      "class=\"number\">"
      "<button data-key=\"measured\">share</button><th class=\"number\">"
      "<button data-key=\"speed\">GFLOP/s</button><th class=\"number\">"
      "<button data-key=\"limit\">of&nbsp;limit</button><th>why; times</tr></thead>\n";
  for (size_t i = 0; i < groups.size(); ++i) {
    html += table_row(groups[i], i, total_ms, longest_ms);
  }
  return html + "</table>\n";
}

}  // namespace

std::string to_html(const ReportSubject& subject, const std::vector<MeasuredGroup>& groups) {
  std::vector<ChartStep> steps;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const StepProfile& step : groups[i].steps) steps.push_back({step, i});
  }
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Plan of {0}</title>\n"
      "<style>{1}</style>\n</head>\n<body>\n<h1>Plan of {0}</h1>\n{2}",
      markup(subject.model), kStyle, facts(subject, groups));
  if (!steps.empty()) {
    html +=
        "<h2>Workers</h2>\n<p>What each worker does in one run; in gaps it waits for the others. "
        "Bars of one group have one colour.</p>\n" +
        timeline(steps);
    html +=
        "<h2>Roofline</h2>\n<p>Each circle is a kernel, the larger the longer it takes. A line is "
        "how fast operands from that level could be computed with. FLOPs are counted as of direct "
        "convolutions, so that kernels of Winograd's method may lie above the roof.</p>\n" +
        roofline(steps, subject.machine);
  }
  html +=
      "<h2>Groups</h2>\n<p>Each group runs as one kernel. Below it, the values that its operators "
      "hand to each other, but for those that are computed where they are read. Grey bars: "
      "predicted time; blue bars: measured. A click on a column's head sorts.</p>\n" +
      table(groups);
  return html + fmt::format("<script>{}</script>\n</body>\n</html>\n", kScript);
}

}  // namespace corf::command
