#include "graph/graph.h"

#include <array>

#include "support/assert.h"
#include "support/budget.h"

namespace corf::graph {

using index::Expr;

namespace {

/// Appends the node and its outputs, which are named after it.
std::vector<ValueId> append(Graph& graph, Node node, std::vector<std::pair<DType, Shape>> outputs) {
  look_at_budget();
  NodeId id = static_cast<NodeId>(graph.nodes.size());
  for (ValueId input : node.inputs) {
    CORF_ASSERT(input >= 0 && input < static_cast<ValueId>(graph.values.size()),
                "a node reads a value that does not exist");
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    std::string name = i == 0 ? node.name : node.name + ":" + std::to_string(i);
    node.outputs.push_back(static_cast<ValueId>(graph.values.size()));
    graph.values.push_back({std::move(name), outputs[i].first, std::move(outputs[i].second), id});
  }
  std::vector<ValueId> ids = node.outputs;
  graph.nodes.push_back(std::move(node));
  return ids;
}

/// Variables 0.. are coordinates of `output`; those of `input` whose row-major number is the same.
/// Dimensions are matched in groups of equal products, so that most maps need no division.
index::IndexMap reshape_map(const Shape& input, const Shape& output) {
  index::IndexMap map;
  map.exprs.resize(input.size(), Expr(0));
  if (num_elems(output) == 0) return map;
  std::vector<index::Interval> ranges;
  for (int64_t extent : output) ranges.push_back({0, extent - 1});

  size_t in = 0, out = 0;
  while (in < input.size() || out < output.size()) {
    size_t in_end = in, out_end = out;
    int64_t in_product = 1, out_product = 1;
    do {
      if (in_end < input.size() && (in_product <= out_product || out_end == output.size())) {
        in_product *= input[in_end++];
      } else {
        out_product *= output[out_end++];
      }
    } while (in_product != out_product);
    Expr number = 0;
    int64_t stride = out_product;
    for (size_t i = out; i < out_end; ++i) {
      stride /= output[i];
      number = number + Expr(stride) * Expr::variable(static_cast<int>(i));
    }
    stride = in_product;
    for (size_t i = in; i < in_end; ++i) {
      stride /= input[i];
      Expr coordinate = floor_div(number, Expr(stride));
      if (i != in) coordinate = mod(coordinate, Expr(input[i]));
      map.exprs[i] = simplify(coordinate, ranges);
    }
    in = in_end;
    out = out_end;
  }
  return map;
}

}  // namespace

std::string_view to_string(Combiner combiner) {
  constexpr std::array<std::string_view, 7> kNames = {"none", "sum",     "product", "min",
                                                      "max",  "arg_min", "arg_max"};
  CORF_ASSERT(static_cast<size_t>(combiner) < kNames.size(), "combiner out of range");
  return kNames[static_cast<size_t>(combiner)];
}

ValueId Graph::add_input(std::string name, DType dtype, Shape shape) {
  Node node{std::move(name), Input{}, {}, {}, ""};
  ValueId id = append(*this, std::move(node), {{dtype, std::move(shape)}})[0];
  inputs.push_back(id);
  return id;
}

ValueId Graph::add_constant(std::string name, Tensor tensor) {
  DType dtype = tensor.dtype();
  Shape shape = tensor.shape();
  Node node{std::move(name), Constant{std::move(tensor)}, {}, {}, ""};
  return append(*this, std::move(node), {{dtype, std::move(shape)}})[0];
}

ValueId Graph::add_compute(std::string name, Compute compute, std::vector<ValueId> inputs,
                           std::string origin) {
  CORF_ASSERT(!compute.body.nodes.empty(), "a compute operator needs a body");
  CORF_ASSERT(compute.operands.size() == inputs.size(), "each input needs an operand map");
  Shape shape;
  for (const index::Axis& axis : compute.space.axes) {
    if (axis.kind == index::AxisKind::kParallel) shape.push_back(axis.extent);
  }
  bool selects = compute.combiner == Combiner::kArgMin || compute.combiner == Combiner::kArgMax;
  DType dtype = selects ? DType::kI64 : compute.body.result_dtype();
  Node node{std::move(name), std::move(compute), std::move(inputs), {}, std::move(origin)};
  return append(*this, std::move(node), {{dtype, std::move(shape)}})[0];
}

ValueId Graph::add_view(std::string name, View view, std::vector<ValueId> inputs, Shape shape,
                        std::string origin) {
  CORF_ASSERT(!inputs.empty(), "a view needs an input");
  DType dtype = values[inputs[0]].dtype;
  Node node{std::move(name), std::move(view), std::move(inputs), {}, std::move(origin)};
  return append(*this, std::move(node), {{dtype, std::move(shape)}})[0];
}

std::vector<ValueId> Graph::add_opaque(std::string name, Opaque opaque, std::vector<ValueId> inputs,
                                       std::vector<std::pair<DType, Shape>> outputs,
                                       std::string origin) {
  Node node{std::move(name), std::move(opaque), std::move(inputs), {}, std::move(origin)};
  return append(*this, std::move(node), std::move(outputs));
}

index::IndexMap index_map(const View& view, const Shape& input, const Shape& output) {
  index::IndexMap map;
  auto variable = [](size_t i) { return Expr::variable(static_cast<int>(i)); };
  if (std::holds_alternative<Reshape>(view)) return reshape_map(input, output);
  if (const auto* transpose = std::get_if<Transpose>(&view)) {
    map.exprs.resize(input.size(), Expr(0));
    for (size_t i = 0; i < output.size(); ++i) {
      map.exprs[transpose->permutation[i]] = variable(i);
    }
    return map;
  }
  if (const auto* slice = std::get_if<Slice>(&view)) {
    for (size_t i = 0; i < input.size(); ++i) {
      map.exprs.push_back(Expr(slice->steps[i]) * variable(i) + slice->starts[i]);
    }
    return map;
  }
  if (const auto* pad = std::get_if<Pad>(&view)) {
    for (size_t i = 0; i < input.size(); ++i) {
      map.exprs.push_back(variable(i) - Expr(pad->before[i]));
    }
    return map;
  }
  CORF_ASSERT(std::holds_alternative<Broadcast>(view), "a concatenation has no single index map");
  for (size_t i = 0; i < input.size(); ++i) {
    size_t out = i + output.size() - input.size();
    map.exprs.push_back(input[i] == 1 && output[out] != 1 ? Expr(0) : variable(out));
  }
  return map;
}

std::vector<std::vector<NodeId>> consumers(const Graph& graph) {
  std::vector<std::vector<NodeId>> result(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (ValueId input : graph.nodes[n].inputs) {
      auto& readers = result[input];
      if (readers.empty() || readers.back() != static_cast<NodeId>(n)) {
        readers.push_back(static_cast<NodeId>(n));
      }
    }
  }
  return result;
}

}  // namespace corf::graph
