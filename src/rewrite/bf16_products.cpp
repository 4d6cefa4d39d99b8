#include "rewrite/bf16_products.h"

#include <map>

#include "graph/dot_products.h"
#include "rewrite/byte_operands.h"
#include "rewrite/dense_products.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarOp;
using graph::ValueId;

namespace {

/// Steps of a sum that instructions for bfloat16 take at once.
constexpr int64_t kStepsAtOnce = graph::steps_at_once(DType::kF32, DType::kBF16, DType::kBF16);

class Rounder {
 public:
  bool visit(Rebuild& rebuild, const Node& node) {
    const auto* old = std::get_if<Compute>(&node.op);
    if (!old || !is_product(*old) || old->body.result_dtype() != DType::kF32) return false;
    Graph& graph = rebuild.graph();
    std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
    if (graph.values[inputs[0]].dtype != DType::kF32 ||
        graph.values[inputs[1]].dtype != DType::kF32) {
      return false;
    }
    const int w = constant_tensor(graph, inputs[1]) ? 1 : 0, x = 1 - w;
    if (!constant_tensor(graph, inputs[w]) || constant_tensor(graph, inputs[x])) return false;
    const Operand &x_operand = old->operands[x], &w_operand = old->operands[w];
    if (!reads_axes_only(x_operand, old->space) || !reads_axes_only(w_operand, old->space) ||
        w_operand.guarded) {
      return false;
    }
    const int channels = summed_channels(*old, x_operand, w_operand);
    if (channels < 0 || old->space.axes[channels].extent % kStepsAtOnce != 0) return false;
    Compute sum = *old;
    inputs[x] =
        side_by_side(graph, rounded(graph, inputs[x]), sum.operands[x].map, sum.space, channels);
    inputs[w] = rounded_constant(graph, inputs[w]);
    sum.body = {};
    const int a = sum.body.cast(sum.body.operand(0, DType::kBF16), DType::kF32);
    const int b = sum.body.cast(sum.body.operand(1, DType::kBF16), DType::kF32);
    sum.body.apply(ScalarOp::kMul, a, b);
    const ValueId result =
        graph.add_compute(node.name, std::move(sum), std::move(inputs), node.origin);
    graph.nodes[graph.values[result].producer].work_flops = node.work_flops;
    rebuild.replace(node.outputs[0], result);
    return true;
  }

 private:
  ValueId rounded(Graph& graph, ValueId value) {
    const auto [known, is_new] = rounded_.try_emplace(value, -1);
    if (!is_new) return known->second;
    const Shape& shape = graph.values[value].shape;
    Compute compute;
    for (size_t d = 0; d < shape.size(); ++d) {
      compute.space.axes.push_back({"d" + std::to_string(d), shape[d], index::AxisKind::kParallel});
    }
    compute.operands.push_back({index::IndexMap::identity(static_cast<int>(shape.size()))});
    compute.body.cast(compute.body.operand(0, DType::kF32), DType::kBF16);
    const std::string name = graph.producer(value).name + "/bf16";
    const std::string origin = graph.producer(value).origin;
    known->second = graph.add_compute(name, std::move(compute), {value}, origin);
    return known->second;
  }

  ValueId rounded_constant(Graph& graph, ValueId value) {
    const auto [known, is_new] = rounded_.try_emplace(value, -1);
    if (!is_new) return known->second;
    const Tensor& numbers = *constant_tensor(graph, value);
    Tensor result(DType::kBF16, numbers.shape());
    for (int64_t i = 0; i < numbers.num_elems(); ++i) result.set_f64(i, numbers.at_f64(i));
    known->second = graph.add_constant(graph.producer(value).name, std::move(result));
    return known->second;
  }

  std::map<ValueId, ValueId> rounded_;
};

}  // namespace

Result<Graph> bf16_products(Graph graph) {
  Rounder rounder;
  return without_dead_nodes(rebuild(
      graph, [&](Rebuild& rebuild, const Node& node) { return rounder.visit(rebuild, node); }));
}

}  // namespace corf::rewrite
