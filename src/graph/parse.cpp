#include <charconv>

#include "graph/text.h"
#include "index/scanner.h"

namespace corf::graph {
namespace {

// A text's constant without data is zero-filled only up to this size.
constexpr int64_t kMaxZeroBytes = int64_t{1} << 34;
constexpr int kMaxValues = 1 << 24;

class GraphParser {
 public:
  GraphParser(std::string_view text, const std::map<std::string, Tensor>& constants)
      : in_(text), text_bytes_(text.size()), constants_(constants) {}

  Result<Graph> run() {
    in_.expect("graph");
    while (!in_.failed() && !in_.accept("inputs")) parse_node();
    graph_.inputs = parse_ids();
    in_.expect("outputs");
    in_.expect("(");
    if (!in_.accept(")")) {
      do {
        graph_.outputs.push_back(parse_id());
        graph_.output_names.push_back(in_.quoted("the name of an output"));
      } while (in_.accept(","));
      in_.expect(")");
    }
    if (!in_.failed() && !in_.at_end()) in_.fail("expected the end of the text");
    if (in_.failed()) {
      return Error{in_.error().code, "graph text, " + in_.error().message};
    }
    Status status = verify(graph_);
    if (!status.ok()) return Error{ErrorCode::kInvalidArgument, status.error().message};
    return std::move(graph_);
  }

 private:
  ValueId parse_id() {
    in_.expect("%");
    const int64_t id = in_.integer("the number of a value");
    if (id < 0 || id >= kMaxValues) in_.fail("no such value");
    return in_.failed() ? 0 : static_cast<ValueId>(id);
  }

  std::vector<ValueId> parse_ids() {
    std::vector<ValueId> ids;
    in_.expect("(");
    if (in_.accept(")")) return ids;
    do {
      ids.push_back(parse_id());
    } while (in_.accept(","));
    in_.expect(")");
    return ids;
  }

  DType parse_type() {
    auto dtype = parse_dtype(in_.name("an element type"));
    if (!dtype) in_.fail("expected an element type");
    return dtype.value_or(DType::kF32);
  }

  Shape parse_shape() {
    in_.expect("[");
    if (in_.accept("]")) return {};
    Shape shape = in_.shape();
    in_.expect("]");
    if (auto elems = checked_num_elems(shape); !elems.ok()) in_.fail(elems.error().message);
    return shape;
  }

  template <typename T>
  std::vector<T> parse_list() {
    std::vector<T> values;
    in_.expect("[");
    if (in_.accept("]")) return values;
    do {
      if constexpr (std::is_integral_v<T>) {
        values.push_back(in_.integer<T>("an integer"));
      } else {
        values.push_back(in_.number("a number"));
      }
    } while (in_.accept(","));
    in_.expect("]");
    return values;
  }

  void parse_node() {
    Node node;
    NodeId id = static_cast<NodeId>(graph_.nodes.size());
    bool has_outputs = !in_.accept("=");
    if (has_outputs) {
      do {
        ValueId output = parse_id();
        Value value;
        value.name = in_.quoted("the name of a value");
        in_.expect(":");
        value.dtype = parse_type();
        value.shape = parse_shape();
        value.producer = id;
        if (in_.failed()) return;
        if (graph_.values.size() <= static_cast<size_t>(output)) graph_.values.resize(output + 1);
        graph_.values[output] = std::move(value);
        node.outputs.push_back(output);
      } while (in_.accept(","));
      in_.expect("=");
    }
    const std::string keyword = in_.name("a kind of node");
    node.name = in_.quoted("the name of a node");
    if (in_.accept("origin")) node.origin = in_.quoted("an operator");
    if (in_.accept("work")) node.work_flops = in_.integer("operations");
    if (in_.failed()) return;
    if (keyword == "constant" && node.outputs.empty()) in_.fail("a constant has an output");
    node.op = parse_op(keyword, node);
    node.inputs = parse_ids();
    if (auto* compute = std::get_if<Compute>(&node.op)) parse_compute(*compute, node);
    if (!in_.failed()) graph_.nodes.push_back(std::move(node));
  }

  Op parse_op(std::string_view keyword, const Node& node) {
    if (keyword == "input") return Input{};
    if (keyword == "compute") return Compute{};
    if (keyword == "reshape") return View(Reshape{});
    if (keyword == "broadcast") return View(Broadcast{});
    if (keyword == "transpose") {
      in_.expect("perm");
      return View(Transpose{parse_list<int>()});
    }
    if (keyword == "slice") {
      Slice slice;
      in_.expect("starts");
      slice.starts = parse_list<int64_t>();
      in_.expect("steps");
      slice.steps = parse_list<int64_t>();
      return View(std::move(slice));
    }
    if (keyword == "concat") {
      in_.expect("axis");
      return View(Concat{in_.integer<int>("an axis")});
    }
    if (keyword == "pad") {
      Pad pad;
      in_.expect("before");
      pad.before = parse_list<int64_t>();
      in_.expect("value");
      pad.value = in_.number("a padding value");
      return View(std::move(pad));
    }
    if (keyword == "opaque") return parse_opaque();
    if (keyword == "constant" && !in_.failed())
      return parse_constant(graph_.values[node.outputs[0]]);
    in_.fail(fmt::format("there is no kind of node '{}'", keyword));
    return Input{};
  }

  Op parse_opaque() {
    Opaque opaque;
    in_.expect("routine");
    opaque.routine = in_.quoted("the name of a routine");
    in_.expect("{");
    if (in_.accept("}")) return opaque;
    do {
      const std::string key = in_.quoted("the name of an attribute");
      in_.expect("=");
      opaque.attributes[key] = parse_attribute();
    } while (in_.accept(","));
    in_.expect("}");
    return opaque;
  }

  Attribute parse_attribute() {
    if (in_.at_quote()) return in_.quoted("text");
    if (in_.at("[")) return parse_list<int64_t>();
    if (in_.at("f[")) {
      in_.expect("f");
      return parse_list<double>();
    }
    // An integer unless its text says that it is a float.
    const std::string_view digits = in_.number_text("an attribute");
    if (digits.find_first_of(".en") == std::string_view::npos) return in_.to_integer(digits);
    return in_.to_number(digits);
  }

  Op parse_constant(const Value& value) {
    bool dense = in_.accept("dense<");
    bool hex = !dense && in_.accept("hex<");
    int64_t elems = num_elems(value.shape);
    bool small = elems <= kMaxZeroBytes / size_bytes(value.dtype);
    if (dense) {
      const std::string hash(in_.number_text("a hash"));
      in_.expect(">");
      auto it = constants_.find(hash);
      if (it != constants_.end() && it->second.dtype() == value.dtype &&
          it->second.shape() == value.shape) {
        return Constant{it->second};
      }
      if (!small) in_.fail("the constant is too large to be filled with zeros");
      if (in_.failed()) return Constant{};
      return Constant{Tensor(value.dtype, value.shape)};
    }
    // Every element takes at least two characters, so the text bounds what is allocated.
    if (!small || static_cast<size_t>(elems) > text_bytes_) {
      in_.fail("the constant's data is shorter than its shape");
    }
    if (in_.failed()) return Constant{};
    Tensor tensor(value.dtype, value.shape);
    if (hex) {
      in_.hex_bytes({tensor.bytes(), static_cast<size_t>(tensor.size_bytes())});
      in_.expect(">");
      return Constant{tensor};
    }
    in_.expect("{");
    for (int64_t i = 0; i < tensor.num_elems() && !in_.failed(); ++i) {
      if (i > 0) in_.expect(",");
      if (value.dtype == DType::kF64) {
        tensor.set_f64(i, in_.number("an element"));
      } else if (is_float(value.dtype)) {
        // Read as it was printed: rounded once.
        tensor.set_f64(i, in_.number<float>("an element"));
      } else if (value.dtype == DType::kU64) {
        tensor.set_i64(i, static_cast<int64_t>(in_.integer<uint64_t>("an element")));
      } else {
        tensor.set_i64(i, in_.integer("an element"));
      }
    }
    in_.expect("}");
    return Constant{tensor};
  }

  void parse_axes(Compute& compute) {
    in_.expect("axes");
    auto kind = index::AxisKind::kParallel;
    if (in_.accept("|")) kind = index::AxisKind::kReduction;
    while (!in_.failed()) {
      // An empty list of axes is followed by the first operand or result.
      if (compute.space.axes.empty() && kind == index::AxisKind::kParallel) {
        if (in_.at("operand [") || in_.at("s0 = ")) return;
      }
      std::string name = in_.name("an axis");
      in_.expect("=");
      compute.space.axes.push_back({std::move(name), in_.integer("an extent"), kind});
      if (in_.accept(",")) continue;
      if (kind == index::AxisKind::kReduction || !in_.accept("|")) return;
      kind = index::AxisKind::kReduction;
    }
  }

  void parse_operand(Compute& compute, size_t num_operands) {
    Operand operand;
    int num_axes = static_cast<int>(compute.space.axes.size());
    auto variable = [&](std::string_view name) -> std::optional<int> {
      for (int i = 0; i < num_axes; ++i) {
        if (compute.space.axes[i].name == name) return i;
      }
      int held = -1;
      if (name.starts_with('@')) {
        auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), held);
        if (error != std::errc() || end != name.data() + name.size()) held = -1;
      }
      if (held < 0 || held >= static_cast<int>(num_operands)) return std::nullopt;
      return num_axes + held;
    };
    in_.expect("operand");
    in_.expect("[");
    if (!in_.accept("]")) {
      do {
        operand.map.exprs.push_back(in_.expr(variable));
      } while (in_.accept(","));
      in_.expect("]");
    }
    if (in_.accept("guarded")) {
      operand.guarded = true;
      operand.padding = in_.number("a padding value");
    }
    compute.operands.push_back(std::move(operand));
  }

  /// "s3": the number of an earlier result.
  int parse_result() {
    const std::string name = in_.name("an earlier result");
    if (!name.starts_with('s')) in_.fail("expected an earlier result (s0, s1, ...)");
    return in_.failed() ? 0 : in_.to_integer<int>(std::string_view(name).substr(1));
  }

  void parse_scalar(Compute& compute) {
    ScalarNode node;
    in_.expect("=");
    const auto op = parse_scalar_op(in_.name("a scalar operation"));
    if (!op) in_.fail("there is no such scalar operation");
    if (in_.failed()) return;
    node.op = *op;
    std::string_view constant;  // its type, which follows, tells how to read it
    if (node.op == ScalarOp::kOperand) {
      node.index = in_.integer<int>("the number of an operand");
    } else if (node.op == ScalarOp::kIndex) {
      const std::string name = in_.name("an axis");
      node.index = -1;
      for (size_t i = 0; i < compute.space.axes.size(); ++i) {
        if (compute.space.axes[i].name == name) node.index = static_cast<int>(i);
      }
    } else if (node.op == ScalarOp::kConstant) {
      constant = in_.number_text("a constant");
    } else {
      for (int i = 0; i < num_args(node.op); ++i) node.args[i] = parse_result();
    }
    in_.expect(":");
    node.dtype = parse_type();
    if (node.op == ScalarOp::kConstant && is_float(node.dtype)) {
      node.f64 = in_.to_number(constant);
    } else if (node.op == ScalarOp::kConstant) {
      node.i64 = in_.to_integer(constant);
    }
    compute.body.nodes.push_back(node);
  }

  void parse_compute(Compute& compute, const Node& node) {
    parse_axes(compute);
    for (size_t i = 0; i < node.inputs.size() && !in_.failed(); ++i) {
      parse_operand(compute, node.inputs.size());
    }
    while (!in_.failed() && in_.accept("s" + std::to_string(compute.body.nodes.size()))) {
      parse_scalar(compute);
    }
    in_.expect("combine");
    if (in_.failed()) return;
    const std::string name = in_.name("a combiner");
    bool found = false;
    for (int i = 0; i <= static_cast<int>(Combiner::kArgMax); ++i) {
      if (to_string(static_cast<Combiner>(i)) != name) continue;
      compute.combiner = static_cast<Combiner>(i);
      found = true;
    }
    if (!found) in_.fail("there is no such combiner");
    compute.select_last = in_.accept("last");
  }

  index::Scanner in_;
  size_t text_bytes_;
  const std::map<std::string, Tensor>& constants_;
  Graph graph_;
};

}  // namespace

Result<Graph> parse(std::string_view text, const std::map<std::string, Tensor>& constants) {
  return GraphParser(text, constants).run();
}

}  // namespace corf::graph
