#include "loop/kernel_key.h"

#include <bit>
#include <type_traits>

namespace corf::loop {
namespace {

/// Writes fields one behind the other. Numbers end by themselves, lists follow their length and
/// alternatives their number, so that no two kernels have the same bytes. Structures are taken
/// apart into all their fields: one that is added does not compile until it is written, too.
class KeyWriter {
 public:
  KeyWriter(const Kernel& kernel, const KeyOptions& without)
      : without_(without), new_ids_(kernel.var_names.size(), -1) {
    const auto& [name, buffers, scratch, num_params, var_names, body] = kernel;
    number(num_params);
    for (int var = 0; var <= num_params; ++var) bind(var);
    number(std::ssize(buffers));
    for (const auto& [buffer_name, dtype, size_elems, written] : buffers) {
      number(static_cast<int64_t>(dtype));
      number(written ? 1 : 0);
    }
    number(std::ssize(scratch));
    for (const auto& [scratch_name, dtype, size_elems] : scratch) {
      number(static_cast<int64_t>(dtype));
      number(without_.scratch_sizes ? 0 : size_elems);
    }
    list(body);
  }
  std::string take() { return std::move(key_); }

 private:
  /// In groups of seven bits, the sign lowest.
  void number(int64_t value) {
    auto rest = (static_cast<uint64_t>(value) << 1U) ^ static_cast<uint64_t>(value >> 63);
    while (rest >= 0x80) {
      key_ += static_cast<char>(rest | 0x80U);
      rest >>= 7U;
    }
    key_ += static_cast<char>(rest);
  }
  void real(double value) { number(std::bit_cast<int64_t>(value)); }
  void bind(int var) { new_ids_[var] = next_id_++; }
  void variable(int var) { number(new_ids_[var]); }
  void variables(const std::vector<int>& vars) {
    number(std::ssize(vars));
    for (int var : vars) variable(var);
  }
  /// Registers are numbered anew in each tile, in the order in which they are met.
  void reg(Register reg) {
    if (reg < 0) return number(-1);
    const auto index = static_cast<size_t>(reg);
    if (index >= new_registers_.size()) new_registers_.resize(index + 1);
    auto& [tile, id] = new_registers_[index];
    if (tile != tile_) {
      tile = tile_;
      id = next_register_++;
    }
    number(id);
  }

  void expr(const Expr& e) {
    number(static_cast<int64_t>(e.kind()));
    switch (e.kind()) {
      case index::ExprKind::kConstant:
        return number(hides_constants_ ? 0 : e.constant());
      case index::ExprKind::kVariable:
        return variable(e.variable_id());
      default:
        expr(e.lhs());
        expr(e.rhs());
    }
  }
  void guards(const std::vector<Guard>& list) {
    number(std::ssize(list));
    for (const auto& [guarded, lo, hi] : list) {
      hides_constants_ = without_.tile_extents;
      expr(guarded);
      hides_constants_ = false;
      number(lo);
      number(hi);
    }
  }

  template <typename T>
  void list(const std::vector<T>& stmts) {
    number(std::ssize(stmts));
    for (const T& stmt : stmts) alternative(stmt);
  }
  template <typename... T>
  void alternative(const std::variant<T...>& stmt) {
    number(static_cast<int64_t>(stmt.index()));
    std::visit([&](const auto& s) { write(s); }, stmt);
  }

  void write(const For& s) {
    const auto& [var, lo, hi, step, body] = s;
    expr(lo);
    expr(hi);
    bind(var);
    number(step);
    list(body);
  }
  void write(const Tile& s) {
    const auto& [axes, body, matrix, part] = s;
    ++tile_;
    next_register_ = 0;
    number(std::ssize(axes));
    for (const auto& [var, extent, vector] : axes) {
      bind(var);
      number(without_.tile_extents ? 0 : extent);
      number(vector ? 1 : 0);
    }
    number(matrix ? 1 + static_cast<int64_t>(part) : 0);
    list(body);
  }
  void write(const TileLoop& s) {
    const auto& [var, lo, hi, step, unroll, body] = s;
    expr(lo);
    expr(hi);
    bind(var);
    number(step);
    number(without_.unrolling ? 1 : unroll);
    list(body);
  }
  void write(const TileLet& s) {
    const auto& [target, dtype, value] = s;
    number(static_cast<int64_t>(dtype));
    alternative(value);
    reg(target);
  }
  void write(const TileConstant& s) {
    const auto& [f64, i64] = s;
    real(f64);
    number(i64);
  }
  void write(const TileTable& s) {
    const auto& [axes, values] = s;
    variables(axes);
    number(std::ssize(values));
    for (double value : values) real(value);
  }
  void write(const TileLoad& s) {
    const auto& [buffer, offset, guarded, padding] = s;
    number(buffer);
    expr(offset);
    guards(guarded);
    real(padding);
  }
  void write(const TileIndex& s) { expr(s.expr); }
  void write(const TileApply& s) {
    const auto& [op, args] = s;
    number(static_cast<int64_t>(op));
    number(std::ssize(args));
    for (Register arg : args) reg(arg);
  }
  void write(const TileReduce& s) {
    const auto& [reduction, arg, axis] = s;
    number(static_cast<int64_t>(reduction));
    reg(arg);
    variable(axis);
  }
  void write(const TileAccumulator& s) {
    const auto& [target, dtype, axes, init] = s;
    number(static_cast<int64_t>(dtype));
    reg(init);
    variables(axes);
    reg(target);
  }
  void write(const TileUpdate& s) {
    const auto& [acc, reduction, a, b, over] = s;
    number(static_cast<int64_t>(reduction));
    reg(a);
    reg(b);
    variables(over);
    reg(acc);
  }
  void write(const TileAssign& s) {
    const auto& [acc, value] = s;
    reg(value);
    reg(acc);
  }
  void write(const TileStore& s) {
    const auto& [buffer, offset, guarded, value] = s;
    number(buffer);
    expr(offset);
    guards(guarded);
    reg(value);
  }
  void write(const TilePrefetch& s) {
    const auto& [buffer, offset] = s;
    number(buffer);
    expr(offset);
  }
  void write(const TileBind& s) {
    const auto& [var, source] = s;
    reg(source);
    bind(var);
  }

  const KeyOptions without_;
  bool hides_constants_ = false;  // of guards, that follow from the extents of tiles
  std::string key_;
  std::vector<int> new_ids_;  // by variable
  int next_id_ = 0;
  std::vector<std::pair<int, int>> new_registers_;  // by register: of which tile, and its number
  int tile_ = 0, next_register_ = 0;
};

}  // namespace

std::string kernel_key(const Kernel& kernel, const KeyOptions& without) {
  return KeyWriter(kernel, without).take();
}

}  // namespace corf::loop
