// Random numbers: a routine draws them, the rest is computed from them.
#include <bit>

#include "graph/operators.h"
#include "onnx/compose.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

using graph::Combiner;

/// Which stream of a seed is drawn from: another one for each node, the same in each compilation.
int64_t stream_of(std::string_view name) {
  uint32_t hash = 2166136261;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  return hash;
}

/// factor * number + offset of a distribution, "uniform" in [0, 1) or "normal". A wide type is
/// drawn wide, all others as f32.
ValueId draw(NodeImport& node, const std::string& name, const std::string& distribution,
             double factor, double offset, DType dtype, const Shape& shape) {
  std::map<std::string, graph::Attribute> attributes = {{"distribution", distribution},
                                                        {"factor", factor},
                                                        {"offset", offset},
                                                        {"stream", stream_of(node.name())}};
  if (node.has_attribute("seed")) {
    attributes["seed"] =
        int64_t{std::bit_cast<int32_t>(static_cast<float>(node.float_attribute("seed", 0)))};
  }
  const DType drawn = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  const bool is_drawn = dtype == drawn;
  const ValueId numbers =
      node.graph.add_opaque(is_drawn ? name : name + "/drawn", {"Random", std::move(attributes)},
                            {}, {{drawn, shape}})[0];
  node.leave_to_rewriting();  // numbers with a seed are no constants that a model should hold
  return is_drawn ? numbers : cast(node.graph, name, numbers, dtype);
}

Result<DType> drawn_dtype(NodeImport& node, DType otherwise) {
  const auto dtype = node.dtype_attribute("dtype", otherwise);
  if (!dtype || !is_float(*dtype)) return node.unsupported("the numbers' type is no float");
  return *dtype;
}

Status set_normal(NodeImport& node, DType dtype, const Shape& shape) {
  node.set_output(draw(node, node.name(), "normal", node.float_attribute("scale", 1),
                       node.float_attribute("mean", 0), dtype, shape));
  return {};
}

Status set_uniform(NodeImport& node, DType dtype, const Shape& shape) {
  const double low = node.float_attribute("low", 0), high = node.float_attribute("high", 1);
  node.set_output(draw(node, node.name(), "uniform", high - low, low, dtype, shape));
  return {};
}

using SetNumbers = Status (*)(NodeImport&, DType, const Shape&);

Status of_given_shape(NodeImport& node, SetNumbers set) {
  if (!node.has_attribute("shape")) return node.invalid("attribute 'shape' is missing");
  const Shape shape = node.ints_attribute("shape");
  const auto count = checked_num_elems(shape);
  if (!count.ok()) return node.invalid("{}", count.error().message);
  CORF_ASSIGN(const DType dtype, drawn_dtype(node, DType::kF32));
  return set(node, dtype, shape);
}

/// Of the input's shape; of its type too, if that is a float's.
Status of_shape_of_input(NodeImport& node, SetNumbers set) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const DType given = node.dtype(node.input(0));
  CORF_ASSIGN(const DType dtype, drawn_dtype(node, given));
  return set(node, dtype, node.shape(node.input(0)));
}

Status import_random_normal(NodeImport& node) { return of_given_shape(node, set_normal); }
Status import_random_uniform(NodeImport& node) { return of_given_shape(node, set_uniform); }
Status import_random_normal_like(NodeImport& node) { return of_shape_of_input(node, set_normal); }
Status import_random_uniform_like(NodeImport& node) { return of_shape_of_input(node, set_uniform); }

/// 1 with the probability that each element gives.
Status import_bernoulli(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const ValueId probability = node.input(0);
  const auto dtype = node.dtype_attribute("dtype", node.dtype(probability));
  if (!dtype) return node.unsupported("its element type is not supported");
  const ValueId numbers = draw(node, node.part("numbers"), "uniform", 1, 0,
                               node.dtype(probability) == DType::kF64 ? DType::kF64 : DType::kF32,
                               node.shape(probability));
  const ValueId wide = cast(node.graph, node.part("probability"), probability, node.dtype(numbers));
  const ValueId drawn = binary(node.graph, node.part("drawn"), ScalarOp::kLess, numbers, wide);
  node.set_output(cast(node.graph, node.name(), drawn, *dtype));
  return {};
}

/// Classes drawn by their probabilities' unnormalised logarithms, [batch, classes]: the first class
/// whose running sum of probabilities is above a number drawn from [0, sum).
Status import_multinomial(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const ValueId x = node.input(0);
  if (node.rank(x) != 2) return node.invalid("input of rank {}, not 2", node.rank(x));
  const int64_t batch = node.shape(x)[0], classes = node.shape(x)[1];
  const int64_t samples = node.int_attribute("sample_size", 1);
  if (samples < 0) return node.invalid("sample_size is {}", samples);
  if (classes == 0) return node.invalid("there is no class to draw");
  const auto dtype = node.dtype_attribute("dtype", DType::kI32);
  if (dtype != DType::kI32 && dtype != DType::kI64) {
    return node.invalid("dtype is neither int32 nor int64");
  }
  graph::Graph& graph = node.graph;
  const DType wide = node.dtype(x) == DType::kF64 ? DType::kF64 : DType::kF32;
  const ValueId probabilities =
      softmax(graph, node.part("softmax"), cast(graph, node.part("wide"), x, wide), {1});
  const ValueId sums = running_sum(node, node.part("sums"), probabilities, 1);
  const ValueId all = slice(graph, node.part("sum"), sums, 1, classes - 1, classes);
  const ValueId numbers = draw(node, node.part("numbers"), "uniform", 1, 0, wide, {batch, samples});
  const ValueId points = binary(graph, node.part("points"), ScalarOp::kMul, numbers, all);
  const ValueId below = binary(graph, node.part("below"), ScalarOp::kLessEqual,
                               reshape(graph, node.part("columns"), sums, {batch, 1, classes}),
                               reshape(graph, node.part("rows"), points, {batch, samples, 1}));
  const ValueId counted = cast(graph, node.part("counted"), below, *dtype);
  node.set_output(graph::reduce(graph, node.name(), counted, Combiner::kSum, {2}, false));
  return {};
}

constexpr Operator kOperators[] = {
    {"Bernoulli", 15, import_bernoulli},
    {"Multinomial", 7, import_multinomial},
    {"RandomNormal", 1, import_random_normal},
    {"RandomNormalLike", 1, import_random_normal_like},
    {"RandomUniform", 1, import_random_uniform},
    {"RandomUniformLike", 1, import_random_uniform_like},
};

}  // namespace

std::span<const Operator> random_operators() { return kOperators; }

}  // namespace corf::onnx
