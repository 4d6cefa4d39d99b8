// Fourier transforms, as products with a matrix of sines and cosines, and their windows.
#include <cmath>
#include <numbers>

#include "onnx/compose.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

using index::Expr;

/// A matrix of so many elements at most; longer signals would need a fast transform.
constexpr int64_t kMaxMatrixElems = int64_t{1} << 24;

struct Transform {
  int64_t length = 0;  // of the whole signal, and of the whole spectrum
  int64_t inputs = 0;  // elements of the signal, or of the spectrum if inverse, that are given
  int64_t outputs = 0;
  bool complex_input = false, complex_output = true;
  bool inverse = false;
  bool half_input = false;  // the upper half of the spectrum mirrors the lower one
};

/// [inputs * parts, outputs * parts]: what each real or imaginary part adds to each part.
Result<Tensor> transform_matrix(const NodeImport& node, DType dtype, const Transform& t) {
  const int64_t in_parts = t.complex_input ? 2 : 1, out_parts = t.complex_output ? 2 : 1;
  const auto rows = checked_mul(t.inputs, in_parts), columns = checked_mul(t.outputs, out_parts);
  const auto count = rows && columns ? checked_mul(*rows, *columns) : std::nullopt;
  if (!count || *count > kMaxMatrixElems) {
    return node.unsupported("a Fourier transform of {} elements is too long", t.length);
  }
  const double direction = t.inverse ? 1 : -1;
  const double scale = t.inverse ? 1 / static_cast<double>(t.length) : 1;
  return filled(dtype, {*rows, *columns}, [&](int64_t i) {
    const int64_t row = i / *columns, column = i % *columns;
    const int64_t from = row / in_parts, to = column / out_parts;
    const bool from_imaginary = row % in_parts == 1, to_imaginary = column % out_parts == 1;
    // The product is taken modulo the length, so that the angle is small and exact.
    const auto turn = static_cast<double>(static_cast<__int128>(from) * to % t.length);
    const double angle = direction * 2 * std::numbers::pi * turn / static_cast<double>(t.length);
    double factor = from_imaginary == to_imaginary ? std::cos(angle) : std::sin(angle);
    if (from_imaginary && !to_imaginary) factor = -factor;
    const bool has_mirror = t.half_input && from > 0 && 2 * from != t.length;
    return (has_mirror ? 2 : 1) * scale * factor;
  });
}

/// x [..., inputs, parts] to [..., outputs, parts]
Result<ValueId> apply_transform(NodeImport& node, ValueId x, const Transform& t) {
  CORF_ASSIGN(Tensor factors, transform_matrix(node, node.dtype(x), t));
  Shape shape = node.shape(x);
  shape.pop_back();
  shape.back() = factors.shape()[0];
  const ValueId rows = reshape(node.graph, node.part("rows"), x, shape);
  const ValueId matrix = node.graph.add_constant(node.part("matrix"), std::move(factors));
  const ValueId product = graph::matmul(node.graph, node.part("product"), rows, matrix);
  shape.back() = t.outputs;
  shape.push_back(t.complex_output ? 2 : 1);
  return reshape(node.graph, node.part("spectrum"), product, shape);
}

/// The first `extent` elements along the dimension before the last, zeros where there are none.
ValueId with_length(NodeImport& node, ValueId x, int64_t extent) {
  Shape shape = node.shape(x);
  const int axis = static_cast<int>(shape.size()) - 2;
  if (shape[axis] >= extent) return slice(node.graph, node.part("cut"), x, axis, 0, extent);
  shape[axis] = extent;
  return node.graph.add_view(node.part("padded"),
                             graph::Pad{std::vector<int64_t>(shape.size(), 0), 0}, {x}, shape);
}

/// The one number of an input that decides a shape.
Result<int64_t> known_number(const NodeImport& node, int input, std::string_view what) {
  CORF_ASSIGN(const auto values, node.known_ints(input, what));
  if (values.size() != 1) return node.invalid("its {} is not one number", what);
  return values[0];
}

/// The axis is an attribute before opset 20 and an input from then on.
Status import_dft(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  const int rank = node.rank(x);
  if (rank < 2 || (node.shape(x).back() != 1 && node.shape(x).back() != 2)) {
    return node.invalid("input {} is no signal of real or complex numbers",
                        to_string(node.shape(x)));
  }
  int64_t wanted = node.opset() < 20 ? node.int_attribute("axis", 1) : -2;
  if (node.has(2)) {
    CORF_ASSIGN(wanted, known_number(node, 2, "axis"));
  }
  CORF_ASSIGN(const int axis, normal_axis(node, wanted, rank));
  if (axis == rank - 1) return node.invalid("its axis is that of the parts of a number");
  const bool onesided = node.int_attribute("onesided", 0) != 0;
  Transform t;
  t.inverse = node.int_attribute("inverse", 0) != 0;
  t.half_input = onesided && t.inverse;
  t.complex_input = node.shape(x).back() == 2;
  t.complex_output = !t.half_input;
  if (onesided && t.complex_input != t.inverse) {
    return node.invalid("onesided is for real signals and spectra of them");
  }
  t.length = node.shape(x)[axis];
  if (t.half_input) t.length = 2 * (t.length - 1);
  if (node.has(1)) {
    CORF_ASSIGN(t.length, known_number(node, 1, "dft_length"));
  }
  if (t.length < 1 || t.length > kMaxMatrixElems) return node.invalid("a length of {}", t.length);
  const int64_t half = t.length / 2 + 1;
  t.inputs = t.half_input ? half : t.length;
  t.outputs = onesided && !t.inverse ? half : t.length;
  std::vector<int> order(rank);  // its own inverse: the axis and the last but one change places
  for (int d = 0; d < rank; ++d) order[d] = d;
  std::swap(order[axis], order[rank - 2]);
  x = transpose(node.graph, node.part("axis_last"), x, order);
  CORF_ASSIGN(ValueId y, apply_transform(node, with_length(node, x, t.inputs), t));
  node.set_output(transpose(node.graph, node.name(), y, order));
  return {};
}

/// Frames [batch, frames, length, parts] of a signal [batch, length, parts].
ValueId frames_of(NodeImport& node, ValueId signal, const Shape& shape, int64_t step) {
  graph::Compute compute;
  graph::Operand operand;
  for (size_t d = 0; d < shape.size(); ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
  }
  operand.map.exprs = {Expr::variable(0), Expr::variable(1) * step + Expr::variable(2),
                       Expr::variable(3)};
  compute.operands = {operand};
  compute.body.operand(0, node.dtype(signal));
  return node.graph.add_compute(node.part("frames"), std::move(compute), {signal});
}

Status import_stft(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId signal = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, signal));
  Shape shape = node.shape(signal);
  if (shape.size() == 2) shape.push_back(1);
  if (shape.size() != 3 || (shape[2] != 1 && shape[2] != 2)) {
    return node.invalid("signal {} is not [batch, length, 1 or 2]", to_string(shape));
  }
  signal = reshape(node.graph, node.part("signal"), signal, shape);
  CORF_ASSIGN(const int64_t step, known_number(node, 1, "frame_step"));
  Transform t;
  t.length = node.has(2) && node.rank(node.input(2)) == 1 ? node.shape(node.input(2))[0] : shape[1];
  if (node.has(3)) {
    CORF_ASSIGN(t.length, known_number(node, 3, "frame_length"));
  }
  if (step < 1 || t.length < 1 || t.length > shape[1]) {
    return node.invalid("frames of {} every {} elements of {}", t.length, step, shape[1]);
  }
  t.complex_input = shape[2] == 2;
  const bool onesided = node.int_attribute("onesided", 1) != 0 && !t.complex_input;
  t.inputs = t.length;
  t.outputs = onesided ? t.length / 2 + 1 : t.length;
  const Shape in_frames = {shape[0], (shape[1] - t.length) / step + 1, t.length, shape[2]};
  ValueId frames = frames_of(node, signal, in_frames, step);
  if (node.has(2)) {
    const ValueId window = node.input(2);
    CORF_RETURN_IF_ERROR(require_same_type(node, {signal, window}));
    if (node.shape(window) != Shape{t.length}) {
      return node.invalid("window {} for frames of {}", to_string(node.shape(window)), t.length);
    }
    const ValueId column = reshape(node.graph, node.part("window"), window, {t.length, 1});
    frames = binary(node.graph, node.part("windowed"), ScalarOp::kMul, frames, column);
  }
  CORF_ASSIGN(ValueId y, apply_transform(node, frames, t));
  node.set_output(y);
  return {};
}

/// The type that a generator's attribute 'output_datatype' names.
Result<DType> output_type(NodeImport& node) {
  const auto number = static_cast<int>(node.int_attribute("output_datatype", 1));
  const auto dtype = dtype_from_onnx(number);
  if (!dtype) return node.unsupported("output type {} is not supported", onnx_type_name(number));
  return *dtype;
}

/// a - b cos(2 pi i / period) + c cos(4 pi i / period)
Status import_window(NodeImport& node, double a, double b, double c) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(const int64_t size, known_number(node, 0, "size"));
  CORF_ASSIGN(const DType dtype, output_type(node));
  if (size < 0 || size > kMaxMatrixElems) return node.invalid("a window of {} elements", size);
  const bool periodic = node.int_attribute("periodic", 1) != 0;
  const auto period = static_cast<double>(periodic ? size : size - 1);
  Tensor window = filled(dtype, {size}, [&](int64_t i) {
    if (period == 0) return 1.0;
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / period;
    return a - b * std::cos(angle) + c * std::cos(2 * angle);
  });
  node.set_output(node.graph.add_constant(node.name(), std::move(window)));
  return {};
}

Status import_hann_window(NodeImport& node) { return import_window(node, 0.5, 0.5, 0); }
Status import_hamming_window(NodeImport& node) {
  return import_window(node, 25.0 / 46, 21.0 / 46, 0);
}
Status import_blackman_window(NodeImport& node) { return import_window(node, 0.42, 0.5, 0.08); }

/// Triangles over the bins of a spectrum whose corners are evenly spaced on the mel scale.
Status import_mel_weight_matrix(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(5));
  int64_t sizes[3];
  double edges[2];
  constexpr std::string_view kSizes[] = {"num_mel_bins", "dft_length", "sample_rate"};
  for (int i = 0; i < 3; ++i) {
    CORF_ASSIGN(sizes[i], known_number(node, i, kSizes[i]));
  }
  for (int i = 0; i < 2; ++i) {
    CORF_ASSIGN(const auto values,
                node.known_floats(3 + i, i == 0 ? "lower_edge_hertz" : "upper_edge_hertz"));
    if (values.size() != 1) return node.invalid("input {} is not one number", 3 + i);
    edges[i] = values[0];
  }
  const auto [num_mels, length, rate] = sizes;
  constexpr int64_t kMaxSize = 1 << 20;
  if (num_mels < 1 || num_mels > kMaxSize || length < 1 || length > kMaxSize || rate < 1 ||
      !(edges[0] >= 0 && edges[1] >= edges[0] && edges[1] <= static_cast<double>(rate))) {
    return node.invalid("{} mel bins from {} to {} Hz of {} samples at {} Hz", num_mels, edges[0],
                        edges[1], length, rate);
  }
  CORF_ASSIGN(const DType dtype, output_type(node));
  const int64_t num_bins = length / 2 + 1;
  if (num_bins * num_mels > kMaxMatrixElems) return node.unsupported("its matrix is too large");
  const double low = 2595 * std::log10(1 + edges[0] / 700);
  const double high = 2595 * std::log10(1 + edges[1] / 700);
  std::vector<int64_t> corners(num_mels + 2);
  for (int64_t i = 0; i < num_mels + 2; ++i) {
    // One step less than there are spaces between the corners, as the standard's reference has it.
    const double step = (high - low) / static_cast<double>(num_mels + 2);
    const double hertz = 700 * (std::pow(10, (low + static_cast<double>(i) * step) / 2595) - 1);
    corners[i] = static_cast<int64_t>(
        std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate)));
  }
  Tensor matrix = filled(dtype, {num_bins, num_mels}, [&](int64_t i) {
    const int64_t bin = i / num_mels, mel = i % num_mels;
    const int64_t left = corners[mel], centre = corners[mel + 1], right = corners[mel + 2];
    if (bin >= left && bin <= centre) {
      if (left == centre) return 1.0;
      return static_cast<double>(bin - left) / static_cast<double>(centre - left);
    }
    if (bin <= centre || bin >= right) return 0.0;
    return static_cast<double>(right - bin) / static_cast<double>(right - centre);
  });
  node.set_output(node.graph.add_constant(node.name(), std::move(matrix)));
  return {};
}

constexpr Operator kOperators[] = {
    {"BlackmanWindow", 17, import_blackman_window},    {"DFT", 17, import_dft},
    {"HammingWindow", 17, import_hamming_window},      {"HannWindow", 17, import_hann_window},
    {"MelWeightMatrix", 17, import_mel_weight_matrix}, {"STFT", 17, import_stft},
};

}  // namespace

std::span<const Operator> signal_operators() { return kOperators; }

}  // namespace corf::onnx
