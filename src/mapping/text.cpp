#include <algorithm>
#include <cctype>
#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "index/scanner.h"
#include "mapping/analyze.h"

namespace corf::mapping {
using graph::NodeId;
using index::AxisKind;
using index::IterationSpace;

namespace {

using index::quoted;

std::string axis_name(const IterationSpace& space, int variable) {
  const int num_axes = static_cast<int>(space.axes.size());
  if (variable < num_axes) return space.axes[variable].name;
  return "@" + std::to_string(variable - num_axes);
}

std::string axis_names(const IterationSpace& space, const std::vector<int>& axes) {
  std::vector<std::string> names;
  for (int axis : axes) names.push_back(space.axes[axis].name);
  return names.empty() ? "-" : fmt::format("{}", fmt::join(names, ", "));
}

std::string space_text(const IterationSpace& space) {
  std::string text;
  bool reducing = false;
  for (size_t i = 0; i < space.axes.size(); ++i) {
    const index::Axis& axis = space.axes[i];
    const bool reduction = axis.kind == AxisKind::kReduction;
    text += reduction && !reducing ? " |" : i > 0 ? "," : "";
    text += fmt::format(" {}={}", axis.name, axis.extent);
    reducing = reduction;
  }
  return text.empty() ? " ;" : text;
}

std::string dim_text(const PairMapping& pair, size_t d) {
  const DimMapping& dim = pair.dims[d];
  const IterationSpace& space = pair.consumer_space;
  std::string text = fmt::format("    // {}: ", pair.producer_space.axes[d].name);
  if (!dim.regular) {
    return text + fmt::format("irregular in {} over {}\n", axis_names(space, dim.consumer_axes),
                              axis_names(space, dim.window_axes));
  }
  if (dim.consumer_axis == -1 && dim.window_axis == -1) {
    return text + fmt::format("fixed at {}\n", dim.offset);
  }
  if (dim.consumer_axis != -1) {
    text += fmt::format("with {}, stride {}", space.axes[dim.consumer_axis].name, dim.stride);
    if (dim.divisor != 1) text += fmt::format("/{}", dim.divisor);
  } else {
    text += "summed up";
  }
  if (dim.window_axis != -1) {
    text += fmt::format(", window {} over {}, dilation {}, halo {}", dim.window,
                        space.axes[dim.window_axis].name, dim.dilation, dim.halo);
  }
  if (dim.offset != 0) text += fmt::format(", offset {}", dim.offset);
  if (dim.pad_before != 0 || dim.pad_after != 0) {
    text += fmt::format(", outside {} and {}", dim.pad_before, dim.pad_after);
  }
  return text + "\n";
}

std::string pair_text(const PairMapping& pair) {
  std::string text = fmt::format("  n{} {} -> n{} {} operand {} value {} through [{}]{} {{\n",
                                 pair.producer, quoted(pair.producer_name), pair.consumer,
                                 quoted(pair.consumer_name), pair.operand, pair.intermediate,
                                 fmt::join(pair.views, ", "), pair.guarded ? " guarded" : "");
  text += "    producer" + space_text(pair.producer_space) + "\n";
  text += "    consumer" + space_text(pair.consumer_space) + "\n";
  std::vector<std::string> exprs;
  for (const index::Expr& expr : pair.map.exprs) {
    exprs.push_back(index::to_string(
        expr, [&](int variable) { return axis_name(pair.consumer_space, variable); }));
  }
  text += fmt::format("    map [{}]\n", fmt::join(exprs, ", "));
  text += fmt::format("    // {}, backward {}: an output reads {}, an element feeds {}\n",
                      to_string(pair.forward), to_string(pair.backward), pair.reads_per_output,
                      pair.outputs_per_element);
  for (size_t d = 0; d < pair.dims.size(); ++d) text += dim_text(pair, d);
  text += fmt::format("    // in the way: spread over {}; summed over {}; producer sums over {}\n",
                      axis_names(pair.consumer_space, pair.spread_axes),
                      axis_names(pair.consumer_space, pair.contracted_axes),
                      axis_names(pair.producer_space, pair.producer_reduction_axes));
  return text + "  }\n";
}

/// Reads the text from the front; the first failure stays, and what follows it reads nothing.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) { skip_space(); }

  bool failed() const { return !error_.empty(); }
  bool at_end() const { return position_ == text_.size(); }
  Error error() const {
    return make_error(ErrorCode::kInvalidArgument, "line {}: {}",
                      1 + std::count(text_.begin(), text_.begin() + position_, '\n'), error_);
  }
  void fail(std::string_view what) {
    if (error_.empty()) error_ = what;
  }

  bool take(std::string_view token) {
    if (failed() || !text_.substr(position_).starts_with(token)) return false;
    const bool is_word = token.size() > 1 && std::isalpha(static_cast<unsigned char>(token[0]));
    const size_t end = position_ + token.size();
    if (is_word && end < text_.size() && is_name_char(text_[end])) return false;
    position_ = end;
    skip_space();
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) fail(fmt::format("expected '{}'", token));
  }
  int64_t integer() {
    int64_t value = 0;
    if (failed()) return 0;
    const char* begin = text_.data() + position_;
    const auto [end, status] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (status != std::errc()) {
      fail("expected an integer");
      return 0;
    }
    position_ += static_cast<size_t>(end - begin);
    skip_space();
    return value;
  }
  int id() {
    const int64_t value = integer();
    if (value < 0 || value > INT32_MAX) fail("expected the number of a node or value");
    return static_cast<int>(value);
  }
  std::string string() {
    std::string value;
    if (failed() || at_end() || text_[position_] != '"') {
      fail("expected a quoted name");
      return value;
    }
    for (++position_; position_ < text_.size() && text_[position_] != '"'; ++position_) {
      if (text_[position_] == '\\' && position_ + 1 < text_.size()) ++position_;
      value += text_[position_];
    }
    if (at_end()) {
      fail("the name does not end");
      return value;
    }
    ++position_;
    skip_space();
    return value;
  }
  std::string name() {
    const size_t begin = position_;
    while (!failed() && position_ < text_.size() && is_name_char(text_[position_])) ++position_;
    std::string value(text_.substr(begin, position_ - begin));
    if (value.empty()) fail("expected the name of an axis");
    skip_space();
    return value;
  }
  index::Expr expr(const IterationSpace& space) {
    if (failed()) return 0;
    const auto variable = [&](std::string_view name) -> std::optional<int> {
      for (size_t i = 0; i < space.axes.size(); ++i) {
        if (space.axes[i].name == name) return static_cast<int>(i);
      }
      if (!name.starts_with('@')) return std::nullopt;
      int operand = 0;
      const auto [end, status] =
          std::from_chars(name.data() + 1, name.data() + name.size(), operand);
      const bool whole = status == std::errc() && end == name.data() + name.size();
      if (!whole || operand < 0) return std::nullopt;
      return static_cast<int>(space.axes.size()) + operand;
    };
    const std::optional<index::Expr> result = index::parse_expr(text_, position_, variable);
    skip_space();
    if (result) return *result;
    fail("expected an expression of the consumer's axes");
    return 0;
  }

 private:
  static bool is_name_char(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
  }
  void skip_space() {
    for (;;) {
      while (!at_end() && std::isspace(static_cast<unsigned char>(text_[position_]))) ++position_;
      if (!text_.substr(position_).starts_with("//")) return;
      position_ = std::min(text_.find('\n', position_), text_.size());
    }
  }

  std::string_view text_;
  size_t position_ = 0;
  std::string error_;
};

IterationSpace parse_space(Reader& in) {
  IterationSpace space;
  AxisKind kind = AxisKind::kParallel;
  const auto axes = [&] {
    do {
      index::Axis axis;
      axis.name = in.name();
      in.expect("=");
      axis.extent = in.integer();
      axis.kind = kind;
      if (axis.extent < 0) in.fail("an extent is negative");
      space.axes.push_back(std::move(axis));
    } while (in.take(","));
  };
  // A space without parallel axes begins with the bar, one without any axis is a semicolon.
  const auto reductions = [&] {
    kind = AxisKind::kReduction;
    axes();
  };
  if (in.take("|")) {
    reductions();
  } else if (!in.take(";")) {
    axes();
    if (in.take("|")) reductions();
  }
  return space;
}

PairMapping parse_pair(Reader& in) {
  PairMapping pair;
  pair.producer = in.id();
  pair.producer_name = in.string();
  in.expect("->");
  in.expect("n");
  pair.consumer = in.id();
  pair.consumer_name = in.string();
  in.expect("operand");
  pair.operand = in.id();
  in.expect("value");
  pair.intermediate = in.id();
  in.expect("through");
  in.expect("[");
  while (!in.failed() && !in.take("]")) {
    pair.views.push_back(in.id());
    in.take(",");
  }
  pair.guarded = in.take("guarded");
  in.expect("{");
  in.expect("producer");
  pair.producer_space = parse_space(in);
  in.expect("consumer");
  pair.consumer_space = parse_space(in);
  in.expect("map");
  in.expect("[");
  while (!in.failed() && !in.take("]")) {
    pair.map.exprs.push_back(in.expr(pair.consumer_space));
    in.take(",");
  }
  in.expect("}");
  if (!in.failed() &&
      static_cast<int>(pair.map.exprs.size()) != pair.producer_space.num_parallel()) {
    in.fail("the map has another rank than the producer's output");
  }
  return pair;
}

}  // namespace

std::string_view to_string(MappingKind kind) {
  switch (kind) {
    case MappingKind::kOneToOne:
      return "one-to-one";
    case MappingKind::kOneToMany:
      return "one-to-many";
    case MappingKind::kManyToOne:
      return "many-to-one";
    case MappingKind::kManyToMany:
      return "many-to-many";
    case MappingKind::kReorganising:
      return "reorganising";
  }
  return "";
}

std::string to_string(const MappingTable& table) {
  std::string text = "mapping {\n";
  for (const PairMapping& pair : table.pairs) text += pair_text(pair);
  return text + "}\n";
}

Result<MappingTable> parse(std::string_view text) {
  Reader in(text);
  MappingTable table;
  in.expect("mapping");
  in.expect("{");
  while (!in.failed() && !in.take("}")) {
    in.expect("n");
    PairMapping pair = parse_pair(in);
    if (in.failed()) break;
    derive(pair);
    table.pairs.push_back(std::move(pair));
  }
  if (!in.failed() && !in.at_end()) in.fail("expected nothing after the table");
  if (in.failed()) return in.error();
  return table;
}

}  // namespace corf::mapping
