#include "rewrite/byte_tables.h"

#include <algorithm>

#include "graph/evaluate.h"
#include "graph/scalar_cost.h"
#include "rewrite/rebuild.h"
#include "rewrite/simplify_bodies.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;

namespace {

constexpr int64_t kBytes = 256;

bool is_byte(DType dtype) { return dtype == DType::kU8 || dtype == DType::kI8; }

int last(const ScalarBody& body) { return static_cast<int>(body.nodes.size()) - 1; }

/// The body's nodes that its result needs if `byte` is known, `byte` left out; nullopt where these
/// read anything else.
std::optional<std::vector<int>> nodes_behind(const ScalarBody& body, int byte) {
  std::vector<bool> needed(body.nodes.size(), false);
  needed.back() = true;
  std::vector<int> behind;
  for (int id = last(body); id >= 0; --id) {
    if (!needed[id] || id == byte) continue;
    const ScalarNode& node = body.nodes[id];
    if (node.op == ScalarOp::kOperand || node.op == ScalarOp::kIndex) return std::nullopt;
    behind.push_back(id);
    for (const int arg : node.args) {
      if (arg >= 0) needed[arg] = true;
    }
  }
  if (!needed[byte]) return std::nullopt;
  std::reverse(behind.begin(), behind.end());
  return behind;
}

/// A body that is a function of one byte in the end.
struct Split {
  int byte = -1;     // the node
  ScalarBody after;  // of operand 0, the byte
};
std::optional<Split> split(const ScalarBody& body, double fewest_instructions) {
  for (int id = 0; id < last(body); ++id) {
    const ScalarNode& node = body.nodes[id];
    if (!is_byte(node.dtype) || (node.op != ScalarOp::kCast && node.op != ScalarOp::kOperand)) {
      continue;
    }
    const auto behind = nodes_behind(body, id);
    if (!behind) continue;
    Split result{id, {}};
    std::vector<int> map(body.nodes.size(), -1);
    map[id] = result.after.operand(0, node.dtype);
    for (const int old : *behind) {
      ScalarNode moved = body.nodes[old];
      for (int& arg : moved.args) {
        if (arg >= 0) arg = map[arg];
      }
      map[old] = static_cast<int>(result.after.nodes.size());
      result.after.nodes.push_back(moved);
    }
    if (graph::num_instructions(result.after) < fewest_instructions) return std::nullopt;
    return result;
  }
  return std::nullopt;
}

/// The body's value for each byte, from the smallest on.
std::optional<Tensor> values_of(const ScalarBody& body, DType dtype) {
  Graph graph;
  Tensor bytes(dtype, {kBytes});
  const int64_t least = dtype == DType::kI8 ? -128 : 0;
  for (int64_t i = 0; i < kBytes; ++i) bytes.set_i64(i, least + i);
  Compute all;
  all.space.axes.push_back({"byte", kBytes, index::AxisKind::kParallel});
  all.operands.push_back({index::IndexMap::identity(1)});
  all.body = body;
  const ValueId input = graph.add_input("bytes", dtype, {kBytes});
  const ValueId result = graph.add_compute("values", std::move(all), {input});
  auto values =
      graph::evaluate_node(graph, graph.producer(result), {bytes}, {.round_to_dtype = true});
  if (!values.ok()) return std::nullopt;
  return (*values)[0];
}

/// The bytes that the node makes on its way, as a value of their own: an operand as it is.
std::pair<ValueId, graph::Operand> bytes_of(Rebuild& rebuild, const Node& node,
                                            const Compute& compute, int byte) {
  const std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  const ScalarNode& scalar = compute.body.nodes[byte];
  if (scalar.op == ScalarOp::kOperand) {
    return {inputs[scalar.index], compute.operands[scalar.index]};
  }
  Compute before = compute;
  before.body.nodes.resize(byte + 1);
  std::vector<ValueId> read = inputs;
  tidy_operands(before, read);
  const auto num_axes = static_cast<int>(compute.space.axes.size());
  const ValueId bytes = rebuild.graph().add_compute(node.name + "/byte", std::move(before),
                                                    std::move(read), node.origin);
  return {bytes, graph::Operand{index::IndexMap::identity(num_axes)}};
}

class Tables {
 public:
  explicit Tables(double fewest_instructions) : fewest_instructions_(fewest_instructions) {}

  bool visit(Rebuild& rebuild, const Node& node) const {
    const auto* compute = std::get_if<Compute>(&node.op);
    if (!compute || !is_elementwise(*compute)) return false;
    if (compute->space.num_points() < 4 * kBytes) return false;
    const auto found = split(compute->body, fewest_instructions_);
    if (!found) return false;
    const DType dtype = compute->body.nodes[found->byte].dtype;
    const std::optional<Tensor> values = values_of(found->after, dtype);
    if (!values) return false;
    const auto [bytes, operand] = bytes_of(rebuild, node, *compute, found->byte);
    if (operand.guarded) return false;
    Graph& graph = rebuild.graph();
    const ValueId table = graph.add_constant(node.name + "/table", *values);
    Compute look;
    look.space = compute->space;
    const auto num_axes = static_cast<int>(look.space.axes.size());
    const index::Expr byte = index::Expr::variable(num_axes + 1);
    look.operands.push_back({{{dtype == DType::kI8 ? byte + index::Expr(128) : byte}}});
    look.operands.push_back(operand);
    look.body.operand(0, values->dtype());
    rebuild.replace(node.outputs[0],
                    graph.add_compute(node.name, std::move(look), {table, bytes}, node.origin));
    return true;
  }

 private:
  double fewest_instructions_;
};

}  // namespace

Result<Graph> byte_tables(const Graph& graph, double fewest_instructions) {
  const Tables tables(fewest_instructions);
  return rebuild(graph,
                 [&](Rebuild& rebuild, const Node& node) { return tables.visit(rebuild, node); });
}

}  // namespace corf::rewrite
