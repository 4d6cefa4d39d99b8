#include "plan_picture.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "markup.h"
#include "terminal.h"

namespace corf::command {
namespace {

// In pixels.
constexpr double kMargin = 16, kHead = 30, kBoxHead = 30, kNode = 34, kPad = 12, kArrow = 34;
constexpr double kCharacter = 7.2, kLink = 22;
constexpr int kLongestName = 44;

/// An operator as it is drawn: with the elementwise ones that are computed within it.
struct Chip {
  std::string name;
  size_t num_inlined = 0;
  double left = 0, width = 0;
  const ExplainedLink* before = nullptr;  // from the chip to its left
};

struct Drawing {
  std::vector<Chip> chips;
  std::vector<const ExplainedLink*> links;  // between chips
  double width = 0, height = 0;
};

std::string short_name(const std::string& name) { return shortened(name, kLongestName); }

double width_of(const std::string& text) { return kCharacter * static_cast<double>(text.size()); }

/// "ring of 7 rows": the reason's first words.
std::string reason_of(const ExplainedLink& link) {
  return shortened(link.why.substr(0, link.why.find(',')), kLongestName);
}

std::string row_of(const ExplainedLink& link) {
  return fmt::format("{}, {}: {}", link.strategy, reason_of(link), short_name(link.producer));
}

std::string times_of(const MeasuredGroup& entry) {
  const auto measured_ms = entry.measured_ms();
  return measured_ms
             ? fmt::format("one kernel, {} ms", time_text(measured_ms))
             : fmt::format("one kernel, {} ms predicted", time_text(entry.group.predicted_ms));
}

Drawing arrange(const MeasuredGroup& entry) {
  const ExplainedGroup& group = entry.group;
  Drawing drawing;
  std::map<std::string, size_t> chip_of;
  for (const std::string& node : group.nodes) {
    const auto into =
        std::find_if(group.links.begin(), group.links.end(), [&](const ExplainedLink& link) {
          return is_inline(link) && link.consumer == node && chip_of.contains(link.producer);
        });
    if (into != group.links.end()) {
      const size_t chip = chip_of[into->producer];
      ++drawing.chips[chip].num_inlined;
      chip_of[node] = chip;
    } else {
      chip_of[node] = drawing.chips.size();
      drawing.chips.push_back({node});
    }
  }
  for (const ExplainedLink& link : group.links) {
    if (is_inline(link) || !chip_of.contains(link.producer)) continue;
    const size_t from = chip_of[link.producer], to = chip_of[link.consumer];
    if (from + 1 == to && drawing.chips[to].before == nullptr) {
      drawing.chips[to].before = &link;
    } else if (from != to) {
      drawing.links.push_back(&link);
    }
  }
  double left = kPad;
  for (Chip& chip : drawing.chips) {
    const std::string more = chip.num_inlined > 0 ? fmt::format(" +{}", chip.num_inlined) : "";
    chip.name = short_name(chip.name) + more;
    chip.width = width_of(chip.name) + 2 * kPad;
    if (&chip != &drawing.chips.front()) {
      left += chip.before == nullptr ? kArrow
                                     : kPad + std::max(width_of(chip.before->strategy),
                                                       width_of(reason_of(*chip.before)));
    }
    chip.left = left;
    left += chip.width;
  }
  drawing.width = std::max(left, kPad + width_of(times_of(entry))) + kPad;
  for (const ExplainedLink* link : drawing.links) {
    drawing.width = std::max(drawing.width, 3 * kPad + width_of(row_of(*link)));
  }
  drawing.height = kBoxHead + kNode + kPad + kLink * static_cast<double>(drawing.links.size());
  return drawing;
}

std::string draw(const MeasuredGroup& entry, const Drawing& drawing, double top) {
  std::string svg = fmt::format(
      "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"8\" fill=\"{}\" "
      "stroke=\"#c8ccd2\"/>\n",
      kMargin, top, drawing.width, drawing.height, entry.is_fused() ? "#eaf5ee" : "#f4f5f7");
  svg += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"#6b7078\">{}</text>\n", kMargin + kPad,
                     top + 18, times_of(entry));
  const double y = top + kBoxHead;
  for (size_t i = 0; i < drawing.chips.size(); ++i) {
    const Chip& chip = drawing.chips[i];
    const double x = kMargin + chip.left;
    svg += fmt::format(
        "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"5\" "
        "fill=\"#ffffff\" stroke=\"#20242a\"/>\n<text x=\"{:.0f}\" y=\"{:.0f}\" "
        "text-anchor=\"middle\" fill=\"#20242a\">{}</text>\n",
        x, y, chip.width, kNode - 6, x + chip.width / 2, y + 19, markup(chip.name));
    if (i == 0) continue;
    const double from = kMargin + drawing.chips[i - 1].left + drawing.chips[i - 1].width;
    if (chip.before == nullptr) continue;
    svg += fmt::format(
        "<line x1=\"{:.0f}\" y1=\"{:.0f}\" x2=\"{:.0f}\" y2=\"{:.0f}\" stroke=\"{}\" "
        "stroke-width=\"2\" marker-end=\"url(#tip)\"/>\n",
        from + 2, y + 14, x - 5, y + 14, color_of(chip.before->strategy));
    const double middle = (from + x) / 2;
    for (const auto& [text, below] :
         {std::pair(chip.before->strategy, 8.0), std::pair(reason_of(*chip.before), 29.0)}) {
      svg += fmt::format(
          "<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\" fill=\"{}\">{}</text>\n", middle,
          y + below, color_of(chip.before->strategy), markup(text));
    }
  }
  double row = y + kNode + 14;
  for (const ExplainedLink* link : drawing.links) {
    svg += fmt::format(
        "<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"{}\">&#8627; {}<title>{} to {}: "
        "{}</title></text>\n",
        kMargin + kPad, row, color_of(link->strategy), markup(row_of(*link)),
        markup(link->producer), markup(link->consumer), markup(link->why));
    row += kLink;
  }
  return svg;
}

}  // namespace

std::string to_picture(const std::string& model, const std::vector<MeasuredGroup>& groups) {
  std::vector<Drawing> drawings;
  double width = width_of(model) + 2 * kMargin, height = kHead + kMargin - kArrow;
  for (const MeasuredGroup& entry : groups) {
    drawings.push_back(arrange(entry));
    width = std::max(width, drawings.back().width + 2 * kMargin);
    height += drawings.back().height + kArrow;
  }
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" font-family=\"DejaVu Sans Mono, Menlo, monospace\" font-size=\"12\">\n"
      "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"7\" "
      "markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#1e8449\"/></marker>"
      "</defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
      "<text x=\"{2:.0f}\" y=\"22\" font-weight=\"bold\" fill=\"#20242a\">{3}</text>\n",
      width, height, kMargin, markup(model));
  double top = kHead;
  for (size_t i = 0; i < groups.size(); ++i) {
    svg += draw(groups[i], drawings[i], top);
    top += drawings[i].height;
    if (i + 1 < groups.size()) {
      svg += fmt::format(
          "<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"#c0392b\">&#8595; through memory</text>\n",
          kMargin + kPad, top + 21);
    }
    top += kArrow;
  }
  return svg + "</svg>\n";
}

}  // namespace corf::command
