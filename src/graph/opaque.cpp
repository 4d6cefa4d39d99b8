#include "graph/opaque.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "graph/evaluate_view.h"

namespace corf::graph {
namespace {

using OpaqueReference = Result<std::vector<Tensor>> (*)(const Graph&, const Node&, const Opaque&,
                                                        const std::vector<Tensor>&);

int64_t int_attribute(const Opaque& opaque, const std::string& name, int64_t absent) {
  auto found = opaque.attributes.find(name);
  if (found == opaque.attributes.end()) return absent;
  const int64_t* value = std::get_if<int64_t>(&found->second);
  return value ? *value : absent;
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

const std::map<std::string_view, OpaqueReference>& references() {
  static const std::map<std::string_view, OpaqueReference> table = {{"BitCast", bit_cast},
                                                                    {"TopK", top_k}};
  return table;
}

}  // namespace

Result<std::vector<Tensor>> evaluate_opaque(const Graph& graph, const Node& node,
                                            const std::vector<Tensor>& inputs) {
  const auto& opaque = std::get<Opaque>(node.op);
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
