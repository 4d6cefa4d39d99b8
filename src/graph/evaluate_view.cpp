#include "graph/evaluate_view.h"

#include <cstring>

#include "support/assert.h"

namespace corf::graph {
namespace {

struct StridedCopy {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  Shape extents;
  std::vector<int64_t> to_strides, from_strides;  // in elements
  int64_t elem_bytes = 1;

  void run() {
    if (num_elems(extents) > 0) run(0, to, from);
  }

 private:
  // Recursion is bounded by the rank.
  void run(size_t dimension, std::byte* t, const std::byte* f) {
    if (dimension == extents.size()) {
      std::memcpy(t, f, elem_bytes);
      return;
    }
    int64_t t_step = to_strides[dimension] * elem_bytes;
    int64_t f_step = from_strides[dimension] * elem_bytes;
    if (dimension + 1 == extents.size()) {
      copy_line(t, f, t_step, f_step, extents[dimension]);
      return;
    }
    for (int64_t i = 0; i < extents[dimension]; ++i) {
      run(dimension + 1, t + i * t_step, f + i * f_step);
    }
  }

  void copy_line(std::byte* t, const std::byte* f, int64_t t_step, int64_t f_step, int64_t count) {
    if (t_step == elem_bytes && f_step == elem_bytes) {
      std::memcpy(t, f, count * elem_bytes);
    } else if (elem_bytes == 8) {
      for (int64_t i = 0; i < count; ++i) std::memcpy(t + i * t_step, f + i * f_step, 8);
    } else if (elem_bytes == 4) {
      for (int64_t i = 0; i < count; ++i) std::memcpy(t + i * t_step, f + i * f_step, 4);
    } else {
      for (int64_t i = 0; i < count; ++i) std::memcpy(t + i * t_step, f + i * f_step, elem_bytes);
    }
  }
};

Tensor concatenated(int axis, const std::vector<Tensor>& inputs, const Shape& shape) {
  DType dtype = inputs[0].dtype();
  for (const Tensor& input : inputs) {
    if (input.dtype() != dtype) dtype = DType::kF64;
  }
  Tensor output(dtype, shape);
  std::vector<int64_t> strides = row_major_strides(shape);
  int64_t elem_bytes = size_bytes(dtype), position = 0;
  for (const Tensor& each : inputs) {
    Tensor input = converted(each, dtype);
    StridedCopy copy{output.bytes() + position * strides[axis] * elem_bytes,
                     input.bytes(),
                     input.shape(),
                     strides,
                     row_major_strides(input.shape()),
                     elem_bytes};
    copy.run();
    position += input.shape()[axis];
  }
  return output;
}

Tensor padded(const Pad& pad, const Tensor& input, const Shape& shape) {
  Tensor output(input.dtype(), shape);
  int64_t elem_bytes = size_bytes(input.dtype());
  if (output.num_elems() > 0 && pad.value != 0) {
    output.set_f64(0, pad.value);
    for (int64_t i = 1; i < output.num_elems(); ++i) {
      std::memcpy(output.bytes() + i * elem_bytes, output.bytes(), elem_bytes);
    }
  }
  // Negative widths crop; so does an output that is shorter than what lies before its end.
  std::vector<int64_t> to_strides = row_major_strides(shape);
  std::vector<int64_t> from_strides = row_major_strides(input.shape());
  StridedCopy copy{output.bytes(), input.bytes(), {}, to_strides, from_strides, elem_bytes};
  for (size_t d = 0; d < shape.size(); ++d) {
    int64_t begin = std::max<int64_t>(pad.before[d], 0);
    int64_t end = std::min(shape[d], pad.before[d] + input.shape()[d]);
    copy.extents.push_back(std::max<int64_t>(end - begin, 0));
    copy.to += begin * to_strides[d] * elem_bytes;
    copy.from += (begin - pad.before[d]) * from_strides[d] * elem_bytes;
  }
  copy.run();
  return output;
}

}  // namespace

Tensor converted(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype) return tensor;
  CORF_ASSERT(is_float(tensor.dtype()) && is_float(dtype), "only floats change their type");
  Tensor result(dtype, tensor.shape());
  for (int64_t i = 0; i < tensor.num_elems(); ++i) result.set_f64(i, tensor.at_f64(i));
  return result;
}

Tensor evaluate_view(const View& view, const std::vector<Tensor>& inputs, const Shape& output) {
  const Tensor& input = inputs[0];
  if (std::holds_alternative<Reshape>(view)) return input.reshaped(output);
  if (const auto* concat = std::get_if<Concat>(&view)) {
    return concatenated(concat->axis, inputs, output);
  }
  if (const auto* pad = std::get_if<Pad>(&view)) return padded(*pad, input, output);

  Tensor result(input.dtype(), output);
  if (result.num_elems() == 0) return result;
  std::vector<int64_t> strides = row_major_strides(input.shape());
  StridedCopy copy{result.bytes(),           input.bytes(), output, row_major_strides(output), {},
                   size_bytes(input.dtype())};
  copy.from_strides.resize(output.size());
  if (const auto* transpose = std::get_if<Transpose>(&view)) {
    for (size_t d = 0; d < output.size(); ++d) {
      copy.from_strides[d] = strides[transpose->permutation[d]];
    }
  } else if (const auto* slice = std::get_if<Slice>(&view)) {
    for (size_t d = 0; d < output.size(); ++d) {
      copy.from_strides[d] = strides[d] * slice->steps[d];
      copy.from += slice->starts[d] * strides[d] * copy.elem_bytes;
    }
  } else {
    for (size_t d = 0; d < input.shape().size(); ++d) {
      if (input.shape()[d] == 1) continue;
      copy.from_strides[d + output.size() - input.shape().size()] = strides[d];
    }
  }
  copy.run();
  return result;
}

}  // namespace corf::graph
