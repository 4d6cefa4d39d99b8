#include "rewrite/byte_tables.h"

#include "graph/evaluate.h"
#include "graph/scalar_cost.h"
#include "rewrite/rebuild.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ValueId;

namespace {

constexpr int64_t kBytes = 256;
// A look into a table takes a few instructions for each element, a vector's arithmetic serves many.
constexpr double kFewestInstructions = 48;

bool is_function_of_byte(const Graph& graph, const Node& node, const Compute& compute) {
  if (!is_elementwise(compute) || node.inputs.size() != 1 || compute.operands[0].guarded) {
    return false;
  }
  const DType dtype = graph.values[node.inputs[0]].dtype;
  if (dtype != DType::kU8 && dtype != DType::kI8) return false;
  for (const graph::ScalarNode& scalar : compute.body.nodes) {
    if (scalar.op == graph::ScalarOp::kIndex) return false;
  }
  return graph::num_instructions(compute.body) >= kFewestInstructions &&
         compute.space.num_points() >= 4 * kBytes;
}

/// The body's value for each byte, from the smallest on.
std::optional<Tensor> values_of(const Compute& compute, DType dtype) {
  Graph graph;
  Tensor bytes(dtype, {kBytes});
  const int64_t least = dtype == DType::kI8 ? -128 : 0;
  for (int64_t i = 0; i < kBytes; ++i) bytes.set_i64(i, least + i);
  Compute all;
  all.space.axes.push_back({"byte", kBytes, index::AxisKind::kParallel});
  all.operands.push_back({index::IndexMap::identity(1)});
  all.body = compute.body;
  const ValueId input = graph.add_input("bytes", dtype, {kBytes});
  const ValueId result = graph.add_compute("values", std::move(all), {input});
  auto values =
      graph::evaluate_node(graph, graph.producer(result), {bytes}, {.round_to_dtype = true});
  if (!values.ok()) return std::nullopt;
  return (*values)[0];
}

bool visit(Rebuild& rebuild, const Node& node) {
  const auto* compute = std::get_if<Compute>(&node.op);
  if (!compute || !is_function_of_byte(rebuild.old(), node, *compute)) return false;
  const DType dtype = rebuild.old().values[node.inputs[0]].dtype;
  const std::optional<Tensor> values = values_of(*compute, dtype);
  if (!values) return false;
  Graph& graph = rebuild.graph();
  const ValueId table = graph.add_constant(node.name + "/table", *values);
  Compute look;
  look.space = compute->space;
  const auto num_axes = static_cast<int>(look.space.axes.size());
  const index::Expr byte = index::Expr::variable(num_axes + 1);
  look.operands.push_back({{{dtype == DType::kI8 ? byte + index::Expr(128) : byte}}});
  look.operands.push_back(compute->operands[0]);
  look.body.operand(0, values->dtype());
  rebuild.replace(node.outputs[0],
                  graph.add_compute(node.name, std::move(look),
                                    {table, rebuild.mapped(node.inputs[0])}, node.origin));
  return true;
}

}  // namespace

Result<Graph> byte_tables(const Graph& graph) { return rebuild(graph, visit); }

}  // namespace corf::rewrite
