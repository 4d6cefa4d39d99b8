#include <algorithm>

#include "onnx/activations.h"
#include "onnx/compose.h"
#include "onnx/windows.h"

namespace corf::onnx {
namespace {

struct ConvolutionInputs {
  ValueId x = -1;
  ValueId w = -1;
  Shape x_shape;
  Shape w_shape;
  Shape spatial;
  std::vector<int64_t> kernel;
  int64_t groups = 1;
  int64_t out_channels = 0;
};

/// Checks what Conv and ConvTranspose have in common. `transposed`: w is [C, M/groups, kernel...]
/// instead of [M, C/groups, kernel...].
Result<ConvolutionInputs> read_inputs(NodeImport& node, ValueId x, bool transposed) {
  ConvolutionInputs in;
  in.x = x;
  in.w = node.input(1);
  in.x_shape = node.shape(in.x);
  in.w_shape = node.shape(in.w);
  if (in.x_shape.size() < 3 || in.w_shape.size() != in.x_shape.size()) {
    return node.invalid("input {} and weights {} must have equal ranks of at least 3",
                        to_string(in.x_shape), to_string(in.w_shape));
  }
  in.groups = node.int_attribute("group", 1);
  const int64_t channels = in.x_shape[1], outermost = in.w_shape[0], inner = in.w_shape[1];
  // Empty images may have any number of groups, and products of those overflow.
  bool fits = in.groups >= 1 && in.groups <= std::max<int64_t>(outermost, 1) &&
              channels % in.groups == 0 && outermost % in.groups == 0;
  if (transposed) {
    fits = fits && outermost == channels;
    in.out_channels = fits ? in.groups * inner : 0;
  } else {
    fits = fits && inner * in.groups == channels;
    in.out_channels = outermost;
  }
  if (!fits) {
    return node.invalid("input {} and weights {} do not fit with {} groups", to_string(in.x_shape),
                        to_string(in.w_shape), in.groups);
  }
  in.spatial.assign(in.x_shape.begin() + 2, in.x_shape.end());
  in.kernel.assign(in.w_shape.begin() + 2, in.w_shape.end());
  auto declared = node.ints_attribute("kernel_shape", in.kernel);
  if (declared != in.kernel) {
    return node.invalid("kernel_shape {} contradicts the weights' shape {}", to_string(declared),
                        to_string(in.w_shape));
  }
  return in;
}

/// y + bias (input 2), or y if there is none.
Result<ValueId> biased(NodeImport& node, ValueId y) {
  if (!node.has(2)) return y;
  ValueId bias = node.input(2);
  int64_t channels = node.shape(y)[1];
  if (node.shape(bias) != Shape{channels}) {
    return node.invalid("bias of shape {} for {} output channels", to_string(node.shape(bias)),
                        channels);
  }
  Shape shape(node.rank(y) - 1, 1);
  shape[0] = channels;
  ValueId column = reshape(node.graph, node.part("bias_column"), bias, shape);
  return binary(node.graph, node.part("bias"), ScalarOp::kAdd, y, column);
}

/// x convolved with input 1, the bias of input 2 added.
Result<ValueId> convolved(NodeImport& node, ValueId x) {
  CORF_ASSIGN(ConvolutionInputs in, read_inputs(node, x, false));
  CORF_ASSIGN(WindowExtents window, read_window(node, in.spatial, in.kernel, false));
  return biased(node, graph::conv(node.graph, node.name(), in.x, in.w, window.window, in.groups));
}

Status import_conv(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_ASSIGN(const ValueId y, convolved(node, node.input(0)));
  node.set_output(y);
  return {};
}

/// Channels last, of the image alone.
Status import_nhwc_conv(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_ASSIGN(const ValueId y, with_channels_first(node, node.input(0), [&](ValueId image) {
                return convolved(node, image);
              }));
  node.set_output(y);
  return {};
}

/// activation(conv(x, w) + bias + z)
Status import_fused_conv(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_ASSIGN(ValueId y, convolved(node, node.input(0)));
  if (node.has(3)) {
    const ValueId z = node.input(3);
    if (node.shape(z) != node.shape(y)) {
      return node.invalid("a summand of shape {} for a result of {}", to_string(node.shape(z)),
                          to_string(node.shape(y)));
    }
    y = binary(node.graph, node.part("sum"), ScalarOp::kAdd, y, z);
  }
  CORF_ASSIGN(y, activated(node, node.part("activation"), y,
                           {node.string_attribute("activation", ""),
                            node.floats_attribute("activation_params")}));
  node.set_output(y);
  return {};
}

enum class AutoPad : uint8_t { kNotSet, kValid, kSameUpper, kSameLower };

Result<AutoPad> read_auto_pad(NodeImport& node) {
  const std::string text = node.string_attribute("auto_pad", "NOTSET");
  if (text == "NOTSET") return AutoPad::kNotSet;
  if (text == "VALID") return AutoPad::kValid;
  if (text == "SAME_UPPER") return AutoPad::kSameUpper;
  if (text == "SAME_LOWER") return AutoPad::kSameLower;
  return node.invalid("unknown auto_pad '{}'", text);
}

/// Whether the end gets the larger half of padding that has to be found. With an `output_shape`,
/// the text of opset 11 gives it to the beginning unless SAME_UPPER is asked for; the text before
/// has the two the other way round. Without, the names say which side it is.
bool favours_end(AutoPad how, bool from_output_shape, int64_t opset) {
  const bool is_upper = how == AutoPad::kSameUpper;
  return from_output_shape && opset < 11 ? !is_upper : is_upper;
}

/// What ConvTranspose's attributes say, one entry for each spatial dimension (two for `pads`).
struct TransposedPadding {
  AutoPad how = AutoPad::kNotSet;
  std::vector<int64_t> pads, output_padding;
  std::vector<int64_t> output_shape;  // empty: follows from the padding
};

Result<TransposedPadding> read_transposed_padding(NodeImport& node, size_t count) {
  TransposedPadding given;
  CORF_ASSIGN(given.how, read_auto_pad(node));
  given.output_padding = node.ints_attribute("output_padding", std::vector<int64_t>(count, 0));
  given.output_shape = node.ints_attribute("output_shape");
  given.pads = node.ints_attribute("pads", std::vector<int64_t>(2 * count, 0));
  // Some exporters list batch and channels too.
  if (given.output_shape.size() == count + 2) {
    given.output_shape.erase(given.output_shape.begin(), given.output_shape.begin() + 2);
  }
  if (given.output_padding.size() != count || given.pads.size() != 2 * count ||
      (!given.output_shape.empty() && given.output_shape.size() != count)) {
    return node.invalid("pads, output_padding or output_shape do not fit {} spatial dimensions",
                        count);
  }
  for (const auto* values : {&given.pads, &given.output_padding, &given.output_shape}) {
    for (const int64_t value : *values) {
      if (value < 0 || value > kMaxWindowValue) {
        return node.invalid("its padding or output_shape holds {}", value);
      }
    }
  }
  return given;
}

/// ConvTranspose's padding is given, or follows from the wanted output extents.
Result<WindowExtents> read_transposed_window(NodeImport& node, const ConvolutionInputs& in) {
  size_t count = in.spatial.size();
  WindowExtents result;
  graph::Window& window = result.window;
  window.kernel = in.kernel;
  CORF_ASSIGN(window.strides, positive_ints(node, "strides", count));
  CORF_ASSIGN(window.dilations, positive_ints(node, "dilations", count));
  CORF_ASSIGN(const TransposedPadding given, read_transposed_padding(node, count));
  for (size_t i = 0; i < count; ++i) {
    const int64_t input = in.spatial[i], stride = window.strides[i];
    if (input < 1 || window.kernel[i] < 1 || std::max(input, window.kernel[i]) > kMaxWindowValue) {
      return node.invalid("extent {} under a kernel of {} in spatial dimension {}", input,
                          window.kernel[i], i);
    }
    const int64_t reach = (window.kernel[i] - 1) * window.dilations[i] + 1;
    const int64_t full = (input - 1) * stride + reach + given.output_padding[i];  // not padded
    int64_t begin = 0, end = 0, extent = full;
    const bool is_same = given.how == AutoPad::kSameUpper || given.how == AutoPad::kSameLower;
    const bool is_told = !given.output_shape.empty();
    if (is_told || is_same) {
      extent = is_told ? given.output_shape[i] : input * stride;
      // A result that reaches beyond all windows ends with zeros.
      const int64_t total = std::max<int64_t>(0, full - extent);
      const bool at_end = favours_end(given.how, is_told, node.opset());
      begin = at_end ? total / 2 : total - total / 2;
      end = total - begin;
    } else if (given.how == AutoPad::kNotSet) {
      begin = given.pads[i];
      end = given.pads[count + i];
      extent = full - begin - end;
    }
    if (extent < 1) return node.invalid("output extent {} in spatial dimension {}", extent, i);
    window.pads_begin.push_back(begin);
    window.pads_end.push_back(end);
    result.output.push_back(extent);
  }
  return result;
}

Status import_conv_transpose(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  CORF_ASSIGN(ConvolutionInputs in, read_inputs(node, node.input(0), true));
  CORF_ASSIGN(WindowExtents window, read_transposed_window(node, in));
  ValueId y = graph::conv_transpose(node.graph, node.name(), in.x, in.w, window.window, in.groups,
                                    window.output);
  CORF_ASSIGN(y, biased(node, y));
  node.set_output(y);
  return {};
}

constexpr Operator kOperators[] = {
    {"Conv", 1, import_conv},
    {"ConvTranspose", 1, import_conv_transpose},
    {"com.microsoft.FusedConv", 0, import_fused_conv},
    {"com.microsoft.NhwcConv", 0, import_nhwc_conv},
};

}  // namespace

std::span<const Operator> convolution_operators() { return kOperators; }

}  // namespace corf::onnx
