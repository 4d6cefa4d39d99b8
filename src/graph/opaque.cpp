#include "graph/opaque.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "graph/evaluate_view.h"
#include "graph/opaque_recurrence.h"
#include "support/random_numbers.h"

namespace corf::graph {
namespace {

using OpaqueReference = Result<std::vector<Tensor>> (*)(const Graph&, const Node&, const Opaque&,
                                                        const std::vector<Tensor>&);

template <typename T>
T attribute_of(const Opaque& opaque, const std::string& name, T absent) {
  const auto found = opaque.attributes.find(name);
  const T* value = found == opaque.attributes.end() ? nullptr : std::get_if<T>(&found->second);
  return value != nullptr ? *value : absent;
}

int64_t int_attribute(const Opaque& opaque, const std::string& name, int64_t absent) {
  return attribute_of(opaque, name, absent);
}

/// Copies the elements at `from` of `source` to 0, 1, ... of a tensor of the same type.
Tensor picked(const Tensor& source, const Shape& shape, const std::vector<int64_t>& from) {
  Tensor result(source.dtype(), shape);
  int64_t size = size_bytes(source.dtype());
  for (size_t i = 0; i < from.size(); ++i) {
    std::copy_n(source.bytes() + from[i] * size, size,
                result.bytes() + static_cast<int64_t>(i) * size);
  }
  return result;
}

/// NaN counts as the largest; of equal elements the first comes first.
Result<std::vector<Tensor>> top_k(const Graph& graph, const Node& node, const Opaque& opaque,
                                  const std::vector<Tensor>& inputs) {
  const Tensor& x = inputs[0];
  int64_t rank = static_cast<int64_t>(x.shape().size());
  int64_t axis = int_attribute(opaque, "axis", -1);
  if (axis < 0) axis += rank;
  const Shape& shape = graph.values[node.outputs[0]].shape;
  Shape expected = x.shape();
  if (axis < 0 || axis >= rank || static_cast<int64_t>(shape.size()) != rank ||
      shape[axis] > x.shape()[axis]) {
    return make_error(ErrorCode::kInvalidModel, "node '{}' (TopK) does not fit its input {}",
                      node.name, corf::to_string(x.shape()));
  }
  expected[axis] = shape[axis];
  if (shape != expected) {
    return make_error(ErrorCode::kInvalidModel, "node '{}' (TopK) gives {}, not {}", node.name,
                      corf::to_string(shape), corf::to_string(expected));
  }
  bool largest = int_attribute(opaque, "largest", 1) != 0;
  bool floating = is_float(x.dtype());
  auto before = [&](int64_t a, int64_t b) {  // element a is smaller than b
    if (!floating && x.dtype() == DType::kU64) {
      return static_cast<uint64_t>(x.at_i64(a)) < static_cast<uint64_t>(x.at_i64(b));
    }
    if (!floating) return x.at_i64(a) < x.at_i64(b);
    double va = x.at_f64(a), vb = x.at_f64(b);
    return std::isnan(vb) ? !std::isnan(va) : va < vb;
  };
  int64_t extent = x.shape()[axis], k = shape[axis];
  int64_t inner = row_major_strides(x.shape())[axis];
  int64_t outer = extent == 0 ? 0 : x.num_elems() / std::max<int64_t>(extent * inner, 1);
  std::vector<int64_t> from(num_elems(shape)), order(extent);
  Tensor indices(DType::kI64, shape);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      int64_t first = o * extent * inner + i;
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return largest ? before(first + b * inner, first + a * inner)
                       : before(first + a * inner, first + b * inner);
      });
      for (int64_t j = 0; j < k; ++j) {
        int64_t to = (o * k + j) * inner + i;
        from[to] = first + order[j] * inner;
        indices.set_i64(to, order[j]);
      }
    }
  }
  return std::vector<Tensor>{picked(x, shape, from), indices};
}

/// The same bytes as elements of the output's type.
Result<std::vector<Tensor>> bit_cast(const Graph& graph, const Node& node, const Opaque&,
                                     const std::vector<Tensor>& inputs) {
  const Value& output = graph.values[node.outputs[0]];
  if (output.shape != inputs[0].shape() ||
      size_bytes(output.dtype) != size_bytes(inputs[0].dtype())) {
    return make_error(ErrorCode::kInvalidModel, "node '{}' (BitCast) does not fit its input {}",
                      node.name, corf::to_string(inputs[0].shape()));
  }
  Tensor result(output.dtype, output.shape);
  std::copy_n(inputs[0].bytes(), result.size_bytes(), result.bytes());
  return std::vector<Tensor>{result};
}

Result<int64_t> wrapped(const Node& node, int64_t index, int64_t extent) {
  if (index >= -extent && index < extent) return index < 0 ? index + extent : index;
  return make_error(ErrorCode::kInvalidArgument,
                    "node '{}' ({}): index {} is out of range: the dimension has {} elements",
                    node.name, node.origin, index, extent);
}

Result<std::vector<Tensor>> check_indices(const Graph&, const Node& node, const Opaque& opaque,
                                          const std::vector<Tensor>& inputs) {
  const auto found = opaque.attributes.find("extents");
  const auto* extents = found == opaque.attributes.end()
                            ? nullptr
                            : std::get_if<std::vector<int64_t>>(&found->second);
  if (extents == nullptr || extents->empty()) {
    return make_error(ErrorCode::kInvalidModel, "node '{}' has no extents", node.name);
  }
  Tensor result(inputs[0].dtype(), inputs[0].shape());
  for (int64_t i = 0; i < result.num_elems(); ++i) {
    const int64_t extent = (*extents)[i % static_cast<int64_t>(extents->size())];
    CORF_ASSIGN(const int64_t index, wrapped(node, inputs[0].at_i64(i), extent));
    result.set_i64(i, index);
  }
  return std::vector<Tensor>{result};
}

/// What a Scatter makes of an element and its update.
template <typename T>
T combined(const std::string& reduction, T old, T update) {
  if (reduction == "add" || reduction == "mul") {
    if constexpr (std::is_integral_v<T>) {  // wraps
      const auto a = static_cast<uint64_t>(old), b = static_cast<uint64_t>(update);
      return static_cast<T>(reduction == "add" ? a + b : a * b);
    } else {
      return reduction == "add" ? old + update : old * update;
    }
  }
  if (reduction == "min") return update < old || update != update ? update : old;
  if (reduction == "max") return update > old || update != update ? update : old;
  return update;
}

/// `result` is f64 where floats are wide.
void scatter_one(const std::string& reduction, Tensor& result, int64_t to, const Tensor& updates,
                 int64_t from) {
  if (is_float(result.dtype())) {
    result.set_f64(to, combined(reduction, result.at_f64(to), updates.at_f64(from)));
  } else if (result.dtype() == DType::kU64) {
    const auto old = static_cast<uint64_t>(result.at_i64(to));
    const auto update = static_cast<uint64_t>(updates.at_i64(from));
    result.set_i64(to, static_cast<int64_t>(combined(reduction, old, update)));
  } else {
    result.set_i64(to, combined(reduction, result.at_i64(to), updates.at_i64(from)));
  }
}

std::string reduction_of(const Opaque& opaque) {
  return attribute_of<std::string>(opaque, "reduction", "none");
}

/// A copy of the data to scatter into: wide if one of both is.
Tensor scattered_into(const Tensor& data, const Tensor& updates) {
  const DType dtype = updates.dtype() == DType::kF64 ? DType::kF64 : data.dtype();
  Tensor result(dtype, data.shape());
  for (int64_t i = 0; i < result.num_elems(); ++i) {
    is_float(dtype) ? result.set_f64(i, data.at_f64(i)) : result.set_i64(i, data.at_i64(i));
  }
  return result;
}

/// The routines' operands: data, indices, updates. Errors: kInvalidModel if they do not fit.
Result<std::vector<Tensor>> scatter_elements(const Graph&, const Node& node, const Opaque& opaque,
                                             const std::vector<Tensor>& inputs) {
  const Shape& shape = inputs[0].shape();
  const Shape& from = inputs.size() == 3 ? inputs[1].shape() : shape;
  const int64_t axis = int_attribute(opaque, "axis", 0);
  bool fits = inputs.size() == 3 && from == inputs[2].shape() && from.size() == shape.size() &&
              axis >= 0 && axis < static_cast<int64_t>(shape.size());
  for (size_t d = 0; fits && d < shape.size(); ++d) {
    fits = static_cast<int64_t>(d) == axis || from[d] <= shape[d];
  }
  if (!fits) {
    return make_error(ErrorCode::kInvalidModel, "node '{}': its operands do not fit", node.name);
  }
  Tensor result = scattered_into(inputs[0], inputs[2]);
  const std::string reduction = reduction_of(opaque);
  const std::vector<int64_t> strides = row_major_strides(shape), steps = row_major_strides(from);
  for (int64_t i = 0; i < inputs[1].num_elems(); ++i) {
    CORF_ASSIGN(const int64_t index, wrapped(node, inputs[1].at_i64(i), shape[axis]));
    int64_t to = index * strides[axis];
    for (size_t d = 0; d < shape.size(); ++d) {
      if (static_cast<int64_t>(d) != axis) to += i / steps[d] % from[d] * strides[d];
    }
    scatter_one(reduction, result, to, inputs[2], i);
  }
  return std::vector<Tensor>{result};
}

Result<std::vector<Tensor>> scatter_nd(const Graph&, const Node& node, const Opaque& opaque,
                                       const std::vector<Tensor>& inputs) {
  const Shape& shape = inputs[0].shape();
  const bool has_all = inputs.size() == 3 && !inputs[1].shape().empty();
  const size_t depth = has_all ? static_cast<size_t>(inputs[1].shape().back()) : 0;
  Shape expected;
  if (has_all && depth <= shape.size()) {
    expected.assign(inputs[1].shape().begin(), inputs[1].shape().end() - 1);
    expected.insert(expected.end(), shape.begin() + static_cast<int64_t>(depth), shape.end());
  }
  if (!has_all || depth > shape.size() || inputs[2].shape() != expected) {
    return make_error(ErrorCode::kInvalidModel, "node '{}': its operands do not fit", node.name);
  }
  Tensor result = scattered_into(inputs[0], inputs[2]);
  const std::string reduction = reduction_of(opaque);
  const std::vector<int64_t> strides = row_major_strides(shape);
  const int64_t slice = num_elems(Shape(shape.begin() + static_cast<int64_t>(depth), shape.end()));
  const int64_t points = slice == 0 ? 0 : inputs[2].num_elems() / slice;
  for (int64_t p = 0; p < points; ++p) {
    int64_t to = 0;
    for (size_t d = 0; d < depth; ++d) {
      const int64_t at = p * static_cast<int64_t>(depth) + static_cast<int64_t>(d);
      CORF_ASSIGN(const int64_t index, wrapped(node, inputs[1].at_i64(at), shape[d]));
      to += index * strides[d];
    }
    for (int64_t i = 0; i < slice; ++i) {
      scatter_one(reduction, result, to + i, inputs[2], p * slice + i);
    }
  }
  return std::vector<Tensor>{result};
}

const std::map<std::string_view, OpaqueReference>& references() {
  static const std::map<std::string_view, OpaqueReference> table = {
      {"BitCast", bit_cast},
      {"CheckIndices", check_indices},
      {"ScatterElements", scatter_elements},
      {"ScatterND", scatter_nd},
      {"TopK", top_k}};
  return table;
}

/// What the routine gives. Errors: kUnsupported if there is no seed that numbers follow from.
Result<std::vector<Tensor>> random_numbers(const Graph& graph, const Node& node,
                                           const Opaque& opaque) {
  if (!opaque.attributes.contains("seed")) {
    return make_error(ErrorCode::kUnsupported,
                      "node '{}' ({}): random numbers without a seed are others in each run; "
                      "option random_seed gives one",
                      node.name, node.origin);
  }
  RandomDistribution distribution;
  distribution.is_normal = attribute_of<std::string>(opaque, "distribution", "") == "normal";
  distribution.factor = attribute_of<double>(opaque, "factor", 1);
  distribution.offset = attribute_of<double>(opaque, "offset", 0);
  const RandomStream stream{static_cast<uint64_t>(int_attribute(opaque, "seed", 0)),
                            static_cast<uint32_t>(int_attribute(opaque, "stream", 0))};
  const Value& output = graph.values[node.outputs[0]];
  Tensor result(output.dtype, output.shape);
  const auto count = static_cast<size_t>(result.num_elems());
  if (output.dtype == DType::kF64) {
    fill_random(distribution, stream, 0, std::span(result.data<double>(), count));
  } else {
    fill_random(distribution, stream, 0, std::span(result.data<float>(), count));
  }
  return std::vector<Tensor>{result};
}

}  // namespace

Result<std::vector<Tensor>> evaluate_opaque(const Graph& graph, const Node& node,
                                            const std::vector<Tensor>& inputs,
                                            const EvaluateOptions& options) {
  const auto& opaque = std::get<Opaque>(node.op);
  static constexpr std::string_view kRecurrences[] = {"DynamicQuantizeLSTM", "GRU", "LSTM", "RNN"};
  if (std::count(std::begin(kRecurrences), std::end(kRecurrences), opaque.routine) > 0 &&
      !inputs.empty()) {
    return evaluate_recurrence(graph, node, inputs, options);
  }
  if (opaque.routine == "Random" && inputs.empty()) return random_numbers(graph, node, opaque);
  auto found = references().find(opaque.routine);
  if (found == references().end() || inputs.empty()) {
    return make_error(ErrorCode::kUnsupported,
                      "node '{}' ({}): the routine '{}' has no reference in float64; the unfused "
                      "plan can be one (--reference unfused)",
                      node.name, node.origin, opaque.routine);
  }
  CORF_ASSIGN(auto outputs, found->second(graph, node, opaque, inputs));
  outputs.resize(node.outputs.size());
  return outputs;
}

}  // namespace corf::graph
