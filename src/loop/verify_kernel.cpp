#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>

#include "graph/scalar_types.h"
#include "loop/names.h"
#include "loop/text.h"
#include "loop/tile_info.h"

namespace corf::loop {
namespace {

using graph::ScalarOp;

bool is_reserved(std::string_view name) {
  return name == "floordiv" || name == "mod" || name == "min" || name == "max";
}

class KernelVerifier {
 public:
  explicit KernelVerifier(const Kernel& kernel) : kernel_(kernel) {}

  std::string run() {
    if (kernel_.name.empty()) fail("the kernel has no name");
    check_names();
    if (!error_.empty()) return error_;
    in_scope_.assign(kernel_.var_names.size(), false);
    bound_.assign(kernel_.var_names.size(), false);
    for (int i = 0; i <= kernel_.num_params; ++i) in_scope_[i] = bound_[i] = true;
    check(kernel_.body);
    return error_;
  }

 private:
  bool fail(std::string_view what) {
    if (error_.empty())
      error_ = statement_.empty() ? what : fmt::format("{}: {}", statement_, what);
    return false;
  }

  bool check_names() {
    std::set<std::string_view> names;
    for (const KernelBuffer& b : kernel_.buffers) {
      if (!names.insert(b.name).second) fail(fmt::format("two buffers are called '{}'", b.name));
      if (b.size_elems < 0) fail(fmt::format("buffer '{}' has a negative size", b.name));
    }
    for (const Scratch& s : kernel_.scratch) {
      if (!names.insert(s.name).second) fail(fmt::format("two buffers are called '{}'", s.name));
      if (s.size_elems < 0) fail(fmt::format("scratch '{}' has a negative size", s.name));
    }
    names.clear();
    for (const std::string& name : kernel_.var_names) {
      if (!names.insert(name).second) fail(fmt::format("two variables are called '{}'", name));
      if (!is_identifier(name) || is_reserved(name)) {
        fail(fmt::format("variable name '{}' is no identifier", name));
      }
    }
    if (kernel_.num_params < 0 ||
        static_cast<int>(kernel_.var_names.size()) < 1 + kernel_.num_params) {
      fail("the partition or a parameter has no name");
    }
    return error_.empty();
  }

  bool bind(int var) {
    if (var < 0 || var >= static_cast<int>(bound_.size())) {
      return fail(fmt::format("variable {} has no name", var));
    }
    if (bound_[var]) {
      return fail(fmt::format("variable '{}' is bound twice", kernel_.var_names[var]));
    }
    bound_[var] = in_scope_[var] = true;
    return true;
  }

  bool check_scope(const Expr& expr) {
    std::vector<bool> used;
    index::collect_variables(expr, used);
    for (size_t var = 0; var < used.size(); ++var) {
      if (!used[var]) continue;
      if (var >= in_scope_.size()) return fail(fmt::format("variable {} has no name", var));
      if (!in_scope_[var]) {
        return fail(fmt::format("variable '{}' is not in scope", kernel_.var_names[var]));
      }
    }
    return true;
  }

  bool check(const std::vector<Stmt>& body) {
    for (const Stmt& stmt : body) {
      statement_.clear();
      if (const auto* tile = std::get_if<Tile>(&stmt)) {
        if (!check(*tile)) return false;
        continue;
      }
      const For& loop = std::get<For>(stmt);
      if (!check_scope(loop.lo) || !check_scope(loop.hi) || !bind(loop.var)) return false;
      if (loop.step < 1) return fail("a loop's step is below 1");
      if (!check(loop.body)) return false;
      in_scope_[loop.var] = false;
    }
    return true;
  }

  bool check(const Tile& tile) {
    int vectors = 0;
    if (tile.axes.size() > kMaxTileAxes) return fail("a tile has too many axes");
    for (const TileAxis& axis : tile.axes) {
      if (!bind(axis.var)) return false;
      if (axis.extent < 1) return fail("a tile's axis is empty");
      vectors += axis.vector;
    }
    if (vectors > 1) return fail("a tile has more than one vector axis");
    if (tile.part != MatrixPart::kWhole && !tile.matrix) {
      return fail("only the matrix unit takes a product in parts");
    }
    TileInfo info(tile);
    info_ = &info;
    live_.clear();
    const bool ok = check(tile.body);
    info_ = nullptr;
    for (const TileAxis& axis : tile.axes) in_scope_[axis.var] = false;
    return ok;
  }

  bool check(const std::vector<TileStmt>& body) {
    const std::vector<bool> live_before = live_;
    std::vector<int> bound_here;
    for (const TileStmt& stmt : body) {
      statement_ = to_string(kernel_, stmt);
      statement_.erase(0, statement_.find_first_not_of(' '));
      if (!std::visit([this](const auto& s) { return check(s); }, stmt)) return false;
      if (const auto* bound = std::get_if<TileBind>(&stmt)) bound_here.push_back(bound->var);
      info_->define(stmt);
    }
    live_ = live_before;
    for (int var : bound_here) in_scope_[var] = false;
    return true;
  }

  bool is_live(Register reg) const {
    return reg >= 0 && reg < static_cast<int>(live_.size()) && live_[reg];
  }
  bool use(Register reg) {
    return is_live(reg) || fail(fmt::format("%{} is not defined here", reg));
  }
  bool use_accumulator(Register reg) {
    if (!use(reg)) return false;
    return info_->registers[reg].accumulator || fail(fmt::format("%{} is no accumulator", reg));
  }
  bool define(Register reg) {
    constexpr int kMaxRegisters = 1 << 20;
    if (reg < 0 || reg >= kMaxRegisters) return fail("a register's number is out of range");
    if (reg < static_cast<int>(info_->registers.size()) && info_->registers[reg].defined) {
      return fail(fmt::format("%{} is assigned twice", reg));
    }
    if (reg >= static_cast<int>(live_.size())) live_.resize(reg + 1, false);
    live_[reg] = true;
    return true;
  }
  DType dtype(Register reg) const { return info_->registers[reg].dtype; }
  bool same_type(DType a, DType b, std::string_view what) {
    return a == b || fail(fmt::format("{}: {} and {}", what, to_string(a), to_string(b)));
  }

  bool check_access(int buffer, const Expr& offset, const std::vector<Guard>& guards) {
    const size_t count = kernel_.buffers.size() + kernel_.scratch.size();
    if (buffer < 0 || buffer >= static_cast<int>(count)) return fail("no such buffer");
    if (!check_scope(offset)) return false;
    for (const Guard& guard : guards) {
      if (!check_scope(guard.expr)) return false;
    }
    return true;
  }

  bool check(const TileLet& s) {
    const auto visit = [&](const auto& value) { return check_value(s, value); };
    return std::visit(visit, s.value) && define(s.reg);
  }
  bool check_value(const TileLet&, const TileConstant&) { return true; }
  bool check_value(const TileLet& s, const TileTable& v) {
    AxisSet axes = 0;
    for (int var : v.axes) {
      AxisSet axis = 0;
      if (!distinct_axes({var}, axis)) return false;
      if (axes >= axis) return fail("a table's axes are not in the tile's order");
      axes |= axis;
    }
    if (info_->vector_axis >= 0 && (axes >> info_->vector_axis & 1)) {
      return fail("a table varies along the vector axis");
    }
    if (static_cast<int64_t>(v.values.size()) != info_->num_points(axes)) {
      return fail("a table has a value for each point of its axes");
    }
    if (s.dtype != DType::kF32 && s.dtype != DType::kF64) return fail("a table is f32 or f64");
    for (double value : v.values) {
      const bool exact = s.dtype == DType::kF64 || static_cast<float>(value) == value;
      if (!std::isfinite(value) || !exact) return fail("a table's value is not exact in its type");
    }
    return true;
  }
  bool check_value(const TileLet& s, const TileLoad& v) {
    return check_access(v.buffer, v.offset, v.guards) &&
           same_type(s.dtype, kernel_.buffer_dtype(v.buffer), "register and buffer differ in type");
  }
  bool check_value(const TileLet& s, const TileIndex& v) {
    return check_scope(v.expr) && (is_integer(s.dtype) || fail("an index is an integer"));
  }
  bool check_value(const TileLet& s, const TileApply& v) {
    const bool can_apply =
        v.op != ScalarOp::kOperand && v.op != ScalarOp::kConstant && v.op != ScalarOp::kIndex;
    if (!can_apply || static_cast<int>(v.args.size()) != graph::num_args(v.op)) {
      return fail("wrong operation or number of arguments");
    }
    std::vector<DType> types;
    for (Register arg : v.args) {
      if (!use(arg)) return false;
      types.push_back(dtype(arg));
    }
    const std::string_view fault = graph::type_fault(v.op, s.dtype, types);
    return fault.empty() || fail(fault);
  }
  bool check_value(const TileLet& s, const TileReduce& v) {
    if (!use(v.arg) || !same_type(s.dtype, dtype(v.arg), "a reduction keeps the type")) {
      return false;
    }
    if (!is_axis(v.axis)) return fail("the reduced variable is no axis of the tile");
    const AxisSet axis = info_->variable_axes.at(v.axis);
    if (!(info_->register_axes(v.arg) & axis)) return fail("the argument lacks the reduced axis");
    return s.dtype != DType::kBool || fail("bool cannot be reduced");
  }
  bool is_axis(int var) const {
    const std::vector<int>& axes = info_->axis_variables;
    return std::find(axes.begin(), axes.end(), var) != axes.end();
  }

  bool distinct_axes(const std::vector<int>& variables, AxisSet& axes) {
    for (int var : variables) {
      if (!is_axis(var)) return fail("a register's axis is no axis of the tile");
      const AxisSet axis = info_->variable_axes.at(var);
      if (axes & axis) return fail("an axis is listed twice");
      axes |= axis;
    }
    return true;
  }
  bool check(const TileAccumulator& s) {
    AxisSet axes = 0;
    if (!distinct_axes(s.axes, axes)) return false;
    if (!use(s.init) || !same_type(s.dtype, dtype(s.init), "accumulator and initial value differ"))
      return false;
    if (info_->register_axes(s.init) & ~axes) {
      return fail("the initial value has axes that the accumulator lacks");
    }
    return define(s.reg);
  }

  /// Factors may be narrower than the accumulator, of the same kind.
  bool fits(Register arg, DType acc) {
    const DType d = dtype(arg);
    const bool same_kind = is_float(d) ? is_float(acc) : is_integer(d) && is_integer(acc);
    if (d == acc || (same_kind && size_bytes(d) < size_bytes(acc))) return true;
    return fail(fmt::format("%{} of type {} does not fit the accumulator", arg, to_string(d)));
  }
  bool check(const TileUpdate& s) {
    if (!use_accumulator(s.acc) || !use(s.a) || !fits(s.a, dtype(s.acc))) return false;
    if (dtype(s.acc) == DType::kBool) return fail("bool cannot be accumulated");
    if (s.b >= 0) {
      if (s.reduction != Reduction::kSum) return fail("only a sum takes two factors");
      if (!use(s.b) || !fits(s.b, dtype(s.acc))) return false;
    }
    AxisSet over = 0;
    if (!distinct_axes(s.over, over)) return false;
    const AxisSet acc = info_->register_axes(s.acc);
    if (over & acc) return fail("an update repeats over an axis of its accumulator");
    const AxisSet args = info_->register_axes(s.a) | (s.b >= 0 ? info_->register_axes(s.b) : 0);
    return !(args & ~(acc | over)) ||
           fail("an argument has an axis over which the update does not repeat");
  }
  bool check(const TileAssign& s) {
    if (!use_accumulator(s.acc) || !use(s.value)) return false;
    if (!same_type(dtype(s.acc), dtype(s.value), "accumulator and value differ in type")) {
      return false;
    }
    return !(info_->register_axes(s.value) & ~info_->register_axes(s.acc)) ||
           fail("the value has axes that the accumulator lacks");
  }
  bool check(const TileStore& s) {
    if (!check_access(s.buffer, s.offset, s.guards) || !use(s.value)) return false;
    const auto num_buffers = static_cast<int>(kernel_.buffers.size());
    if (s.buffer < num_buffers && !kernel_.buffers[s.buffer].written) {
      return fail("store into a buffer that is only read");
    }
    const AxisSet spread = info_->register_axes(s.value) & ~info_->axes_of(s.offset);
    if (info_->num_points(spread) != 1) return fail("several values are stored at one offset");
    return same_type(dtype(s.value), kernel_.buffer_dtype(s.buffer),
                     "value and buffer differ in type");
  }
  bool check(const TilePrefetch& s) {
    return check_access(s.buffer, s.offset, {}) &&
           (info_->axes_of(s.offset) == 0 || fail("a prefetch varies over the tile"));
  }
  bool check(const TileBind& s) {
    if (!use(s.reg)) return false;
    if (!is_integer(dtype(s.reg))) return fail("only an integer can be bound");
    return bind(s.var);
  }
  bool check(const TileLoop& s) {
    if (!check_scope(s.lo) || !check_scope(s.hi)) return false;
    if (info_->axes_of(s.lo) || info_->axes_of(s.hi)) return fail("bounds vary over the tile");
    if (s.step < 1) return fail("a loop's step is below 1");
    if (s.unroll < 1) return fail("a loop is unrolled less than once");
    if (!bind(s.var) || !check(s.body)) return false;
    in_scope_[s.var] = false;
    return true;
  }

  const Kernel& kernel_;
  std::vector<bool> in_scope_, bound_;  // by variable
  TileInfo* info_ = nullptr;
  std::vector<bool> live_;  // by register
  std::string statement_, error_;
};

}  // namespace

Status verify(const Kernel& kernel) {
  const std::string fault = KernelVerifier(kernel).run();
  if (fault.empty()) return {};
  return make_error(ErrorCode::kInternal, "kernel '{}': {}", kernel.name, fault);
}

}  // namespace corf::loop
