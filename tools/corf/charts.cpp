#include "charts.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "markup.h"

namespace corf::command {
namespace {

// Sizes are in pixels of the drawing, which is scaled to the page's width.
constexpr double kWidth = 1200, kLeft = 80, kRight = 20;
constexpr double kInside = kWidth - kLeft - kRight;
constexpr const char* kColors[] = {"#2471a3", "#1e8449", "#b9770e",
                                   "#7d3c98", "#148f77", "#a04000"};

std::string color(size_t group) { return kColors[group % std::size(kColors)]; }

std::string open(double height) {
  return fmt::format(
      "<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" font-family=\"system-ui, sans-serif\" "
      "font-size=\"13\">\n",
      kWidth, height);
}

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"#4a4f57\">{}</text>\n", x, y,
      anchor, markup(text));
}

std::string line(double x1, double y1, double x2, double y2, const char* stroke) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1, y1, x2,
      y2, stroke);
}

/// 1, 2 or 5 times a power of ten, so that about eight of them make up `span`.
double round_step(double span) {
  const double rough = span / 8, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

/// A logarithmic axis between powers of ten.
struct LogAxis {
  double least, greatest;  // exponents
  double from, to;         // pixels

  LogAxis(double low, double high, double from, double to)
      : least(std::floor(std::log10(low))),
        greatest(std::max(std::ceil(std::log10(high)), least + 1)),
        from(from),
        to(to) {}
  double at(double value) const {
    return from + (to - from) * (std::log10(value) - least) / (greatest - least);
  }
};

struct Roof {
  const char* name;
  double gbps;
};

}  // namespace

std::string timeline(const std::vector<ChartStep>& steps) {
  constexpr double kLane = 26, kBar = 20, kAxis = 24;
  if (steps.empty()) return "";
  const size_t num_workers = steps.front().profile.busy_ms.size();
  const StepProfile& last = steps.back().profile;
  const double total_ms = std::max(last.start_ms + last.time_ms, 1e-9);
  const double bottom = kLane * static_cast<double>(num_workers);
  std::string svg = open(bottom + kAxis);
  const double step_ms = round_step(total_ms);
  for (double at_ms = 0; at_ms <= total_ms * 1.0001; at_ms += step_ms) {
    const double x = kLeft + kInside * at_ms / total_ms;
    svg += line(x, 0, x, bottom + 4, "#d5d8dc");
    svg += text_at(x, bottom + 18, "middle", fmt::format("{:.4g} ms", at_ms));
  }
  for (size_t worker = 0; worker < num_workers; ++worker) {
    const double y = kLane * static_cast<double>(worker) + (kLane - kBar) / 2;
    svg += text_at(kLeft - 8, y + 14, "end", fmt::format("worker {}", worker));
    for (const ChartStep& step : steps) {
      const StepProfile& one = step.profile;
      svg += fmt::format(
          "<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.0f}\" fill=\"{}\">"
          "<title>{}: {:.4f} of {:.4f} ms</title></rect>\n",
          kLeft + kInside * one.start_ms / total_ms, y, kInside * one.busy_ms[worker] / total_ms,
          kBar, color(step.group), markup(one.label), one.busy_ms[worker], one.time_ms);
    }
  }
  return svg + "</svg>\n";
}

std::string roofline(const std::vector<ChartStep>& steps, const corf_machine_info& machine) {
  constexpr double kHeight = 420, kTop = 12, kBottom = 370;
  const double peak = machine.fma_gflops_all;
  const auto threads = static_cast<double>(machine.threads);
  const Roof roofs[] = {{"memory", machine.memory_gbps_all},
                        {"third level", machine.l3_gbps_core * threads},
                        {"second level", machine.l2_gbps_core * threads},
                        {"first level", machine.l1_gbps_core * threads}};
  double low_x = 1, high_x = 100, low_y = peak / 100, high_y = peak, longest_ms = 0;
  std::vector<const ChartStep*> shown;
  const auto intensity = [](const StepProfile& step) {
    return static_cast<double>(step.work_flops) / static_cast<double>(step.compulsory_bytes);
  };
  const auto speed = [](const StepProfile& step) {
    return static_cast<double>(step.work_flops) / (step.time_ms * 1e6);
  };
  for (const ChartStep& step : steps) {
    const StepProfile& one = step.profile;
    if (one.work_flops <= 0 || one.compulsory_bytes <= 0 || !(one.time_ms > 0)) continue;
    shown.push_back(&step);
    low_x = std::min(low_x, intensity(one));
    high_x = std::max(high_x, intensity(one));
    low_y = std::min(low_y, speed(one));
    high_y = std::max(high_y, speed(one));
    longest_ms = std::max(longest_ms, one.time_ms);
  }
  if (shown.empty() || !(peak > 0)) return "";
  const LogAxis x(low_x, high_x, kLeft, kWidth - kRight), y(low_y, high_y, kBottom, kTop);
  std::string svg = open(kHeight);
  for (double power = x.least; power <= x.greatest; ++power) {
    const double value = std::pow(10, power);
    svg += line(x.at(value), kTop, x.at(value), kBottom, "#e5e7ea");
    svg += text_at(x.at(value), kBottom + 18, "middle", fmt::format("{:g}", value));
  }
  for (double power = y.least; power <= y.greatest; ++power) {
    const double value = std::pow(10, power);
    svg += line(kLeft, y.at(value), kWidth - kRight, y.at(value), "#e5e7ea");
    svg += text_at(kLeft - 8, y.at(value) + 4, "end", fmt::format("{:g}", value));
  }
  svg += text_at(kLeft + kInside / 2, kBottom + 40, "middle",
                 "FLOPs for each byte of a kernel's operands; upwards: GFLOP/s");
  svg += line(kLeft, y.at(peak), kWidth - kRight, y.at(peak), "#20242a");
  svg += text_at(kWidth - kRight, y.at(peak) - 5, "end",
                 fmt::format("multiply-adds, {:.0f} GFLOP/s", peak));
  const double lowest = std::pow(10, y.least), first = std::pow(10, x.least);
  for (const Roof& roof : roofs) {
    if (!(roof.gbps > 0)) continue;
    const double from = std::max(first, lowest / roof.gbps);
    const double ridge = std::min(peak / roof.gbps, std::pow(10, x.greatest));
    if (from >= ridge) continue;
    svg +=
        line(x.at(from), y.at(from * roof.gbps), x.at(ridge), y.at(ridge * roof.gbps), "#8a8f98");
    const double angle =
        std::atan2(y.at(ridge * roof.gbps) - y.at(from * roof.gbps), x.at(ridge) - x.at(from)) *
        180 / 3.14159265;
    const double middle = std::sqrt(from * ridge);
    svg += fmt::format(
        "<text transform=\"translate({:.1f},{:.1f}) rotate({:.1f})\" text-anchor=\"middle\" "
        "fill=\"#4a4f57\">{}, {:.0f} GB/s</text>\n",
        x.at(middle), y.at(middle * roof.gbps) - 5, angle, roof.name, roof.gbps);
  }
  for (const ChartStep* step : shown) {
    const StepProfile& one = step->profile;
    const double radius = 3 + 9 * std::sqrt(one.time_ms / longest_ms);
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\" fill-opacity=\"0.6\">"
        "<title>{}: {:.4f} ms, {:.1f} GFLOP/s, {:.2f} FLOP/byte</title></circle>\n",
        x.at(intensity(one)), y.at(speed(one)), radius, color(step->group), markup(one.label),
        one.time_ms, speed(one), intensity(one));
  }
  return svg + "</svg>\n";
}

}  // namespace corf::command
