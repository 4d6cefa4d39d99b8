#include "rewrite/fold_batch_norm.h"

#include <algorithm>

#include "rewrite/channel_affine.h"
#include "rewrite/contraction.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/rounding.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ValueId;
using graph::View;

namespace {

/// The dimension of a view's input whose coordinate is that of dimension `axis` of its output.
std::optional<int> input_axis(const View& view, const Shape& input, const Shape& output, int axis) {
  const index::IndexMap map = graph::index_map(view, input, output);
  std::optional<int> found;
  for (size_t i = 0; i < map.exprs.size(); ++i) {
    if (!index::depends_on(map.exprs[i], axis)) continue;
    if (found || !map.exprs[i].is_variable(axis) || input[i] != output[axis]) return std::nullopt;
    found = static_cast<int>(i);
  }
  return found;
}

/// Padding and concatenations bring in elements that are not the input's.
bool keeps_elements(const View& view) {
  return !std::holds_alternative<graph::Concat>(view) && !std::holds_alternative<graph::Pad>(view);
}

/// The views between a value and the node that computes it, from the value upwards.
struct ViewChain {
  ValueId source = -1;
  int source_axis = -1;
  std::vector<graph::NodeId> views;
};

std::optional<ViewChain> follow_views(const Rebuild& rebuild, const Graph& graph, ValueId value,
                                      int axis) {
  ViewChain chain{value, axis, {}};
  while (const View* view = producing_view(graph, chain.source)) {
    if (rebuild.num_readers(chain.source) != 1 || !keeps_elements(*view)) return std::nullopt;
    const ValueId input = graph.producer(chain.source).inputs[0];
    if (chain.source_axis != -1) {
      const std::optional<int> moved = input_axis(
          *view, graph.values[input].shape, graph.values[chain.source].shape, chain.source_axis);
      if (!moved) return std::nullopt;
      chain.source_axis = *moved;
    }
    chain.views.push_back(graph.values[chain.source].producer);
    chain.source = input;
  }
  return chain;
}

ValueId repeat_views(Graph& graph, const ViewChain& chain, ValueId value) {
  for (size_t i = chain.views.size(); i-- > 0;) {
    const Node node = graph.nodes[chain.views[i]];
    const Shape shape = graph.values[node.outputs[0]].shape;
    value = graph.add_view(node.name, std::get<View>(node.op), {value}, shape, node.origin);
  }
  return value;
}

ValueId with_weights(Graph& graph, const Node& node, const Contraction& contraction,
                     Tensor weights) {
  std::vector<ValueId> inputs = node.inputs;
  const std::string name = graph.values[inputs[contraction.weights]].name;
  inputs[contraction.weights] = graph.add_constant(name, std::move(weights));
  return graph.add_compute(node.name, *contraction.compute, std::move(inputs), node.origin);
}

/// conv(x, w) * s + t -> conv(x, s w) + t, where `affine.x` is the convolution behind some views.
bool fold_into_producer(const Rebuild& rebuild, Graph& graph, ChannelAffine& affine) {
  if (!affine.scales() || rebuild.num_readers(affine.x) != 1) return false;
  const std::optional<ViewChain> chain = follow_views(rebuild, graph, affine.x, affine.axis);
  if (!chain || rebuild.num_readers(chain->source) != 1) return false;
  const Node producer = graph.producer(chain->source);
  const std::optional<Contraction> contraction = match_contraction(graph, producer);
  if (!contraction) return false;
  const index::Expr channel =
      chain->source_axis == -1 ? index::Expr(0) : index::Expr::variable(chain->source_axis);
  std::optional<Tensor> weights = scaled_weights(*contraction, channel, affine.scale, affine.shift);
  if (!weights) return false;
  affine.x =
      repeat_views(graph, *chain, with_weights(graph, producer, *contraction, std::move(*weights)));
  affine.scale.assign(affine.scale.size(), 1);
  return true;
}

/// Whether second(first(x)) may be computed as one function.
bool may_compose(const ValueRange& x, DType dtype, const ChannelAffine& second,
                 const ChannelAffine& first, const Demand& demand) {
  if (demand.digits) return false;
  if (x.is_rounded) return true;
  const size_t channels = std::max(second.scale.size(), first.scale.size());
  for (size_t c = 0; c < channels; ++c) {
    const size_t c1 = first.axis == -1 ? 0 : c, c2 = second.axis == -1 ? 0 : c;
    const double scale = second.scale[c2], inner = first.shift[c1], outer = second.shift[c2];
    if (!merged_factor(first.scale[c1], scale, dtype, demand)) return false;
    if (inner == 0) continue;
    if (!may_distribute(x, inner, scale, dtype, demand)) return false;
    if (outer != 0 && !merged_addend(x, inner * scale, outer, dtype, demand)) return false;
  }
  return true;
}

/// x / c and nothing else.
bool is_division(const Node& node) {
  const auto& nodes = std::get<Compute>(node.op).body.nodes;
  return nodes.size() == 3 && nodes.back().op == graph::ScalarOp::kDiv;
}

bool fold_affine(Rebuild& rebuild, const Node& old_node) {
  Graph& graph = rebuild.graph();
  Node node = old_node;
  node.inputs = rebuild.mapped(old_node.inputs);
  std::optional<ChannelAffine> affine = match_channel_affine(graph, node);
  if (!affine || !affine->finite()) return false;
  // Even of a sum of products, which may be one of integers.
  if (is_division(node) && rebuild.demand(old_node.outputs[0]).digits) return false;

  bool folded = false;
  std::string origin = node.origin;
  if (rebuild.num_readers(affine->x) == 1) {
    const Node& producer = graph.producer(affine->x);
    const std::optional<ChannelAffine> first = match_channel_affine(graph, producer);
    const std::optional<ChannelAffine> both =
        first && first->finite() ? after(*affine, *first) : std::nullopt;
    if (both && both->finite() &&
        may_compose(rebuild.range(first->x), graph.values[first->x].dtype, *affine, *first,
                    rebuild.demand(old_node.outputs[0]))) {
      affine = both;
      origin = joined_name(producer.origin, origin);
      folded = true;
    }
  }
  folded |= fold_into_producer(rebuild, graph, *affine);
  if (!folded) return false;
  rebuild.replace(old_node.outputs[0], add_channel_affine(graph, node.name, origin, *affine));
  return true;
}

// Where a constant can join an element-wise body for next to nothing, larger weights are not copied
// for its sake.
constexpr int64_t kMaxWeightsForScalar = 1 << 20;

bool is_worth_folding(const Graph& graph, const ChannelAffine& affine, const Tensor& weights) {
  const Compute* source = producing_compute(graph, affine.x);
  return affine.axis != -1 || !source || !is_elementwise(*source) ||
         weights.num_elems() <= kMaxWeightsForScalar;
}

/// x * s + t as (x + t/s) * s; nullopt if there is no such x + t/s.
std::optional<ChannelAffine> shift_before_scale(const ChannelAffine& affine, DType dtype) {
  ChannelAffine result = affine;
  for (size_t c = 0; c < affine.scale.size(); ++c) {
    if (!may_shift_first(affine.scale[c], affine.shift[c], dtype, {})) return std::nullopt;
    result.scale[c] = 1;
    result.shift[c] = affine.shift[c] / affine.scale[c];
  }
  return result.finite() ? std::optional(result) : std::nullopt;
}

/// conv(x * s + t, w) -> conv(x, s w) + sum(t w), or, where zeros around the image keep the shift
/// in its place, or x * s + t may be exact where x * s is large, conv(x + t/s, s w).
bool fold_into_consumer(Rebuild& rebuild, const Node& old_node) {
  Graph& graph = rebuild.graph();
  Node node = old_node;
  node.inputs = rebuild.mapped(old_node.inputs);
  std::optional<Contraction> contraction = match_contraction(graph, node);
  if (!contraction) return false;
  const ValueId x = node.inputs[contraction->x];
  if (rebuild.num_readers(x) != 1) return false;
  const std::optional<ChannelAffine> affine = match_channel_affine(graph, graph.producer(x));
  if (!affine || !affine->finite() ||
      !is_worth_folding(graph, *affine, contraction->weights_tensor)) {
    return false;
  }
  const graph::Operand& operand = contraction->x_operand();
  if (operand.guarded && operand.padding != 0) return false;

  const index::Expr channel = affine->axis == -1 ? index::Expr(0) : operand.map.exprs[affine->axis];
  std::optional<ResultShift> shift;
  std::optional<ChannelAffine> shifted;  // what remains in front
  if (affine->shifts()) {
    if (rebuild.range(affine->x).is_rounded) {
      shift = shift_of_result(*contraction, channel, affine->shift);
    }
    if (!shift && affine->scales()) {
      shifted = shift_before_scale(*affine, graph.values[affine->x].dtype);
    }
    if (!shift && !shifted) return false;
  }
  if (affine->scales()) {
    std::optional<Tensor> weights = scaled_weights(*contraction, channel, affine->scale);
    if (!weights) return false;
    contraction->weights_tensor = std::move(*weights);
  }
  node.inputs[contraction->x] = shifted ? add_channel_affine(graph, graph.producer(x).name,
                                                             graph.producer(x).origin, *shifted)
                                        : affine->x;
  ValueId result = with_weights(graph, node, *contraction, contraction->weights_tensor);
  if (shift) {
    const std::vector<double> ones(shift->values.size(), 1);
    const std::string origin = graph.producer(x).origin;
    result = add_channel_affine(graph, node.name + ".shift", origin,
                                {result, shift->axis, ones, shift->values});
  }
  rebuild.replace(old_node.outputs[0], result);
  return true;
}

}  // namespace

Result<Graph> fold_batch_norm(Graph graph) {
  return rebuild_until_stable(std::move(graph), [](Rebuild& rebuild, const Node& node) {
    return fold_affine(rebuild, node) || fold_into_consumer(rebuild, node);
  });
}

}  // namespace corf::rewrite
