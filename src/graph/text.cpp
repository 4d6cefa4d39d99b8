#include "graph/text.h"

#include <cstring>

#include "index/scanner.h"
#include "support/assert.h"

namespace corf::graph {
namespace {

using index::quoted;

// Constants of at most this many elements are printed in full.
constexpr int64_t kMaxPrintedElems = 16;

template <typename T>
std::string list(const std::vector<T>& values) {
  return fmt::format("[{}]", fmt::join(values, ", "));
}

/// A float's text always tells that it is one.
std::string float_text(double value) {
  std::string text = fmt::format("{}", value);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

std::string attribute_text(const Attribute& attribute) {
  struct Print {
    std::string operator()(int64_t value) const { return std::to_string(value); }
    std::string operator()(double value) const { return float_text(value); }
    std::string operator()(const std::string& value) const { return quoted(value); }
    std::string operator()(const std::vector<int64_t>& value) const { return list(value); }
    std::string operator()(const std::vector<double>& value) const {
      std::vector<std::string> texts;
      for (double v : value) texts.push_back(float_text(v));
      return "f" + list(texts);
    }
  };
  return std::visit(Print(), attribute);
}

std::string hash_text(const Tensor& tensor) {
  // FNV-1a over words: weights run to hundreds of megabytes.
  uint64_t hash = 0xcbf29ce484222325;
  auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * 0x100000001b3;
    hash ^= hash >> 29;
  };
  mix(static_cast<uint64_t>(tensor.dtype()));
  for (int64_t extent : tensor.shape()) mix(static_cast<uint64_t>(extent));
  int64_t size = tensor.size_bytes(), i = 0;
  for (; i + 8 <= size; i += 8) {
    uint64_t word;
    std::memcpy(&word, tensor.bytes() + i, 8);
    mix(word);
  }
  for (; i < size; ++i) mix(static_cast<uint64_t>(tensor.bytes()[i]));
  return fmt::format("{:016x}", hash);
}

std::string element_text(const Tensor& tensor, int64_t i) {
  switch (tensor.dtype()) {
    case DType::kF64:
      return fmt::format("{}", tensor.at_f64(i));
    case DType::kF16:
    case DType::kBF16:
    case DType::kF32:
      return fmt::format("{}", static_cast<float>(tensor.at_f64(i)));
    case DType::kU64:
      return std::to_string(static_cast<uint64_t>(tensor.at_i64(i)));
    default:
      return std::to_string(tensor.at_i64(i));
  }
}

std::string tensor_text(const Tensor& tensor, bool with_data) {
  if (tensor.num_elems() <= kMaxPrintedElems) {
    std::vector<std::string> elements;
    for (int64_t i = 0; i < tensor.num_elems(); ++i) elements.push_back(element_text(tensor, i));
    return fmt::format("{{{}}}", fmt::join(elements, ", "));
  }
  if (!with_data) return "dense<" + hash_text(tensor) + ">";
  std::string text = "hex<";
  text.reserve(tensor.size_bytes() * 2 + 8);
  for (int64_t i = 0; i < tensor.size_bytes(); ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    auto byte = static_cast<unsigned>(tensor.bytes()[i]);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text + ">";
}

std::string scalar_text(const ScalarNode& node, const index::IterationSpace& space) {
  std::string text(to_string(node.op));
  switch (node.op) {
    case ScalarOp::kOperand:
      text += fmt::format(" {}", node.index);
      break;
    case ScalarOp::kIndex:
      text += " " + space.axes[node.index].name;
      break;
    case ScalarOp::kConstant:
      text += is_float(node.dtype) ? fmt::format(" {}", node.f64) : fmt::format(" {}", node.i64);
      break;
    default:
      for (int i = 0; i < num_args(node.op); ++i) text += fmt::format(" s{}", node.args[i]);
  }
  return fmt::format("{} : {}", text, to_string(node.dtype));
}

std::string compute_text(const Compute& compute) {
  std::string text = "  axes";
  bool reducing = false;
  for (size_t i = 0; i < compute.space.axes.size(); ++i) {
    const index::Axis& axis = compute.space.axes[i];
    bool reduction = axis.kind == index::AxisKind::kReduction;
    std::string_view separator = reduction && !reducing ? " |" : i > 0 ? "," : "";
    text += fmt::format("{} {}={}", separator, axis.name, axis.extent);
    reducing = reduction;
  }
  text += "\n";
  int num_axes = static_cast<int>(compute.space.axes.size());
  auto name = [&](int variable) {
    if (variable < num_axes) return compute.space.axes[variable].name;
    return "@" + std::to_string(variable - num_axes);
  };
  for (const Operand& operand : compute.operands) {
    std::vector<std::string> exprs;
    for (const index::Expr& expr : operand.map.exprs) exprs.push_back(to_string(expr, name));
    text += "  operand " + list(exprs);
    if (operand.guarded) text += fmt::format(" guarded {}", operand.padding);
    text += "\n";
  }
  for (size_t i = 0; i < compute.body.nodes.size(); ++i) {
    text += fmt::format("  s{} = {}\n", i, scalar_text(compute.body.nodes[i], compute.space));
  }
  text += fmt::format("  combine {}{}\n", to_string(compute.combiner),
                      compute.select_last ? " last" : "");
  return text;
}

struct OpText {
  bool with_data;
  std::string_view keyword;
  std::string details;  // between the name and the inputs
  std::string body;     // lines of its own

  void operator()(const Compute& compute) {
    keyword = "compute";
    body = compute_text(compute);
  }
  void operator()(const View& view) { std::visit(*this, view); }
  void operator()(const Reshape&) { keyword = "reshape"; }
  void operator()(const Transpose& transpose) {
    keyword = "transpose";
    details = " perm " + list(transpose.permutation);
  }
  void operator()(const Slice& slice) {
    keyword = "slice";
    details = " starts " + list(slice.starts) + " steps " + list(slice.steps);
  }
  void operator()(const Concat& concat) {
    keyword = "concat";
    details = fmt::format(" axis {}", concat.axis);
  }
  void operator()(const Pad& pad) {
    keyword = "pad";
    details = fmt::format(" before {} value {}", list(pad.before), pad.value);
  }
  void operator()(const Broadcast&) { keyword = "broadcast"; }
  void operator()(const Opaque& opaque) {
    keyword = "opaque";
    std::vector<std::string> attributes;
    for (const auto& [key, value] : opaque.attributes) {
      attributes.push_back(quoted(key) + " = " + attribute_text(value));
    }
    details =
        fmt::format(" routine {} {{{}}}", quoted(opaque.routine), fmt::join(attributes, ", "));
  }
  void operator()(const Constant& constant) {
    keyword = "constant";
    details = " " + tensor_text(constant.tensor, with_data);
  }
  void operator()(const Input&) { keyword = "input"; }
};

std::string type_text(const Value& value) {
  std::vector<std::string> extents;
  for (int64_t extent : value.shape) extents.push_back(std::to_string(extent));
  return fmt::format("{}[{}]", to_string(value.dtype), fmt::join(extents, "x"));
}

std::string ids_text(const std::vector<ValueId>& ids) {
  std::vector<std::string> texts;
  for (ValueId id : ids) texts.push_back("%" + std::to_string(id));
  return fmt::format("{}", fmt::join(texts, ", "));
}

}  // namespace

std::string to_string(const Graph& graph, bool with_data) {
  std::string text = "graph\n";
  for (const Node& node : graph.nodes) {
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const Value& value = graph.values[node.outputs[i]];
      text += fmt::format("{}%{} {} : {}", i ? ", " : "", node.outputs[i], quoted(value.name),
                          type_text(value));
    }
    OpText op{with_data, "", "", ""};
    std::visit(op, node.op);
    std::string origin = node.origin.empty() ? "" : " origin " + quoted(node.origin);
    if (node.work_flops) origin += fmt::format(" work {}", *node.work_flops);
    text += fmt::format(" = {} {}{}{} ({})\n", op.keyword, quoted(node.name), origin, op.details,
                        ids_text(node.inputs));
    text += op.body;
  }
  text += "inputs (" + ids_text(graph.inputs) + ")\n";
  std::vector<std::string> outputs;
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    outputs.push_back(fmt::format("%{} {}", graph.outputs[i], quoted(graph.output_names[i])));
  }
  return text + fmt::format("outputs ({})\n", fmt::join(outputs, ", "));
}

std::map<std::string, Tensor> constants_by_hash(const Graph& graph) {
  std::map<std::string, Tensor> constants;
  for (const Node& node : graph.nodes) {
    const auto* constant = std::get_if<Constant>(&node.op);
    if (constant == nullptr || constant->tensor.num_elems() <= kMaxPrintedElems) continue;
    constants.emplace(hash_text(constant->tensor), constant->tensor);
  }
  return constants;
}

}  // namespace corf::graph
