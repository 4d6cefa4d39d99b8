#include <cctype>
#include <cmath>
#include <fmt/format.h>
#include <iterator>

#include "index/scanner.h"
#include "loop/names.h"
#include "loop/text.h"

namespace corf::loop {
namespace {

using index::quoted;

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};

std::string name_text(std::string_view name) {
  return is_identifier(name) ? std::string(name) : quoted(name);
}

template <typename T, typename F>
std::string joined(const std::vector<T>& items, F&& text) {
  std::string out;
  for (const T& item : items) {
    if (!out.empty()) out += ", ";
    out += text(item);
  }
  return out;
}

std::string reg_text(Register reg) { return fmt::format("%{}", reg); }

std::string reduction_symbol(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSum:
      return "+=";
    case Reduction::kProduct:
      return "*=";
    case Reduction::kMin:
      return "min=";
    case Reduction::kMax:
      return "max=";
  }
  return "?";
}

class KernelPrinter {
 public:
  explicit KernelPrinter(const Kernel& kernel) : kernel_(kernel) {}

  std::string print() {
    const auto memory = [](const auto& b) {
      return fmt::format("{}: {}[{}]", name_text(b.name), to_string(b.dtype), b.size_elems);
    };
    out_ = fmt::format("kernel {}(", name_text(kernel_.name));
    out_ += joined(kernel_.buffers,
                   [&](const KernelBuffer& b) { return memory(b) + (b.written ? " mut" : ""); });
    out_ += fmt::format(") partition {}", variable(0));
    if (kernel_.num_params > 0) {
      out_ += " params(";
      for (int i = 1; i <= kernel_.num_params; ++i) {
        out_ += (i > 1 ? ", " : "") + variable(i);
      }
      out_ += ")";
    }
    if (!kernel_.scratch.empty()) {
      out_ += " scratch(" + joined(kernel_.scratch, memory) + ")";
    }
    out_ += " {\n";
    depth_ = 1;
    for (const Stmt& stmt : kernel_.body) print(stmt);
    out_ += "}\n";
    return std::move(out_);
  }

  std::string print_line(const TileStmt& stmt) {
    print(stmt);
    return out_.substr(0, out_.find('\n'));
  }

 private:
  std::string variable(int id) const {
    return id < static_cast<int>(kernel_.var_names.size()) ? kernel_.var_names[id]
                                                           : fmt::format("v{}", id);
  }
  std::string expr(const Expr& e) const {
    return index::to_string(e, [this](int id) { return variable(id); });
  }
  std::string buffer(int number) const {
    const int num_buffers = static_cast<int>(kernel_.buffers.size());
    if (number >= 0 && number < num_buffers) return name_text(kernel_.buffers[number].name);
    const int scratch = number - num_buffers;
    if (scratch >= 0 && scratch < static_cast<int>(kernel_.scratch.size())) {
      return name_text(kernel_.scratch[scratch].name);
    }
    return fmt::format("buffer{}", number);
  }
  std::string guards(const std::vector<Guard>& list) const {
    if (list.empty()) return "";
    return " guard(" +
           joined(list,
                  [this](const Guard& g) {
                    return fmt::format("{} <= {} < {}", g.lo, expr(g.expr), g.hi);
                  }) +
           ")";
  }
  void line(std::string_view text) {
    out_.append(2 * depth_, ' ');
    out_ += text;
    out_ += '\n';
  }

  std::string value(const TileLet& let) const {
    const std::string_view dtype = to_string(let.dtype);
    return std::visit(
        Overloaded{
            [&](const TileConstant& c) {
              return is_float(let.dtype) ? fmt::format("const {} {}", dtype, c.f64)
                                         : fmt::format("const {} {}", dtype, c.i64);
            },
            [&](const TileTable& t) {
              return fmt::format("table {} ({}) [{}]", dtype,
                                 joined(t.axes, [this](int v) { return variable(v); }),
                                 joined(t.values, [](double v) { return fmt::format("{}", v); }));
            },
            [&](const TileLoad& l) {
              std::string text = fmt::format("load {} {}[{}]{}", dtype, buffer(l.buffer),
                                             expr(l.offset), guards(l.guards));
              if (l.padding != 0 || std::signbit(l.padding)) {
                text += fmt::format(" padding {}", l.padding);
              }
              return text;
            },
            [&](const TileIndex& i) { return fmt::format("index {} {}", dtype, expr(i.expr)); },
            [&](const TileApply& a) {
              return fmt::format("{} {} {}", graph::to_string(a.op), dtype,
                                 joined(a.args, reg_text));
            },
            [&](const TileReduce& r) {
              return fmt::format("reduce {} {} %{} over {}", to_string(r.reduction), dtype, r.arg,
                                 variable(r.axis));
            }},
        let.value);
  }

  void print(const TileStmt& stmt) {
    std::visit(
        Overloaded{
            [&](const TileLet& s) { line(fmt::format("%{} = {}", s.reg, value(s))); },
            [&](const TileAccumulator& s) {
              line(fmt::format("acc %{} {} ({}) = %{}", s.reg, to_string(s.dtype),
                               joined(s.axes, [this](int v) { return variable(v); }), s.init));
            },
            [&](const TileUpdate& s) {
              std::string factor = s.b >= 0 ? fmt::format(" * %{}", s.b) : "";
              if (!s.over.empty()) {
                factor += fmt::format(" over ({})",
                                      joined(s.over, [this](int v) { return variable(v); }));
              }
              line(fmt::format("%{} {} %{}{}", s.acc, reduction_symbol(s.reduction), s.a, factor));
            },
            [&](const TileAssign& s) { line(fmt::format("%{} := %{}", s.acc, s.value)); },
            [&](const TileStore& s) {
              line(fmt::format("store {}[{}] = %{}{}", buffer(s.buffer), expr(s.offset), s.value,
                               guards(s.guards)));
            },
            [&](const TilePrefetch& s) {
              line(fmt::format("prefetch {}[{}]", buffer(s.buffer), expr(s.offset)));
            },
            [&](const TileBind& s) { line(fmt::format("bind {} = %{}", variable(s.var), s.reg)); },
            [&](const TileLoop& s) {
              line(fmt::format("loop {} in [{}, {}) step {} unroll {} {{", variable(s.var),
                               expr(s.lo), expr(s.hi), s.step, s.unroll));
              block(s.body);
            }},
        stmt);
  }

  static std::string_view matrix_part(const Tile& tile) {
    if (!tile.matrix) return "";
    switch (tile.part) {
      case MatrixPart::kWhole:
        return "matrix ";
      case MatrixPart::kBegin:
        return "matrix begin ";
      case MatrixPart::kStep:
        return "matrix step ";
      case MatrixPart::kEnd:
        return "matrix end ";
    }
    return "";
  }

  void print(const Stmt& stmt) {
    std::visit(Overloaded{[&](const For& s) {
                            line(fmt::format("for {} in [{}, {}) step {} {{", variable(s.var),
                                             expr(s.lo), expr(s.hi), s.step));
                            block(s.body);
                          },
                          [&](const Tile& s) {
                            line(fmt::format("tile ({}) {}{{",
                                             joined(s.axes,
                                                    [this](const TileAxis& a) {
                                                      return fmt::format("{}: {}{}",
                                                                         variable(a.var), a.extent,
                                                                         a.vector ? " vector" : "");
                                                    }),
                                             matrix_part(s)));
                            block(s.body);
                          }},
               stmt);
  }

  template <typename S>
  void block(const std::vector<S>& body) {
    ++depth_;
    for (const S& stmt : body) print(stmt);
    --depth_;
    line("}");
  }

  const Kernel& kernel_;
  std::string out_;
  int depth_ = 0;
};

constexpr int64_t kMaxPrintedElems = 8;

std::string data_text(const Buffer& buffer) {
  if (!buffer.hash.empty()) return " hash " + buffer.hash;
  if (buffer.data.num_elems() > kMaxPrintedElems || buffer.data.empty()) {
    return " hash " + data_hash(buffer.data);
  }
  std::string out = " =";
  for (int64_t i = 0; i < buffer.data.num_elems(); ++i) {
    out += i > 0 ? ", " : " ";
    out += is_float(buffer.dtype) ? fmt::format("{}", buffer.data.at_f64(i))
                                  : fmt::format("{}", buffer.data.at_i64(i));
  }
  return out;
}

std::string buffer_text(const Buffer& b) {
  std::string out =
      fmt::format("buffer {}: {}[{}] ", name_text(b.name), to_string(b.dtype), b.size_elems);
  switch (b.kind) {
    case BufferKind::kInput:
      return out + fmt::format("input {}\n", b.position);
    case BufferKind::kOutput:
      return out + fmt::format("output {}\n", b.position);
    case BufferKind::kConstant:
      return out + "constant" + data_text(b) + "\n";
    case BufferKind::kArena:
      return out + "arena\n";
  }
  return out;
}

std::string program_buffer(const Program& program, int number) {
  return number >= 0 && number < static_cast<int>(program.buffers.size())
             ? name_text(program.buffers[number].name)
             : fmt::format("buffer{}", number);
}

std::string call_text(const Program& program, const KernelCall& call) {
  const bool known = call.kernel >= 0 && call.kernel < static_cast<int>(program.kernels.size());
  std::string out =
      fmt::format("call {}({})", known ? name_text(program.kernels[call.kernel].name) : "unknown",
                  joined(call.buffers, [&](int b) { return program_buffer(program, b); }));
  if (!call.params.empty()) {
    out += " params(" + joined(call.params, [](int64_t p) { return fmt::format("{}", p); }) + ")";
  }
  out += fmt::format(" partitions {} label {}", call.partitions, quoted(call.label));
  if (!call.nodes.empty()) out += " nodes(" + joined(call.nodes, quoted) + ")";
  return out + fmt::format(" work {} executed {} bytes {}\n", call.work_flops, call.executed_flops,
                           call.compulsory_bytes);
}

// A decimal point or exponent tells a float attribute from an integer.
std::string float_text(double value) {
  std::string text = fmt::format("{}", value);
  if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string routine_text(const Program& program, const RoutineCall& call) {
  const auto operands = [&](const std::vector<RoutineOperand>& list) {
    return joined(list, [&](const RoutineOperand& o) {
      return fmt::format("{}: {}", program_buffer(program, o.buffer), corf::to_string(o.shape));
    });
  };
  std::string out = fmt::format("routine {}({}) -> ({})", quoted(call.routine),
                                operands(call.inputs), operands(call.outputs));
  if (!call.attributes.empty()) {
    out += " attributes(";
    bool first = true;
    for (const auto& [name, value] : call.attributes) {
      out += (first ? "" : ", ") + name_text(name) + " = ";
      first = false;
      out += std::visit(
          Overloaded{
              [](int64_t v) { return fmt::format("{}", v); },
              [](double v) { return float_text(v); },
              [](const std::string& v) { return quoted(v); },
              [](const std::vector<int64_t>& v) {
                return "[" + joined(v, [](int64_t e) { return fmt::format("{}", e); }) + "]";
              },
              [](const std::vector<double>& v) { return "floats[" + joined(v, float_text) + "]"; }},
          value);
    }
    out += ")";
  }
  return out + fmt::format(" label {}\n", quoted(call.label));
}

}  // namespace

bool is_identifier(std::string_view name) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  for (char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  }
  return true;
}

std::string_view to_string(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSum:
      return "sum";
    case Reduction::kProduct:
      return "product";
    case Reduction::kMin:
      return "min";
    case Reduction::kMax:
      return "max";
  }
  return "?";
}

std::optional<Reduction> parse_reduction(std::string_view text) {
  for (Reduction r : {Reduction::kSum, Reduction::kProduct, Reduction::kMin, Reduction::kMax}) {
    if (to_string(r) == text) return r;
  }
  return std::nullopt;
}

std::string data_hash(const Tensor& data) {
  // FNV-1a over words of 8 bytes, the last one zero-extended.
  uint64_t hash = 0xcbf29ce484222325u;
  const std::byte* bytes = data.bytes();
  for (int64_t i = 0; i < data.size_bytes(); i += 8) {
    uint64_t word = 0;
    const int64_t end = std::min<int64_t>(8, data.size_bytes() - i);
    for (int64_t k = 0; k < end; ++k) {
      word |= static_cast<uint64_t>(std::to_integer<uint8_t>(bytes[i + k])) << (8 * k);
    }
    hash = (hash ^ word) * 0x100000001b3u;
    hash ^= hash >> 29;
  }
  return fmt::format("{:016x}", hash);
}

std::string to_string(const Kernel& kernel) { return KernelPrinter(kernel).print(); }

std::string to_string(const Kernel& kernel, const TileStmt& stmt) {
  return KernelPrinter(kernel).print_line(stmt);
}

std::string to_string(const Program& program) {
  std::string out;
  for (const Buffer& b : program.buffers) out += buffer_text(b);
  for (const Kernel& k : program.kernels) out += "\n" + to_string(k);
  if (!program.steps.empty()) out += "\n";
  for (const Step& step : program.steps) {
    out += std::visit(Overloaded{[&](const KernelCall& c) { return call_text(program, c); },
                                 [&](const RoutineCall& c) { return routine_text(program, c); }},
                      step);
  }
  return out;
}

}  // namespace corf::loop
