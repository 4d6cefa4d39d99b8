#include "rewrite/eliminate_common_subexpressions.h"

#include <bit>
#include <unordered_map>

#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarNode;
using graph::ValueId;
using graph::View;

namespace {

constexpr int64_t kMaxComparedBytes = 4096;

std::string text(const index::Expr& expr) {
  return index::to_string(expr, [](int variable) { return "v" + std::to_string(variable); });
}

/// Equal keys mean equal computations of equal inputs.
class Key {
 public:
  void operator()(const Compute& compute) {
    add("compute", static_cast<int>(compute.combiner), compute.select_last);
    for (const index::Axis& axis : compute.space.axes) {
      add("axis", axis.extent, static_cast<int>(axis.kind));
    }
    for (const Operand& operand : compute.operands) {
      add("operand", operand.guarded, std::bit_cast<int64_t>(operand.padding));
      for (const index::Expr& expr : operand.map.exprs) key_ += text(expr) + ",";
    }
    for (const ScalarNode& node : compute.body.nodes) {
      add("scalar", static_cast<int>(node.op), static_cast<int>(node.dtype), node.args[0],
          node.args[1], node.args[2], node.index, std::bit_cast<int64_t>(node.f64), node.i64);
    }
  }
  void operator()(const View& view) {
    add("view", view.index());
    std::visit([this](const auto& kind) { add_view(kind); }, view);
  }
  void operator()(const graph::Constant& constant) {
    const Tensor& tensor = constant.tensor;
    add("constant", static_cast<int>(tensor.dtype()));
    if (tensor.size_bytes() > kMaxComparedBytes) {
      add("at", reinterpret_cast<intptr_t>(tensor.bytes()));
    } else {
      key_.append(reinterpret_cast<const char*>(tensor.bytes()),
                  static_cast<size_t>(tensor.size_bytes()));
    }
  }
  // Two random generators are two; two inputs are two.
  void operator()(const graph::Opaque&) { unique_ = true; }
  void operator()(const graph::Input&) { unique_ = true; }

  void add_shape(const Shape& shape) {
    add("shape");
    add_all(shape);
  }
  void add_inputs(const std::vector<ValueId>& inputs) {
    add("inputs");
    add_all(inputs);
  }

  bool unique() const { return unique_; }
  const std::string& text_key() const { return key_; }

 private:
  template <typename... Parts>
  void add(const char* word, const Parts&... parts) {
    key_ += word;
    ((key_ += ' ', key_ += std::to_string(parts)), ...);
    key_ += ';';
  }
  template <typename T>
  void add_all(const std::vector<T>& values) {
    for (T value : values) key_ += std::to_string(value) + ',';
  }
  void add_view(const graph::Reshape&) {}
  void add_view(const graph::Transpose& transpose) { add_all(transpose.permutation); }
  void add_view(const graph::Slice& slice) {
    add_all(slice.starts);
    key_ += ';';
    add_all(slice.steps);
  }
  void add_view(const graph::Concat& concat) { add("axis", concat.axis); }
  void add_view(const graph::Pad& pad) {
    add("value", std::bit_cast<int64_t>(pad.value));
    add_all(pad.before);
  }
  void add_view(const graph::Broadcast&) {}

  std::string key_;
  bool unique_ = false;
};

}  // namespace

Result<Graph> eliminate_common_subexpressions(Graph graph) {
  std::unordered_map<std::string, ValueId> first;
  return without_dead_nodes(rebuild(graph, [&](Rebuild& rebuild, const Node& node) {
    if (node.outputs.size() != 1) return false;
    Key key;
    std::visit(key, node.op);
    if (key.unique()) return false;
    key.add_shape(rebuild.old().values[node.outputs[0]].shape);
    key.add_inputs(rebuild.mapped(node.inputs));
    const auto [entry, is_new] = first.try_emplace(key.text_key(), -1);
    if (is_new) {
      rebuild.copy(node);
      entry->second = rebuild.mapped(node.outputs[0]);
    } else {
      rebuild.replace(node.outputs[0], entry->second);
    }
    return true;
  }));
}

}  // namespace corf::rewrite
