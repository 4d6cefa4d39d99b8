#include "loop/parse_kernel.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <limits>
#include <map>

#include "loop/names.h"

namespace corf::loop {
namespace {

using index::Scanner;

/// One above the largest register number in the text.
int first_free_register(std::string_view text) {
  int64_t largest = -1;
  for (size_t i = text.find('%'); i != std::string_view::npos; i = text.find('%', i + 1)) {
    int64_t number = 0;
    size_t k = i + 1;
    for (; k < text.size() && std::isdigit(static_cast<unsigned char>(text[k])); ++k) {
      number =
          std::min<int64_t>(10 * number + (text[k] - '0'), std::numeric_limits<int>::max() / 2);
    }
    if (k > i + 1) largest = std::max(largest, number);
  }
  return static_cast<int>(largest + 1);
}

const std::map<std::string, graph::ScalarOp, std::less<>>& scalar_ops() {
  using graph::ScalarOp;
  static const auto* const table = [] {
    auto* ops = new std::map<std::string, ScalarOp, std::less<>>;
    for (int i = 0; i < graph::kNumScalarOps; ++i) {
      const ScalarOp op = static_cast<ScalarOp>(i);
      if (op == ScalarOp::kOperand || op == ScalarOp::kConstant || op == ScalarOp::kIndex) continue;
      ops->emplace(graph::to_string(op), op);
    }
    return ops;
  }();
  return *table;
}

class KernelParser {
 public:
  KernelParser(Scanner& scanner, int first_free_register)
      : s_(scanner), next_register_(first_free_register) {}

  Kernel parse() {
    kernel_.name = s_.name("a kernel's name");
    s_.expect("(");
    list(")", [&] {
      KernelBuffer b;
      memory(b);
      b.written = s_.accept("mut");
      kernel_.buffers.push_back(std::move(b));
    });
    s_.expect("partition");
    new_variable();
    if (s_.accept("params")) {
      s_.expect("(");
      list(")", [&] { new_variable(); });
      kernel_.num_params = static_cast<int>(kernel_.var_names.size()) - 1;
    }
    if (s_.accept("scratch")) {
      s_.expect("(");
      list(")", [&] {
        Scratch scratch;
        memory(scratch);
        kernel_.scratch.push_back(std::move(scratch));
      });
    }
    kernel_.body = block<Stmt>([this] { return stmt(); });
    return std::move(kernel_);
  }

 private:
  // Nesting is shallow in any real kernel; the limit keeps a damaged text off the stack's end.
  static constexpr int kMaxDepth = 100;

  template <typename F>
  void list(std::string_view close, F&& item) {
    if (s_.accept(close)) return;
    do {
      item();
    } while (!s_.failed() && s_.accept(","));
    s_.expect(close);
  }

  template <typename T, typename F>
  std::vector<T> block(F&& item) {
    std::vector<T> body;
    s_.expect("{");
    if (++depth_ > kMaxDepth) s_.fail("loops are nested too deeply");
    while (!s_.failed() && !s_.accept("}")) body.push_back(item());
    --depth_;
    return body;
  }

  template <typename T>
  void memory(T& buffer) {
    buffer.name = s_.name("a buffer's name");
    const int number = static_cast<int>(buffers_.size());
    if (!buffers_.emplace(buffer.name, number).second) {
      s_.fail(fmt::format("buffer '{}' is declared twice", buffer.name));
    }
    s_.expect(":");
    parse_memory_type(s_, buffer.dtype, buffer.size_elems);
  }

  int new_variable() {
    const std::string name = s_.name("a variable's name");
    if (!is_identifier(name)) s_.fail("a variable's name must be an identifier");
    const int id = static_cast<int>(kernel_.var_names.size());
    if (!variables_.emplace(name, id).second) {
      s_.fail(fmt::format("variable '{}' is bound twice", name));
    }
    kernel_.var_names.push_back(name);
    return id;
  }

  int variable() {
    const std::string name = s_.name("a variable");
    auto it = variables_.find(name);
    if (it != variables_.end()) return it->second;
    s_.fail(fmt::format("unknown variable '{}'", name));
    return 0;
  }

  Expr expr() {
    return s_.expr([this](std::string_view name) -> std::optional<int> {
      auto it = variables_.find(name);
      return it == variables_.end() ? std::nullopt : std::optional<int>(it->second);
    });
  }

  int buffer() {
    const std::string name = s_.name("a buffer");
    auto it = buffers_.find(name);
    if (it != buffers_.end()) return it->second;
    s_.fail(fmt::format("unknown buffer '{}'", name));
    return 0;
  }

  Register reg() {
    s_.expect("%");
    if (s_.failed()) return 0;
    if (!s_.at_name()) {
      const int64_t number = s_.integer("a register's number");
      if (number < 0 || number >= next_register_) s_.fail("a register's number is out of range");
      return s_.failed() ? 0 : static_cast<Register>(number);
    }
    const auto [it, is_new] = registers_.emplace(s_.name("a register"), next_register_);
    if (is_new) ++next_register_;
    return it->second;
  }

  std::vector<Guard> guards() {
    std::vector<Guard> result;
    if (!s_.accept("guard")) return result;
    s_.expect("(");
    list(")", [&] {
      Guard guard;
      guard.lo = s_.integer("a guard's lower bound");
      s_.expect("<=");
      guard.expr = expr();
      s_.expect("<");
      guard.hi = s_.integer("a guard's upper bound");
      result.push_back(std::move(guard));
    });
    return result;
  }

  template <typename L>
  void loop_head(L& loop) {
    loop.var = new_variable();
    s_.expect("in");
    s_.expect("[");
    loop.lo = expr();
    s_.expect(",");
    loop.hi = expr();
    s_.expect(")");
    s_.expect("step");
    loop.step = s_.integer("a step");
  }

  Stmt stmt() {
    if (s_.accept("for")) {
      For loop;
      loop_head(loop);
      loop.body = block<Stmt>([this] { return stmt(); });
      return loop;
    }
    s_.expect("tile");
    s_.expect("(");
    Tile tile;
    list(")", [&] {
      TileAxis axis;
      axis.var = new_variable();
      s_.expect(":");
      axis.extent = s_.integer("an extent");
      axis.vector = s_.accept("vector");
      tile.axes.push_back(axis);
    });
    tile.matrix = s_.accept("matrix");
    if (tile.matrix) tile.part = matrix_part();
    tile.body = block<TileStmt>([this] { return tile_stmt(); });
    return tile;
  }

  MatrixPart matrix_part() {
    if (s_.accept("begin")) return MatrixPart::kBegin;
    if (s_.accept("step")) return MatrixPart::kStep;
    return s_.accept("end") ? MatrixPart::kEnd : MatrixPart::kWhole;
  }

  TileStmt tile_stmt() {
    if (s_.accept("loop")) {
      TileLoop loop;
      loop_head(loop);
      s_.expect("unroll");
      loop.unroll = static_cast<int>(s_.integer("a number of copies"));
      loop.body = block<TileStmt>([this] { return tile_stmt(); });
      return loop;
    }
    if (s_.accept("store")) {
      TileStore store;
      store.buffer = buffer();
      s_.expect("[");
      store.offset = expr();
      s_.expect("]");
      s_.expect("=");
      store.value = reg();
      store.guards = guards();
      return store;
    }
    if (s_.accept("prefetch")) {
      TilePrefetch prefetch;
      prefetch.buffer = buffer();
      s_.expect("[");
      prefetch.offset = expr();
      s_.expect("]");
      return prefetch;
    }
    if (s_.accept("acc")) {
      TileAccumulator acc;
      acc.reg = reg();
      acc.dtype = parse_element_type(s_);
      s_.expect("(");
      list(")", [&] { acc.axes.push_back(variable()); });
      s_.expect("=");
      acc.init = reg();
      return acc;
    }
    if (s_.accept("bind")) {
      TileBind bind;
      bind.var = new_variable();
      s_.expect("=");
      bind.reg = reg();
      return bind;
    }
    const Register target = reg();
    if (s_.accept(":=")) return TileAssign{target, reg()};
    if (s_.accept("=")) return let(target);
    return update(target);
  }

  TileStmt update(Register acc) {
    TileUpdate update;
    update.acc = acc;
    if (s_.accept("+=")) {
      update.reduction = Reduction::kSum;
    } else if (s_.accept("*=")) {
      update.reduction = Reduction::kProduct;
    } else if (s_.accept("min=")) {
      update.reduction = Reduction::kMin;
    } else if (s_.accept("max=")) {
      update.reduction = Reduction::kMax;
    } else {
      s_.fail("expected '=', ':=', '+=', '*=', 'min=' or 'max='");
    }
    update.a = reg();
    if (s_.accept("*")) update.b = reg();
    if (s_.accept("over")) {
      s_.expect("(");
      list(")", [&] { update.over.push_back(variable()); });
    }
    return update;
  }

  TileStmt let(Register target) {
    TileLet let;
    let.reg = target;
    const std::string op = s_.name("an operation");
    const bool is_own =
        op == "const" || op == "table" || op == "load" || op == "index" || op == "reduce";
    if (!is_own && !scalar_ops().count(op)) s_.fail(fmt::format("unknown operation '{}'", op));
    Reduction reduction = Reduction::kSum;
    if (op == "reduce") {
      const std::string name = s_.name("a reduction");
      if (auto parsed = parse_reduction(name)) {
        reduction = *parsed;
      } else {
        s_.fail(fmt::format("unknown reduction '{}'", name));
      }
    }
    let.dtype = parse_element_type(s_);
    if (op == "const") {
      TileConstant constant;
      if (is_float(let.dtype)) {
        constant.f64 = s_.number("a constant");
      } else {
        constant.i64 = s_.integer("a constant");
      }
      let.value = constant;
    } else if (op == "table") {
      TileTable table;
      s_.expect("(");
      list(")", [&] { table.axes.push_back(variable()); });
      s_.expect("[");
      list("]", [&] { table.values.push_back(s_.number("a constant")); });
      let.value = std::move(table);
    } else if (op == "load") {
      TileLoad load;
      load.buffer = buffer();
      s_.expect("[");
      load.offset = expr();
      s_.expect("]");
      load.guards = guards();
      if (s_.accept("padding")) load.padding = s_.number("the padding's value");
      let.value = std::move(load);
    } else if (op == "index") {
      let.value = TileIndex{expr()};
    } else if (op == "reduce") {
      TileReduce reduce;
      reduce.reduction = reduction;
      reduce.arg = reg();
      s_.expect("over");
      reduce.axis = variable();
      let.value = reduce;
    } else {
      let.value = apply(op);
    }
    return let;
  }

  TileApply apply(const std::string& name) {
    TileApply apply;
    auto it = scalar_ops().find(name);
    if (it == scalar_ops().end()) return apply;  // reported by the caller
    apply.op = it->second;
    for (int i = 0; i < graph::num_args(apply.op) && !s_.failed(); ++i) {
      if (i > 0) s_.expect(",");
      apply.args.push_back(reg());
    }
    return apply;
  }

  Scanner& s_;
  Kernel kernel_;
  std::map<std::string, int, std::less<>> variables_, buffers_, registers_;
  int next_register_ = 0;
  int depth_ = 0;
};

}  // namespace

Kernel parse_kernel(Scanner& scanner, std::string_view text) {
  return KernelParser(scanner, first_free_register(text)).parse();
}

}  // namespace corf::loop
