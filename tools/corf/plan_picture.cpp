#include "plan_picture.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "markup.h"
#include "terminal.h"

namespace corf::command {
namespace {

// In pixels.
constexpr double kMargin = 16, kHead = 30, kBoxHead = 26, kNode = 34, kPad = 12, kArrow = 34;
constexpr double kCharacter = 7.2, kLink = 22;
constexpr int kLongestName = 44;

/// An operator as it is drawn: with the elementwise ones that are computed within it.
struct Chip {
  std::string name;
  size_t num_inlined = 0;
  double left = 0, width = 0;
};

struct Drawing {
  std::vector<Chip> chips;
  std::vector<const ExplainedLink*> links;  // between chips
  double width = 0, height = 0;
};

std::string short_name(const std::string& name) { return shortened(name, kLongestName); }

double width_of(const std::string& text) { return kCharacter * static_cast<double>(text.size()); }

/// "stream (ring of 7 rows)", of the whole reason no more than its first words.
std::string label_of(const ExplainedLink& link) {
  const std::string why = link.why.substr(0, link.why.find(','));
  return link.strategy + (link.strategy == "materialise" ? "" : " (" + why + ")");
}

Drawing arrange(const ExplainedGroup& group) {
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
    if (chip_of[link.producer] != chip_of[link.consumer]) drawing.links.push_back(&link);
  }
  double left = kPad;
  for (Chip& chip : drawing.chips) {
    const std::string more = chip.num_inlined > 0 ? fmt::format(" +{}", chip.num_inlined) : "";
    chip.name = short_name(chip.name) + more;
    chip.width = width_of(chip.name) + 2 * kPad;
    chip.left = left;
    left += chip.width + kArrow;
  }
  drawing.width = left - kArrow + kPad;
  for (const ExplainedLink* link : drawing.links) {
    drawing.width = std::max(drawing.width, 2 * kPad + width_of(label_of(*link)) + 40);
  }
  drawing.height = kBoxHead + kNode + kPad + kLink * static_cast<double>(drawing.links.size());
  return drawing;
}

std::string draw(const MeasuredGroup& entry, const Drawing& drawing, double top) {
  const ExplainedGroup& group = entry.group;
  std::map<std::string, const Chip*> chips;
  std::string svg = fmt::format(
      "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"8\" fill=\"{}\" "
      "stroke=\"#c8ccd2\"/>\n",
      kMargin, top, drawing.width, drawing.height, entry.is_fused() ? "#eaf5ee" : "#f4f5f7");
  const auto measured_ms = entry.measured_ms();
  const std::string times = measured_ms
                                ? fmt::format("{} ms", time_text(measured_ms))
                                : fmt::format("{} ms predicted", time_text(group.predicted_ms));
  svg += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"#6b7078\">one kernel, {}</text>\n",
                     kMargin + kPad, top + 18, times);
  const double y = top + kBoxHead;
  for (size_t i = 0; i < drawing.chips.size(); ++i) {
    const Chip& chip = drawing.chips[i];
    const double x = kMargin + chip.left;
    svg += fmt::format(
        "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"5\" "
        "fill=\"#ffffff\" stroke=\"#20242a\"/>\n<text x=\"{:.0f}\" y=\"{:.0f}\" "
        "text-anchor=\"middle\" fill=\"#20242a\">{}</text>\n",
        x, y, chip.width, kNode - 6, x + chip.width / 2, y + 19, markup(chip.name));
    if (i > 0) {
      const double from = kMargin + drawing.chips[i - 1].left + drawing.chips[i - 1].width;
      svg += fmt::format(
          "<line x1=\"{:.0f}\" y1=\"{:.0f}\" x2=\"{:.0f}\" y2=\"{:.0f}\" stroke=\"#1e8449\" "
          "stroke-width=\"2\" marker-end=\"url(#tip)\"/>\n",
          from + 2, y + 14, x - 4, y + 14);
    }
  }
  double row = y + kNode + 14;
  for (const ExplainedLink* link : drawing.links) {
    svg += fmt::format(
        "<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"{}\">&#8627; {}<title>{} to {}: "
        "{}</title></text>\n",
        kMargin + kPad, row, color_of(link->strategy), markup(label_of(*link)),
        markup(link->producer), markup(link->consumer), markup(link->why));
    row += kLink;
  }
  return svg;
}

}  // namespace

std::string to_picture(const std::string& model, const std::vector<MeasuredGroup>& groups) {
  std::vector<Drawing> drawings;
  double width = width_of(model) + 2 * kMargin, height = kHead + kMargin;
  for (const MeasuredGroup& entry : groups) {
    drawings.push_back(arrange(entry.group));
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
