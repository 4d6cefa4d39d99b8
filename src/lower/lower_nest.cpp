#include "lower/lower_nest.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>

#include "lower/pack.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::lower {
namespace {

using fusion::Access;
using fusion::kGatherBase;
using fusion::Nest;
using fusion::NestOp;
using fusion::NestSchedule;
using graph::Combiner;
using graph::ScalarOp;
using index::Expr;
using loop::Register;
using loop::Stmt;
using loop::TileStmt;

class NestLowering {
 public:
  NestLowering(const Nest& nest, const NestSchedule& schedule, KernelBuilder& builder)
      : nest_(nest), schedule_(schedule), builder_(builder) {
    const size_t n = nest.axes.size();
    base_.assign(n, Expr(0));
    extent_.assign(n, 1);
    classify();
  }

  std::vector<Stmt> run() {
    if (schedule_.block_axis < 0) return loops(0);
    // Blocks of one axis outermost; its own loop then runs within the block.
    const int axis = schedule_.block_axis;
    Range range = tile_range(axis);
    loop::For blocks;
    blocks.var = builder_.new_variable(nest_.axes[axis].name + "_block");
    blocks.lo = range.lo;
    blocks.hi = range.hi;
    blocks.step = schedule_.block_tiles;
    Expr start = Expr::variable(blocks.var);
    block_ = Range{start, min(start + Expr(schedule_.block_tiles), range.hi)};
    blocks.body = loops(0);
    std::vector<Stmt> result;
    result.push_back(std::move(blocks));
    return result;
  }

 private:
  struct Range {
    Expr lo, hi;  // in tiles
  };

  // ---- loops over tiles ----------------------------------------------------------------------

  int64_t tile_of(int axis) const {
    if (axis == schedule_.vector_axis) return schedule_.vector_tile;
    for (const auto& tiled : schedule_.register_tile) {
      if (tiled.axis == axis) return tiled.extent;
    }
    return 1;
  }

  Range tile_range(int axis) const {
    Expr tiles(ceil_div(nest_.axes[axis].extent, tile_of(axis)));
    if (axis != schedule_.partition_axis) return {Expr(0), tiles};
    Expr part = Expr::variable(KernelBuilder::kPartition), parts(schedule_.partitions);
    return {floor_div(part * tiles, parts), floor_div((part + Expr(1)) * tiles, parts)};
  }

  std::vector<Stmt> loops(size_t level) {
    std::vector<Stmt> result;
    if (level == schedule_.parallel_order.size()) {
      result.push_back(tile());
      return result;
    }
    const int axis = schedule_.parallel_order[level];
    const int64_t extent = nest_.axes[axis].extent, size = tile_of(axis);
    const int64_t full = extent / size, rest = extent % size;
    const Range range = block_ && axis == schedule_.block_axis ? *block_ : tile_range(axis);
    auto section = [&](const Expr& lo, const Expr& hi, int64_t tile_size) {
      extent_[axis] = tile_size;
      if (lo.is_constant() && hi.is_constant() && hi.constant() - lo.constant() == 1) {
        base_[axis] = Expr(lo.constant() * size);
        for (Stmt& stmt : loops(level + 1)) result.push_back(std::move(stmt));
        return;
      }
      loop::For loop;
      loop.var = builder_.new_variable(nest_.axes[axis].name);
      loop.lo = lo;
      loop.hi = hi;
      base_[axis] = Expr::variable(loop.var) * Expr(size);
      loop.body = loops(level + 1);
      result.push_back(std::move(loop));
    };
    if (rest == 0) {
      section(range.lo, range.hi, size);
      return result;
    }
    if (full > 0) section(range.lo, min(range.hi, Expr(full)), size);
    section(max(range.lo, Expr(full)), range.hi, rest);
    return result;
  }

  // ---- one tile ------------------------------------------------------------------------------

  Stmt tile() {
    point_ = base_;
    lane_variable_ = -1;
    tile_variables_.clear();
    std::vector<loop::TileAxis> axes;
    auto add_axis = [&](int axis, int64_t extent, bool vector) {
      if (extent == 1 && !vector) return;
      if (extent == 1) return;
      int variable = builder_.new_variable(nest_.axes[axis].name + "_t");
      axes.push_back({variable, extent, vector});
      point_[axis] = base_[axis] + Expr::variable(variable);
      if (!nest_.axes[axis].reduction) tile_variables_.push_back(variable);
      if (vector) lane_variable_ = variable;
    };
    for (const auto& tiled : schedule_.register_tile) {
      add_axis(tiled.axis, extent_[tiled.axis], false);
    }
    for (int axis : schedule_.unrolled_reductions) {
      base_[axis] = Expr(0);
      add_axis(axis, nest_.axes[axis].extent, false);
    }
    const int v = schedule_.vector_axis;
    if (v >= 0) {
      if (nest_.axes[v].reduction) base_[v] = Expr(0);
      add_axis(v, nest_.axes[v].reduction ? schedule_.vector_tile : extent_[v], true);
    }
    registers_.assign(nest_.ops.size(), -1);
    bound_.clear();
    loop::Tile result;
    result.axes = axes;
    if (nest_.reduce_op >= 0) emit_reduction(result.body);
    for (const Nest::Store& store : nest_.stores) {
      Register value = emit(store.op, result.body);
      const graph::Value& info = builder_.buffers().graph().values[store.access.value];
      (void)info;
      loop::TileStore out;
      out.buffer = builder_.bind(builder_.buffers().of_root(store.access.root), true);
      out.offset = at_point(store.access.address, result.body);
      out.guards = guards_of(store.access, result.body);
      out.value = value;
      result.body.push_back(std::move(out));
    }
    return result;
  }

  /// Which operations vary along the reduction axes.
  void classify() {
    varies_.assign(nest_.ops.size(), false);
    auto expr_varies = [&](const Expr& expr) {
      std::vector<int> ids;
      collect(expr, ids);
      return std::any_of(ids.begin(), ids.end(), [&](int id) {
        return id >= kGatherBase ? bool(varies_[id - kGatherBase]) : nest_.axes[id].reduction;
      });
    };
    for (size_t i = 0; i < nest_.ops.size(); ++i) {
      const NestOp& op = nest_.ops[i];
      switch (op.kind) {
        case NestOp::Kind::kLoad: {
          const Access& access = nest_.loads[op.access];
          varies_[i] = expr_varies(access.address);
          for (const auto& guard : access.guards)
            varies_[i] = varies_[i] || expr_varies(guard.expr);
          break;
        }
        case NestOp::Kind::kIndex:
          varies_[i] = expr_varies(op.index);
          break;
        case NestOp::Kind::kApply:
          for (int arg : op.args) varies_[i] = varies_[i] || varies_[arg];
          break;
        case NestOp::Kind::kConstant:
        case NestOp::Kind::kReduce:
          break;
      }
    }
  }

  static void collect(const Expr& expr, std::vector<int>& ids) {
    if (expr.is_constant()) return;
    if (expr.kind() == index::ExprKind::kVariable) {
      ids.push_back(expr.variable_id());
      return;
    }
    collect(expr.lhs(), ids);
    collect(expr.rhs(), ids);
  }

  // ---- operations ----------------------------------------------------------------------------

  Register let(DType dtype, decltype(loop::TileLet::value) value, std::vector<TileStmt>& out) {
    Register result = builder_.new_register();
    out.push_back(loop::TileLet{result, dtype, std::move(value)});
    return result;
  }

  Register constant(double f64, int64_t i64, DType dtype, std::vector<TileStmt>& out) {
    return let(dtype, loop::TileConstant{f64, i64}, out);
  }

  /// An expression over the nest's axes at the tile's current point.
  Expr at_point(const Expr& expr, std::vector<TileStmt>& out) {
    return index::substitute(expr, [&](int id) -> std::optional<Expr> {
      if (id < kGatherBase) return point_[id];
      int op = id - kGatherBase;
      auto [it, fresh] = bound_.try_emplace({op, emit(op, out)}, -1);
      if (fresh) {
        it->second = builder_.new_variable("gathered");
        out.push_back(loop::TileBind{it->second, it->first.second});
      }
      return Expr::variable(it->second);
    });
  }

  std::vector<loop::Guard> guards_of(const Access& access, std::vector<TileStmt>& out) {
    std::vector<loop::Guard> guards;
    for (const auto& guard : access.guards) {
      guards.push_back({at_point(guard.expr, out), guard.lo, guard.hi});
    }
    return guards;
  }

  Register emit(int number, std::vector<TileStmt>& out) {
    if (registers_[number] >= 0) return registers_[number];
    const NestOp& op = nest_.ops[number];
    Register result = -1;
    switch (op.kind) {
      case NestOp::Kind::kLoad:
        result = emit_load(op, out);
        break;
      case NestOp::Kind::kConstant:
        result = constant(op.f64, op.i64, op.dtype, out);
        break;
      case NestOp::Kind::kIndex:
        result = let(DType::kI64, loop::TileIndex{at_point(op.index, out)}, out);
        if (op.dtype != DType::kI64) {
          result = let(op.dtype, loop::TileApply{ScalarOp::kCast, {result}}, out);
        }
        break;
      case NestOp::Kind::kApply: {
        loop::TileApply apply;
        apply.op = op.op;
        for (int arg : op.args) apply.args.push_back(emit(arg, out));
        result = let(op.dtype, std::move(apply), out);
        break;
      }
      case NestOp::Kind::kReduce:
        CORF_ASSERT(false, "a reduction is emitted before what reads it");
    }
    registers_[number] = result;
    return result;
  }

  Register emit_load(const NestOp& op, std::vector<TileStmt>& out) {
    const Access& access = nest_.loads[op.access];
    loop::TileLoad load;
    if (fusion::is_packed(nest_, builder_.buffers().storage(), op.access, schedule_.vector_axis)) {
      PackedOperand packed(nest_, schedule_, op.access, builder_.buffers());
      load.buffer = builder_.bind(packed.buffer(), false);
      load.offset =
          packed.address(point_, base_[schedule_.vector_axis], extent_[schedule_.vector_axis]);
    } else {
      load.buffer = builder_.bind(builder_.buffers().of_root(access.root), false);
      load.offset = at_point(access.address, out);
      load.guards = guards_of(access, out);
      load.padding = access.padding;
      if (limit_) load.guards.push_back(*limit_);
    }
    return let(op.dtype, std::move(load), out);
  }

  // ---- reductions ----------------------------------------------------------------------------

  static loop::Reduction reduction_of(Combiner combiner) {
    switch (combiner) {
      case Combiner::kProduct:
        return loop::Reduction::kProduct;
      case Combiner::kMin:
        return loop::Reduction::kMin;
      case Combiner::kMax:
        return loop::Reduction::kMax;
      default:
        return loop::Reduction::kSum;
    }
  }

  /// The value that changes nothing.
  Register identity(Combiner combiner, DType dtype, std::vector<TileStmt>& out) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const int bits = static_cast<int>(8 * size_bytes(dtype));
    const bool is_signed = is_signed_integer(dtype);
    const int64_t lowest = is_signed ? std::numeric_limits<int64_t>::min() >> (64 - bits) : 0;
    const int64_t highest = dtype == DType::kBool ? 1
                            : is_signed           ? ~lowest
                            : bits == 64          ? -1
                                                  : (int64_t{1} << bits) - 1;
    switch (combiner) {
      case Combiner::kProduct:
        return constant(1, 1, dtype, out);
      case Combiner::kMin:
      case Combiner::kArgMin:
        return constant(kInfinity, highest, dtype, out);
      case Combiner::kMax:
      case Combiner::kArgMax:
        return constant(-kInfinity, lowest, dtype, out);
      default:
        return constant(0, 0, dtype, out);
    }
  }

  bool is_arg() const {
    return nest_.combiner == Combiner::kArgMax || nest_.combiner == Combiner::kArgMin;
  }

  void emit_reduction(std::vector<TileStmt>& out) {
    const NestOp& reduce = nest_.ops[nest_.reduce_op];
    const int body = reduce.args[0];
    const DType dtype = nest_.ops[body].dtype;
    hoist(body, out);
    std::vector<int> axes = tile_variables_;
    const bool lanes = schedule_.vector_axis >= 0 && nest_.axes[schedule_.vector_axis].reduction &&
                       lane_variable_ >= 0;
    if (lanes) axes.push_back(lane_variable_);
    Register init = identity(nest_.combiner, dtype, out);
    accumulator_ = builder_.new_register();
    out.push_back(loop::TileAccumulator{accumulator_, dtype, axes, init});
    if (is_arg()) {
      Register zero = constant(0, 0, DType::kI64, out);
      position_ = builder_.new_register();
      out.push_back(loop::TileAccumulator{position_, DType::kI64, axes, zero});
    }
    choose_sum_blocks(dtype);
    total_ = accumulator_;
    if (block_level_ >= 0) {
      total_ = builder_.new_register();
      zero_ = init;
      out.push_back(loop::TileAccumulator{total_, dtype, axes, init});
    }
    reduction_loops(0, out);
    Register result = is_arg() ? position_ : total_;
    if (lanes) {
      result =
          let(dtype, loop::TileReduce{reduction_of(nest_.combiner), total_, lane_variable_}, out);
    }
    registers_[nest_.reduce_op] = result;
  }

  /// Emits what the body needs but the reduction axes do not change.
  void hoist(int number, std::vector<TileStmt>& out) {
    const NestOp& op = nest_.ops[number];
    if (!varies_[number]) {
      emit(number, out);
      return;
    }
    for (int arg : op.args) hoist(arg, out);
  }

  int64_t reduction_step(int axis) const {
    return axis == schedule_.vector_axis ? schedule_.vector_tile : 1;
  }

  /// Long sums are taken in blocks: the rounding error then grows with the block's length plus the
  /// number of blocks instead of their product.
  void choose_sum_blocks(DType dtype) {
    constexpr int64_t kLongest = 512, kBlock = 256;
    block_level_ = -1;
    block_steps_ = 0;
    const std::vector<int>& order = schedule_.reduction_order;
    auto steps = [&](int axis) { return ceil_div(nest_.axes[axis].extent, reduction_step(axis)); };
    int64_t all = 1;
    for (int axis : order) all *= steps(axis);
    if (nest_.combiner != Combiner::kSum || !is_float(dtype) || all <= kLongest) return;
    int64_t inner = 1;
    size_t level = order.size();
    while (inner * steps(order[level - 1]) <= kLongest) inner *= steps(order[--level]);
    if (level < order.size() && inner >= kBlock / 4) {
      block_level_ = static_cast<int>(level);
      return;
    }
    block_level_ = static_cast<int>(level) - 1;
    const int64_t length = steps(order[level - 1]);
    block_steps_ = ceil_div(length, ceil_div(length, std::max<int64_t>(1, kBlock / inner)));
  }

  /// One block's sum, added to the total.
  void sum_block(std::vector<TileStmt>& out, const std::function<void()>& emit_loops) {
    out.push_back(loop::TileAssign{accumulator_, zero_});
    inside_block_ = true;
    emit_loops();
    inside_block_ = false;
    out.push_back(loop::TileUpdate{total_, loop::Reduction::kSum, accumulator_, -1});
  }

  void reduction_loops(size_t level, std::vector<TileStmt>& out) {
    const bool block = static_cast<int>(level) == block_level_ && !inside_block_;
    if (block && block_steps_ == 0) {
      sum_block(out, [&] { reduction_loops(level, out); });
      return;
    }
    if (level == schedule_.reduction_order.size()) {
      update(out);
      return;
    }
    const int axis = schedule_.reduction_order[level];
    const int64_t extent = nest_.axes[axis].extent;
    const bool lanes = axis == schedule_.vector_axis;
    const int64_t step = reduction_step(axis);
    const Expr lane = lanes && lane_variable_ >= 0 ? Expr::variable(lane_variable_) : Expr(0);
    const int64_t whole = extent / step * step;
    auto scoped = [&](const std::function<void()>& emit_body) {
      std::vector<Register> outside = registers_;
      auto bound = bound_;
      emit_body();
      registers_ = outside;
      bound_ = bound;
    };
    auto emit_loop = [&](const Expr& lo, const Expr& hi, std::vector<TileStmt>& into) {
      loop::TileLoop loop;
      loop.var = builder_.new_variable(nest_.axes[axis].name);
      loop.lo = lo;
      loop.hi = hi;
      loop.step = step;
      loop.unroll = level + 1 == schedule_.reduction_order.size() ? schedule_.reduction_unroll : 1;
      point_[axis] = Expr::variable(loop.var) + lane;
      scoped([&] { reduction_loops(level + 1, loop.body); });
      into.push_back(std::move(loop));
    };
    if (whole > 0 && block) {
      loop::TileLoop blocks;
      blocks.var = builder_.new_variable(nest_.axes[axis].name + "_block");
      blocks.lo = Expr(0);
      blocks.hi = Expr(whole);
      blocks.step = block_steps_ * step;
      Expr start = Expr::variable(blocks.var), end = start + Expr(blocks.step);
      if (whole % blocks.step != 0) end = min(end, Expr(whole));
      sum_block(blocks.body, [&] { emit_loop(start, end, blocks.body); });
      out.push_back(std::move(blocks));
    } else if (whole > 0) {
      emit_loop(Expr(0), Expr(whole), out);
    }
    if (whole == extent) return;
    // Lanes beyond the end load nothing and count as the identity.
    point_[axis] = Expr(whole) + lane;
    limit_ = loop::Guard{point_[axis], 0, extent};
    auto emit_rest = [&] { scoped([&] { reduction_loops(level + 1, out); }); };
    if (block) {
      sum_block(out, emit_rest);
    } else {
      emit_rest();
    }
    limit_.reset();
  }

  void update(std::vector<TileStmt>& out) {
    const NestOp& reduce = nest_.ops[nest_.reduce_op];
    const NestOp& body = nest_.ops[reduce.args[0]];
    const loop::Reduction reduction = reduction_of(nest_.combiner);
    if (is_arg()) {
      update_arg(out);
      return;
    }
    const bool product = nest_.combiner == Combiner::kSum && !limit_ && is_float(body.dtype) &&
                         body.kind == NestOp::Kind::kApply && body.op == ScalarOp::kMul;
    if (product) {
      Register a = emit(body.args[0], out), b = emit(body.args[1], out);
      out.push_back(loop::TileUpdate{accumulator_, reduction, a, b});
      return;
    }
    Register value = emit(reduce.args[0], out);
    if (limit_) {
      Register at = let(DType::kI64, loop::TileIndex{limit_->expr}, out);
      Register end = constant(0, limit_->hi, DType::kI64, out);
      Register inside = let(DType::kBool, loop::TileApply{ScalarOp::kLess, {at, end}}, out);
      Register neutral = identity(nest_.combiner, body.dtype, out);
      value = let(body.dtype, loop::TileApply{ScalarOp::kSelect, {inside, value, neutral}}, out);
    }
    out.push_back(loop::TileUpdate{accumulator_, reduction, value, -1});
  }

  void update_arg(std::vector<TileStmt>& out) {
    const NestOp& reduce = nest_.ops[nest_.reduce_op];
    Register value = emit(reduce.args[0], out);
    const bool largest = nest_.combiner == Combiner::kArgMax;
    Register low = largest ? accumulator_ : value, high = largest ? value : accumulator_;
    ScalarOp op = nest_.select_last ? ScalarOp::kLessEqual : ScalarOp::kLess;
    Register better = let(DType::kBool, loop::TileApply{op, {low, high}}, out);
    Register here = let(DType::kI64, loop::TileIndex{arg_position()}, out);
    Register position =
        let(DType::kI64, loop::TileApply{ScalarOp::kSelect, {better, here, position_}}, out);
    Register best = let(nest_.ops[reduce.args[0]].dtype,
                        loop::TileApply{ScalarOp::kSelect, {better, value, accumulator_}}, out);
    out.push_back(loop::TileAssign{position_, position});
    out.push_back(loop::TileAssign{accumulator_, best});
  }

  Expr arg_position() const {
    Expr position(0);
    for (size_t axis = 0; axis < nest_.axes.size(); ++axis) {
      if (nest_.axes[axis].reduction) {
        position = position * Expr(nest_.axes[axis].extent) + point_[axis];
      }
    }
    return position;
  }

  const Nest& nest_;
  const NestSchedule& schedule_;
  KernelBuilder& builder_;
  std::optional<Range> block_;
  std::vector<Expr> base_;       // of each axis: where the tile begins
  std::vector<int64_t> extent_;  // of each axis in the tile at hand
  std::vector<Expr> point_;      // of each axis within the tile
  std::vector<bool> varies_;
  std::vector<Register> registers_;  // of each operation, -1 before it is emitted
  std::map<std::pair<int, Register>, int> bound_;
  std::vector<int> tile_variables_;  // of the tile's parallel axes
  int lane_variable_ = -1;
  Register accumulator_ = -1, position_ = -1, total_ = -1, zero_ = -1;
  int block_level_ = -1;     // of the reduction loops: what runs inside is summed up on its own
  int64_t block_steps_ = 0;  // 0: all of that level
  bool inside_block_ = false;
  std::optional<loop::Guard> limit_;
};

}  // namespace

void lower_nest(const Nest& nest, const NestSchedule& schedule, KernelBuilder& builder) {
  builder.call().partitions = schedule.partitions;
  for (const Nest::Store& store : nest.stores) {
    if (builder.buffers().storage().roots[store.access.root].value < 0) continue;
    if (builder.buffers().storage().values[store.access.value].root != store.access.root) continue;
    for (Stmt& stmt : zero_margins(store.access.value, schedule.partitions, builder)) {
      builder.kernel().body.push_back(std::move(stmt));
    }
  }
  for (Stmt& stmt : NestLowering(nest, schedule, builder).run()) {
    builder.kernel().body.push_back(std::move(stmt));
  }
}

}  // namespace corf::lower
