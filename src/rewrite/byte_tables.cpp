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

/// The nodes that node `result` needs if node `byte` is known, in order, without that one; nullopt
/// where these read anything else.
std::optional<std::vector<int>> nodes_between(const ScalarBody& body, int byte, int result) {
  std::vector<bool> needed(body.nodes.size(), false);
  needed[result] = true;
  std::vector<int> between;
  for (int id = result; id >= 0; --id) {
    if (!needed[id] || id == byte) continue;
    const ScalarNode& node = body.nodes[id];
    if (node.op == ScalarOp::kOperand || node.op == ScalarOp::kIndex) return std::nullopt;
    between.push_back(id);
    for (const int arg : node.args) {
      if (arg >= 0) needed[arg] = true;
    }
  }
  if (!needed[byte]) return std::nullopt;
  std::reverse(between.begin(), between.end());
  return between;
}

/// Node `result` as a body of operand 0, which node `byte` is; nullopt where it reads more.
std::optional<ScalarBody> function_of(const ScalarBody& body, int byte, int result) {
  const auto between = nodes_between(body, byte, result);
  if (!between) return std::nullopt;
  ScalarBody function;
  std::vector<int> map(body.nodes.size(), -1);
  map[byte] = function.operand(0, body.nodes[byte].dtype);
  for (const int old : *between) {
    ScalarNode moved = body.nodes[old];
    for (int& arg : moved.args) {
      if (arg >= 0) arg = map[arg];
    }
    map[old] = static_cast<int>(function.nodes.size());
    function.nodes.push_back(moved);
  }
  return function;
}

/// A body that is a function of one byte in the end: node `byte`, what of it is looked up, and what
/// is made of that, if anything is.
struct Split {
  int byte = -1;
  ScalarBody looked_up;
  std::optional<ScalarBody> after;
};

bool makes_byte(const ScalarNode& node) {
  return is_byte(node.dtype) && (node.op == ScalarOp::kCast || node.op == ScalarOp::kOperand);
}

/// `quick`: what a look for a byte takes, in instructions; one for anything else takes
/// kInstructionsOfLook.
std::optional<Split> split(const ScalarBody& body, double quick) {
  const int result = last(body);
  for (int byte = 0; byte < result; ++byte) {
    if (!makes_byte(body.nodes[byte])) continue;
    auto whole = function_of(body, byte, result);
    if (!whole) continue;
    // Tables of bytes are short: what is dequantised in the end is better computed.
    for (int end = result; end > byte; --end) {
      if (!makes_byte(body.nodes[end])) continue;
      auto after = end == result ? std::nullopt : function_of(body, end, result);
      auto looked_up = function_of(body, byte, end);
      if ((end != result && !after) || !looked_up) continue;
      if (graph::num_instructions(*looked_up) < quick) break;
      return Split{byte, std::move(*looked_up), std::move(after)};
    }
    if (graph::num_instructions(*whole) < kInstructionsOfLook) return std::nullopt;
    return Split{byte, std::move(*whole), std::nullopt};
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
  auto values = graph::evaluate_node(graph, graph.producer(result), {bytes},
                                     {.round_to_dtype = true, .round_operations = true});
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
  explicit Tables(double quick) : quick_(quick) {}

  bool visit(Rebuild& rebuild, const Node& node) const {
    const auto* compute = std::get_if<Compute>(&node.op);
    if (!compute || !is_elementwise(*compute)) return false;
    if (compute->space.num_points() < kBytes) return false;
    const auto found = split(compute->body, quick_);
    if (!found) return false;
    const DType dtype = compute->body.nodes[found->byte].dtype;
    const std::optional<Tensor> values = values_of(found->looked_up, dtype);
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
    ValueId result = graph.add_compute(node.name, std::move(look), {table, bytes}, node.origin);
    if (found->after) {
      Compute after;
      after.space = compute->space;
      after.operands.push_back({index::IndexMap::identity(num_axes)});
      after.body = *found->after;
      result = graph.add_compute(node.name + "/of_byte", std::move(after), {result}, node.origin);
    }
    rebuild.replace(node.outputs[0], result);
    return true;
  }

 private:
  double quick_;  // instructions of a look for a byte
};

}  // namespace

Result<Graph> byte_tables(Graph graph, double instructions_of_byte) {
  const Tables tables(instructions_of_byte);
  return rebuild(graph,
                 [&](Rebuild& rebuild, const Node& node) { return tables.visit(rebuild, node); });
}

}  // namespace corf::rewrite
