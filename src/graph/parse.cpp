#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>

#include "graph/text.h"

namespace corf::graph {
namespace {

// A text's constant without data is zero-filled only up to this size.
constexpr int64_t kMaxZeroBytes = int64_t{1} << 34;
constexpr int kMaxValues = 1 << 24;

/// Reads tokens; the first failure sticks, and everything after it reads as empty.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool ok() const { return error_.empty(); }
  void fail(std::string message) {
    if (!ok()) return;
    error_ = std::move(message);
    error_at_ = position_;
  }
  Error error() const {
    size_t at = std::min(error_at_, text_.size());
    auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<long>(at), '\n');
    size_t start = at == 0 ? std::string_view::npos : text_.rfind('\n', at - 1);
    size_t column = start == std::string_view::npos ? at + 1 : at - start;
    return make_error(ErrorCode::kInvalidArgument, "graph text, line {} column {}: {}", line,
                      column, error_);
  }

  void skip_space() {
    while (position_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[position_]))) {
      ++position_;
    }
  }
  bool at_end() {
    skip_space();
    return position_ == text_.size();
  }
  bool take(std::string_view token) {
    skip_space();
    if (!ok() || !text_.substr(position_).starts_with(token)) return false;
    size_t end = position_ + token.size();
    if (is_word(token.back()) && end < text_.size() && is_word(text_[end])) return false;
    position_ = end;
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) fail(fmt::format("expected '{}'", token));
  }
  std::string_view word() {
    skip_space();
    size_t end = position_;
    while (end < text_.size() && is_word(text_[end])) ++end;
    std::string_view result = ok() ? text_.substr(position_, end - position_) : "";
    if (result.empty()) fail("expected a word");
    if (ok()) position_ = end;
    return result;
  }
  template <typename T>
  T number() {
    skip_space();
    T value{};
    const char* begin = text_.data() + position_;
    auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (!ok() || error == std::errc::invalid_argument) {
      fail("expected a number");
      return T{};
    }
    // from_chars leaves a float beyond its type's range untouched.
    if (error != std::errc()) {
      fail("the number is out of range");
      return T{};
    }
    position_ += static_cast<size_t>(end - begin);
    return value;
  }
  /// A number that is an integer unless its text says that it is a float.
  Attribute int_or_float() {
    skip_space();
    size_t end = position_;
    while (end < text_.size() && (is_word(text_[end]) || text_[end] == '-' || text_[end] == '+')) {
      ++end;
    }
    if (text_.substr(position_, end - position_).find_first_of(".en") == std::string_view::npos) {
      return number<int64_t>();
    }
    return number<double>();
  }
  std::string quoted() {
    expect("\"");
    std::string result;
    while (ok()) {
      if (position_ >= text_.size()) {
        fail("the string does not end");
        break;
      }
      char c = text_[position_++];
      if (c == '"') break;
      if (c == '\\' && position_ < text_.size()) {
        c = text_[position_++];
        if (c == 'x') c = static_cast<char>(hex_byte());
      }
      result += c;
    }
    return result;
  }
  int hex_byte() {
    int value = 0;
    for (int i = 0; i < 2; ++i) {
      char c = position_ < text_.size() ? text_[position_] : ' ';
      if (!std::isxdigit(static_cast<unsigned char>(c))) {
        fail("expected hexadecimal digits");
        return 0;
      }
      value = value * 16 + (std::isdigit(static_cast<unsigned char>(c))
                                ? c - '0'
                                : std::tolower(static_cast<unsigned char>(c)) - 'a' + 10);
      ++position_;
    }
    return value;
  }
  template <typename T>
  std::vector<T> list() {
    std::vector<T> values;
    expect("[");
    if (take("]")) return values;
    do {
      values.push_back(number<T>());
    } while (take(","));
    expect("]");
    return values;
  }

  std::string_view text() const { return text_; }
  size_t& position() { return position_; }

 private:
  static bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
  }
  std::string_view text_;
  size_t position_ = 0;
  std::string error_;
  size_t error_at_ = 0;
};

class GraphParser {
 public:
  GraphParser(std::string_view text, const std::map<std::string, Tensor>& constants)
      : in_(text), constants_(constants) {}

  Result<Graph> run() {
    in_.expect("graph");
    while (in_.ok() && !in_.take("inputs")) parse_node();
    graph_.inputs = parse_ids();
    in_.expect("outputs");
    in_.expect("(");
    if (!in_.take(")")) {
      do {
        graph_.outputs.push_back(parse_id());
        graph_.output_names.push_back(in_.quoted());
      } while (in_.take(","));
      in_.expect(")");
    }
    if (in_.ok() && !in_.at_end()) in_.fail("expected the end of the text");
    if (!in_.ok()) return in_.error();
    Status status = verify(graph_);
    if (!status.ok()) return Error{ErrorCode::kInvalidArgument, status.error().message};
    return std::move(graph_);
  }

 private:
  ValueId parse_id() {
    in_.expect("%");
    ValueId id = in_.number<ValueId>();
    if (id < 0 || id >= kMaxValues) in_.fail("no such value");
    return in_.ok() ? id : 0;
  }

  std::vector<ValueId> parse_ids() {
    std::vector<ValueId> ids;
    in_.expect("(");
    if (in_.take(")")) return ids;
    do {
      ids.push_back(parse_id());
    } while (in_.take(","));
    in_.expect(")");
    return ids;
  }

  DType parse_type() {
    auto dtype = parse_dtype(in_.word());
    if (!dtype) in_.fail("expected an element type");
    return dtype.value_or(DType::kF32);
  }

  Shape parse_shape() {
    Shape shape;
    in_.expect("[");
    if (in_.take("]")) return shape;
    while (in_.ok()) {
      shape.push_back(in_.number<int64_t>());
      if (in_.position() < in_.text().size() && in_.text()[in_.position()] == 'x') {
        ++in_.position();
        continue;
      }
      break;
    }
    in_.expect("]");
    if (auto elems = checked_num_elems(shape); !elems.ok()) in_.fail(elems.error().message);
    return shape;
  }

  void parse_node() {
    Node node;
    NodeId id = static_cast<NodeId>(graph_.nodes.size());
    bool has_outputs = !in_.take("=");
    if (has_outputs) {
      do {
        ValueId output = parse_id();
        Value value;
        value.name = in_.quoted();
        in_.expect(":");
        value.dtype = parse_type();
        value.shape = parse_shape();
        value.producer = id;
        if (!in_.ok()) return;
        if (graph_.values.size() <= static_cast<size_t>(output)) graph_.values.resize(output + 1);
        graph_.values[output] = std::move(value);
        node.outputs.push_back(output);
      } while (in_.take(","));
      in_.expect("=");
    }
    std::string_view keyword = in_.word();
    node.name = in_.quoted();
    if (in_.take("origin")) node.origin = in_.quoted();
    if (!in_.ok()) return;
    if (keyword == "constant" && node.outputs.empty()) in_.fail("a constant has an output");
    node.op = parse_op(keyword, node);
    node.inputs = parse_ids();
    if (auto* compute = std::get_if<Compute>(&node.op)) parse_compute(*compute, node);
    if (in_.ok()) graph_.nodes.push_back(std::move(node));
  }

  Op parse_op(std::string_view keyword, const Node& node) {
    if (keyword == "input") return Input{};
    if (keyword == "compute") return Compute{};
    if (keyword == "reshape") return View(Reshape{});
    if (keyword == "broadcast") return View(Broadcast{});
    if (keyword == "transpose") {
      in_.expect("perm");
      return View(Transpose{in_.list<int>()});
    }
    if (keyword == "slice") {
      Slice slice;
      in_.expect("starts");
      slice.starts = in_.list<int64_t>();
      in_.expect("steps");
      slice.steps = in_.list<int64_t>();
      return View(std::move(slice));
    }
    if (keyword == "concat") {
      in_.expect("axis");
      return View(Concat{in_.number<int>()});
    }
    if (keyword == "pad") {
      Pad pad;
      in_.expect("before");
      pad.before = in_.list<int64_t>();
      in_.expect("value");
      pad.value = in_.number<double>();
      return View(std::move(pad));
    }
    if (keyword == "opaque") return parse_opaque();
    if (keyword == "constant" && in_.ok()) return parse_constant(graph_.values[node.outputs[0]]);
    in_.fail(fmt::format("there is no kind of node '{}'", keyword));
    return Input{};
  }

  Op parse_opaque() {
    Opaque opaque;
    in_.expect("routine");
    opaque.routine = in_.quoted();
    in_.expect("{");
    if (in_.take("}")) return opaque;
    do {
      std::string key = in_.quoted();
      in_.expect("=");
      opaque.attributes[key] = parse_attribute();
    } while (in_.take(","));
    in_.expect("}");
    return opaque;
  }

  Attribute parse_attribute() {
    in_.skip_space();
    std::string_view rest = in_.text().substr(std::min(in_.position(), in_.text().size()));
    if (rest.starts_with('"')) return in_.quoted();
    if (rest.starts_with('[')) return in_.list<int64_t>();
    if (rest.starts_with("f[")) {
      ++in_.position();
      return in_.list<double>();
    }
    return in_.int_or_float();
  }

  Op parse_constant(const Value& value) {
    bool dense = in_.take("dense<");
    bool hex = !dense && in_.take("hex<");
    int64_t elems = num_elems(value.shape);
    bool small = elems <= kMaxZeroBytes / size_bytes(value.dtype);
    if (dense) {
      std::string hash(in_.word());
      in_.expect(">");
      auto it = constants_.find(hash);
      if (it != constants_.end() && it->second.dtype() == value.dtype &&
          it->second.shape() == value.shape) {
        return Constant{it->second};
      }
      if (!small) in_.fail("the constant is too large to be filled with zeros");
      if (!in_.ok()) return Constant{};
      return Constant{Tensor(value.dtype, value.shape)};
    }
    // Every element takes at least two characters, so the text bounds what is allocated.
    if (!small || static_cast<size_t>(elems) > in_.text().size()) {
      in_.fail("the constant's data is shorter than its shape");
    }
    if (!in_.ok()) return Constant{};
    Tensor tensor(value.dtype, value.shape);
    if (hex) {
      for (int64_t i = 0; i < tensor.size_bytes() && in_.ok(); ++i) {
        tensor.bytes()[i] = static_cast<std::byte>(in_.hex_byte());
      }
      in_.expect(">");
      return Constant{tensor};
    }
    in_.expect("{");
    for (int64_t i = 0; i < tensor.num_elems() && in_.ok(); ++i) {
      if (i > 0) in_.expect(",");
      if (value.dtype == DType::kF64) {
        tensor.set_f64(i, in_.number<double>());
      } else if (is_float(value.dtype)) {
        tensor.set_f64(i, in_.number<float>());
      } else if (value.dtype == DType::kU64) {
        tensor.set_i64(i, static_cast<int64_t>(in_.number<uint64_t>()));
      } else {
        tensor.set_i64(i, in_.number<int64_t>());
      }
    }
    in_.expect("}");
    return Constant{tensor};
  }

  void parse_axes(Compute& compute) {
    in_.expect("axes");
    auto kind = index::AxisKind::kParallel;
    if (in_.take("|")) kind = index::AxisKind::kReduction;
    while (in_.ok()) {
      size_t before = in_.position();
      // An empty list of axes is followed by the first operand or result.
      if (compute.space.axes.empty() && kind == index::AxisKind::kParallel) {
        in_.skip_space();
        std::string_view rest = in_.text().substr(in_.position());
        if (rest.starts_with("operand [") || rest.starts_with("s0 = ")) return;
      }
      in_.position() = before;
      std::string name(in_.word());
      in_.expect("=");
      compute.space.axes.push_back({std::move(name), in_.number<int64_t>(), kind});
      if (in_.take(",")) continue;
      if (kind == index::AxisKind::kReduction || !in_.take("|")) return;
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
    if (!in_.take("]")) {
      do {
        if (!in_.ok()) return;
        auto expr = index::parse_expr(in_.text(), in_.position(), variable);
        if (!expr) in_.fail("expected an index expression over the axes");
        operand.map.exprs.push_back(expr.value_or(index::Expr()));
      } while (in_.take(","));
      in_.expect("]");
    }
    if (in_.take("guarded")) {
      operand.guarded = true;
      operand.padding = in_.number<double>();
    }
    compute.operands.push_back(std::move(operand));
  }

  void parse_scalar(Compute& compute) {
    ScalarNode node;
    in_.expect("=");
    auto op = parse_scalar_op(in_.word());
    if (!op) in_.fail("there is no such scalar operation");
    if (!in_.ok()) return;
    node.op = *op;
    size_t constant_at = in_.position();
    if (node.op == ScalarOp::kOperand) {
      node.index = in_.number<int>();
    } else if (node.op == ScalarOp::kIndex) {
      std::string_view name = in_.word();
      node.index = -1;
      for (size_t i = 0; i < compute.space.axes.size(); ++i) {
        if (compute.space.axes[i].name == name) node.index = static_cast<int>(i);
      }
    } else if (node.op == ScalarOp::kConstant) {
      // Its type, which follows, tells how to read it.
      while (in_.position() < in_.text().size() && in_.text()[in_.position()] != ':') {
        ++in_.position();
      }
    } else {
      for (int i = 0; i < num_args(node.op); ++i) {
        in_.skip_space();
        if (in_.position() < in_.text().size() && in_.text()[in_.position()] == 's') {
          ++in_.position();
        }
        node.args[i] = in_.number<int>();
      }
    }
    in_.expect(":");
    node.dtype = parse_type();
    if (node.op == ScalarOp::kConstant && in_.ok()) {
      size_t end = in_.position();
      in_.position() = constant_at;
      if (is_float(node.dtype)) {
        node.f64 = in_.number<double>();
      } else {
        node.i64 = in_.number<int64_t>();
      }
      in_.expect(":");
      if (in_.ok()) in_.position() = end;
    }
    compute.body.nodes.push_back(node);
  }

  void parse_compute(Compute& compute, const Node& node) {
    parse_axes(compute);
    for (size_t i = 0; i < node.inputs.size() && in_.ok(); ++i) {
      parse_operand(compute, node.inputs.size());
    }
    while (in_.ok() && in_.take("s" + std::to_string(compute.body.nodes.size()))) {
      parse_scalar(compute);
    }
    in_.expect("combine");
    if (!in_.ok()) return;
    std::string_view name = in_.word();
    bool found = false;
    for (int i = 0; i <= static_cast<int>(Combiner::kArgMax); ++i) {
      if (to_string(static_cast<Combiner>(i)) != name) continue;
      compute.combiner = static_cast<Combiner>(i);
      found = true;
    }
    if (!found) in_.fail("there is no such combiner");
    compute.select_last = in_.take("last");
  }

  Scanner in_;
  const std::map<std::string, Tensor>& constants_;
  Graph graph_;
};

}  // namespace

Result<Graph> parse(std::string_view text, const std::map<std::string, Tensor>& constants) {
  return GraphParser(text, constants).run();
}

}  // namespace corf::graph
