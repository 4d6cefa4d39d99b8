#include "onnx/windows.h"

#include <algorithm>

#include "support/checked.h"

namespace corf::onnx {
Result<std::vector<int64_t>> positive_ints(NodeImport& node, std::string_view name, size_t count) {
  auto values = node.ints_attribute(name, std::vector<int64_t>(count, 1));
  if (values.size() != count) {
    return node.invalid("attribute '{}' has {} values for {} spatial dimensions", name,
                        values.size(), count);
  }
  for (int64_t value : values) {
    if (value < 1 || value > kMaxWindowValue) {
      return node.invalid("attribute '{}' holds {}; 1 to {} are possible", name, value,
                          kMaxWindowValue);
    }
  }
  return values;
}

Result<WindowExtents> read_window(NodeImport& node, const Shape& spatial,
                                  std::vector<int64_t> kernel, bool ceil_mode) {
  size_t count = spatial.size();
  WindowExtents result;
  graph::Window& window = result.window;
  window.kernel = std::move(kernel);
  CORF_ASSIGN(window.strides, positive_ints(node, "strides", count));
  CORF_ASSIGN(window.dilations, positive_ints(node, "dilations", count));
  auto pads = node.ints_attribute("pads", std::vector<int64_t>(2 * count, 0));
  std::string auto_pad = node.string_attribute("auto_pad", "NOTSET");
  if (auto_pad != "NOTSET" && auto_pad != "VALID" && auto_pad != "SAME_UPPER" &&
      auto_pad != "SAME_LOWER") {
    return node.invalid("unknown auto_pad '{}'", auto_pad);
  }
  if (auto_pad != "NOTSET") pads.assign(2 * count, 0);
  if (pads.size() != 2 * count) {
    return node.invalid("attribute 'pads' has {} values for {} spatial dimensions", pads.size(),
                        count);
  }
  for (size_t i = 0; i < count; ++i) {
    int64_t begin = pads[i];
    int64_t end = pads[count + i];
    if (std::min(begin, end) < 0 || std::max(begin, end) > kMaxWindowValue) {
      return node.invalid("attribute 'pads' holds {} and {}", begin, end);
    }
    if (window.kernel[i] < 1 || window.kernel[i] > kMaxWindowValue) {
      return node.invalid("kernel extent {}; it must be positive", window.kernel[i]);
    }
    int64_t stride = window.strides[i];
    int64_t reach = (window.kernel[i] - 1) * window.dilations[i] + 1;
    int64_t extent = 0;
    if (auto_pad.starts_with("SAME")) {
      extent = ceil_div(spatial[i], stride);
      int64_t total = std::max<int64_t>(0, (extent - 1) * stride + reach - spatial[i]);
      begin = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
    } else {
      int64_t room = spatial[i] + begin + end - reach;
      extent = (ceil_mode ? ceil_div(room, stride) : floor_div(room, stride)) + 1;
      if (ceil_mode && (extent - 1) * stride >= spatial[i] + begin) --extent;
    }
    if (extent < 1) {
      return node.invalid(
          "a window of {} (kernel {}, dilation {}) does not fit into spatial extent {} with "
          "padding "
          "{} and {}",
          reach, window.kernel[i], window.dilations[i], spatial[i], begin, end);
    }
    window.pads_begin.push_back(begin);
    window.pads_end.push_back(end);
    result.output.push_back(extent);
  }
  return result;
}

}  // namespace corf::onnx
