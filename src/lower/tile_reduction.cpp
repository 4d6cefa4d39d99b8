#include <algorithm>
#include <cmath>
#include <set>

#include "fusion/byte_steps.h"
#include "fusion/steps_inside.h"
#include "graph/identity_of.h"
#include "lower/pack.h"
#include "lower/tile_emitter.h"
#include "support/checked.h"

namespace corf::lower {

using fusion::Access;
using fusion::NestOp;
using graph::Combiner;
using graph::ScalarOp;
using index::Expr;
using loop::Register;
using loop::TileStmt;

namespace {

ScalarOp operation_of(Combiner combiner) {
  switch (combiner) {
    case Combiner::kProduct:
      return ScalarOp::kMul;
    case Combiner::kMin:
      return ScalarOp::kMin;
    case Combiner::kMax:
      return ScalarOp::kMax;
    default:
      return ScalarOp::kAdd;
  }
}

loop::Reduction reduction_of(Combiner combiner) {
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

/// Whether all elements are; only then does it not matter in which order products are taken.
bool is_finite(const Tensor& floats) {
  for (int64_t i = 0; i < floats.num_elems(); ++i) {
    if (!std::isfinite(floats.at_f64(i))) return false;
  }
  return true;
}

}  // namespace

Register TileEmitter::identity(Combiner combiner, DType dtype, std::vector<TileStmt>& out) {
  const graph::ScalarNode value = graph::identity_of(combiner, dtype);
  return constant(value.f64, value.i64, dtype, out);
}

bool TileEmitter::is_arg() const {
  return nest_.combiner == Combiner::kArgMax || nest_.combiner == Combiner::kArgMin;
}

void TileEmitter::emit_reduction(std::vector<TileStmt>& out) {
  if (emit_scaled_sum(out)) return;
  const NestOp& reduce = nest_.ops[nest_.reduce_op];
  const int body = reduce.args[0];
  const DType dtype = nest_.ops[body].dtype;
  if (!part_ || part_->steps > 0) hoist(body, out);
  std::vector<int> axes = tile_variables_;
  const bool lanes = schedule_.vector_axis >= 0 && nest_.axes[schedule_.vector_axis].reduction &&
                     lane_variable_ >= 0;
  if (lanes) axes.push_back(lane_variable_);
  const Register neutral = identity(nest_.combiner, dtype, out);
  Register before = -1;  // what the parts before have left
  if (part_ && !part_->first) {
    loop::TileLoad partial;
    partial.buffer = part_->buffer;
    partial.offset = part_offset(out);
    before = let(dtype, std::move(partial), out);
    if (part_->lane_steps > 1) {
      const loop::TileReduce steps{reduction_of(nest_.combiner), before, step_variable_};
      before = let(dtype, steps, out);
    }
  }
  if (part_ && part_->steps == 0) {
    registers_[nest_.reduce_op] = before;
    return;
  }
  // A sum may as well begin with what is added to it.
  const int addition = part_ || lanes || !nest_.contraction ? -1 : nest_.contraction->addition;
  Register init = before >= 0 && !lanes ? before : neutral;
  if (addition >= 0) {
    const std::vector<int>& args = nest_.ops[addition].args;
    init = emit(args[args[0] == nest_.reduce_op ? 1 : 0], out);
  }
  accumulator_ = builder_.new_register();
  out.push_back(loop::TileAccumulator{accumulator_, dtype, axes, init});
  if (is_arg()) {
    Register zero = constant(0, 0, DType::kI64, out);
    position_ = builder_.new_register();
    out.push_back(loop::TileAccumulator{position_, DType::kI64, axes, zero});
  }
  reduction_loops(0, out);
  Register result = is_arg() ? position_ : accumulator_;
  if (lanes) {
    result = let(dtype,
                 loop::TileReduce{reduction_of(nest_.combiner), accumulator_, lane_variable_}, out);
    if (before >= 0) {
      const ScalarOp combine = operation_of(nest_.combiner);
      result = let(dtype, loop::TileApply{combine, {before, result}}, out);
    }
  }
  registers_[addition >= 0 ? addition : nest_.reduce_op] = result;
}

/// A sum whose terms are scaled by constants, one axis after the other: what one table's axis
/// leaves is what the next one scales. The code holds a table of which the tile spans all, else its
/// coefficients are loaded. False if the reduction is no such sum, or a tile does not take it
/// whole.
bool TileEmitter::emit_scaled_sum(std::vector<TileStmt>& out) {
  if (!schedule_.reduction_order.empty()) return false;
  const auto sum = fusion::scaled_sum(nest_, builder_.storage(), schedule_.vector_axis);
  if (!sum) return false;
  for (const auto& table : sum->tables) {
    const Access& access = nest_.loads[nest_.ops[table.op].access];
    if (!lies_inside(table.reduction_axis)) return false;
    if (!is_finite(builder_.buffers().constant(access.root))) return false;
  }
  std::set<int> spanned;  // axes along which the value at hand varies
  const Access& scaled = nest_.loads[nest_.ops[sum->op].access];
  for (int axis = 0; axis < static_cast<int>(nest_.axes.size()); ++axis) {
    if (index::depends_on(scaled.address, axis)) spanned.insert(axis);
  }
  const DType dtype = nest_.ops[nest_.reduce_op].dtype;
  // To -0.0 the first term can be added without an addition.
  const Register init = constant(-0.0, 0, dtype, out);
  Register value = emit(sum->op, out);
  for (const auto& table : sum->tables) {
    spanned.erase(table.reduction_axis);
    spanned.insert(table.parallel_axis);
    std::vector<int> variables;
    for (int axis : spanned) {
      if (tile_axis_[axis] >= 0) variables.push_back(tile_axis_[axis]);
    }
    const Register coefficients = emit(table.op, out);
    const Register partial = builder_.new_register();
    out.push_back(loop::TileAccumulator{partial, dtype, std::move(variables), init});
    out.push_back(loop::TileUpdate{
        partial, loop::Reduction::kSum, value, coefficients, {tile_axis_[table.reduction_axis]}});
    value = partial;
  }
  registers_[nest_.reduce_op] = value;
  return true;
}

/// Emits what the body needs but the reduction axes do not change.
void TileEmitter::hoist(int number, std::vector<TileStmt>& out) {
  const NestOp& op = nest_.ops[number];
  if (!varies_[number]) {
    emit(number, out);
    return;
  }
  for (int arg : op.args) hoist(arg, out);
}

int64_t TileEmitter::reduction_extent(int axis) const {
  return part_ && axis == part_->axis ? part_->steps : nest_.axes[axis].extent;
}

int64_t TileEmitter::reduction_step(int axis) const {
  if (is_beside(axis)) return part_->lane_steps;
  return axis == schedule_.vector_axis ? schedule_.vector_tile : 1;
}

std::pair<Expr, Expr> TileEmitter::steps_inside(int axis) const {
  Expr first(0), end(nest_.axes[axis].extent);
  if (part_ || !nest_.contraction || axis == schedule_.vector_axis) return {first, end};
  // What several steps are taken of at once stays whole.
  if (axis == fusion::byte_axis(schedule_)) return {first, end};
  for (int factor : nest_.contraction->factors) {
    for (const Access::Guard& inside : nest_.loads[factor].zeros) {
      const auto span = fusion::steps_inside(nest_, inside, axis, extent_);
      if (!span || span->share > fusion::kMostStepsInside) continue;
      // inside.expr = step * axis + rest, with rest in [least, least + span->tile] over the tile.
      Expr least(0);
      const index::Linear linear = index::to_linear(inside.expr);
      for (const auto& [other, coefficient] : linear.coefficients) {
        if (other != axis) least = least + base_[other] * Expr(coefficient);
      }
      least = least + Expr(linear.constant);
      const Expr greatest = least + Expr(span->tile);
      first = max(first, index::ceil_div(Expr(0) - greatest, span->step));
      end = min(end, index::floor_div(Expr(inside.hi - 1) - least, Expr(span->step)) + Expr(1));
    }
  }
  return {first, end};
}

void TileEmitter::reduction_loops(size_t level, std::vector<TileStmt>& out) {
  if (level == schedule_.reduction_order.size()) {
    update(out);
    return;
  }
  const int axis = schedule_.reduction_order[level];
  const int64_t extent = reduction_extent(axis);
  const bool lanes = axis == schedule_.vector_axis;
  const bool in_part = part_ && axis == part_->axis;
  const Expr origin = in_part ? part_->range.begin : Expr(0);
  const int64_t step = reduction_step(axis);
  Expr lane = lanes && lane_variable_ >= 0 ? Expr::variable(lane_variable_) : Expr(0);
  if (is_beside(axis)) lane = mod(Expr::variable(lane_variable_), Expr(step));
  const int64_t whole = extent / step * step;
  const Expr end = in_part && !part_->equal ? part_->range.end - origin : Expr(whole);
  auto scoped = [&](const std::function<void()>& emit_body) {
    std::vector<Register> outside = registers_;
    auto bound = bound_;
    emit_body();
    registers_ = outside;
    bound_ = bound;
  };
  auto emit_loop = [&](const Expr& lo, const Expr& hi) {
    loop::TileLoop loop;
    loop.var = builder_.new_variable(nest_.axes[axis].name);
    loop.lo = lo;
    loop.hi = hi;
    loop.step = step;
    const bool innermost = level + 1 == schedule_.reduction_order.size();
    // Copies of a loop whose length is not known need a second loop, and its registers.
    const bool known = lo.is_constant() && hi.is_constant();
    loop.unroll = innermost && known ? schedule_.reduction_unroll : 1;
    const Expr first = origin + Expr::variable(loop.var);
    if (is_beside(axis)) first_beside_ = first;
    if (lanes) base_[axis] = first;
    point_[axis] = first + lane;
    scoped([&] { reduction_loops(level + 1, loop.body); });
    out.push_back(std::move(loop));
  };
  if (whole == extent && step == 1) {
    const auto [first, last] = in_part ? std::pair(Expr(0), end) : steps_inside(axis);
    emit_loop(first, last);
  } else if (whole > 0) {
    emit_loop(Expr(0), end);
  }
  if (whole == extent) return;
  // Lanes beyond the end load nothing and count as the identity.
  point_[axis] = Expr(whole) + lane;
  if (lanes) base_[axis] = Expr(whole);
  limit_ = loop::Guard{point_[axis], 0, extent};
  scoped([&] { reduction_loops(level + 1, out); });
  limit_.reset();
}

/// The tile's axes over which it sums up, in the tile's order; lanes are added up at the end.
std::vector<int> TileEmitter::summed_variables() const {
  std::vector<int> summed;
  for (int axis : schedule_.unrolled_reductions) {
    if (tile_axis_[axis] >= 0) summed.push_back(tile_axis_[axis]);
  }
  return summed;
}

void TileEmitter::update(std::vector<TileStmt>& out) {
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
    if (schedule_.prefetch != fusion::Prefetch::kNone) prefetch(out);
    Register a = emit(body.args[0], out), b = emit(body.args[1], out);
    out.push_back(loop::TileUpdate{accumulator_, reduction, a, b, summed_variables()});
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
  out.push_back(loop::TileUpdate{accumulator_, reduction, value, -1, summed_variables()});
}

/// Asks for the packed vectors of a later step: each tile for its share of the next panel, spread
/// evenly over its steps.
void TileEmitter::prefetch(std::vector<TileStmt>& out) {
  constexpr int64_t kLineElems = 16, kAheadElems = 4096;
  const int v = schedule_.vector_axis;
  // Of the tile's points the first stands for all, of its unrolled steps the first for the run.
  std::vector<Expr> point = point_;
  for (size_t axis = 0; axis < point.size(); ++axis) {
    if (tile_axis_[axis] >= 0) point[axis] = base_[axis];
  }
  for (const int load : nest_.contraction->factors) {
    if (!fusion::is_packed(nest_, builder_.storage(), load, v)) continue;
    PackedOperand packed(nest_, schedule_, load, builder_.buffers());
    if (packed.num_steps() == 1) continue;
    const int64_t lanes = extent_[v];
    int64_t elems = lanes;  // a step
    Expr begin = packed.panel(point, base_[v]), step = packed.step(point) * Expr(lanes);
    int64_t share = 0;  // of the panel that the tile asks for
    if (schedule_.prefetch == fusion::Prefetch::kAhead) {
      begin = begin + Expr(kAheadElems);
    } else {
      elems = ceil_div(lanes * progress_.tile_points, progress_.all_points);
      // So that a few steps make whole lines.
      elems = elems <= 4 ? 4 : elems <= 8 ? 8 : round_up(elems, kLineElems);
      share = elems * packed.num_steps();
      // Behind the last panel of a point of the loops around lies the first of the next point.
      const bool goes_on = progress_.takes_all && packed.has_batches();
      const Expr next = goes_on ? base_[v] + Expr(lanes) : progress_.next_base;
      begin = packed.panel(point, next) +
              progress_.points_done * Expr(lanes * packed.num_steps() / progress_.all_points);
      step = packed.step(point) * Expr(elems);
    }
    elems *= packed.unrolled_steps();
    const int64_t lines = ceil_div(elems, kLineElems);
    // Memory answers faster to two streams: the halves of a share are asked for side by side.
    const bool halves = share > 0 && lines % 2 == 0;
    if (halves) step = floor_div(step, Expr(2));
    for (int64_t line = 0; line < lines; ++line) {
      const bool second = halves && line >= lines / 2;
      const int64_t at = second ? share / 2 + (line - lines / 2) * kLineElems : line * kLineElems;
      out.push_back(
          loop::TilePrefetch{builder_.bind(packed.buffer(), false), begin + step + Expr(at)});
    }
  }
}

void TileEmitter::update_arg(std::vector<TileStmt>& out) {
  const NestOp& reduce = nest_.ops[nest_.reduce_op];
  Register value = emit(reduce.args[0], out);
  const bool largest = nest_.combiner == Combiner::kArgMax;
  Register low = largest ? accumulator_ : value, high = largest ? value : accumulator_;
  const auto test = [&](ScalarOp op, Register a, Register b) {
    return let(DType::kBool, loop::TileApply{op, {a, b}}, out);
  };
  ScalarOp op = nest_.select_last ? ScalarOp::kLessEqual : ScalarOp::kLess;
  Register better = test(op, low, high);
  if (is_float(nest_.ops[reduce.args[0]].dtype)) {
    // NaN counts as the largest and as the smallest: no number is better than one.
    Register is_number = test(ScalarOp::kEqual, value, value);
    Register is_nan = let(DType::kBool, loop::TileApply{ScalarOp::kNot, {is_number}}, out);
    if (!nest_.select_last) {
      Register was_number = test(ScalarOp::kEqual, accumulator_, accumulator_);
      is_nan = test(ScalarOp::kAnd, is_nan, was_number);
    }
    better = test(ScalarOp::kOr, better, is_nan);
  }
  Register here = let(DType::kI64, loop::TileIndex{arg_position()}, out);
  Register position =
      let(DType::kI64, loop::TileApply{ScalarOp::kSelect, {better, here, position_}}, out);
  Register best = let(nest_.ops[reduce.args[0]].dtype,
                      loop::TileApply{ScalarOp::kSelect, {better, value, accumulator_}}, out);
  out.push_back(loop::TileAssign{position_, position});
  out.push_back(loop::TileAssign{accumulator_, best});
}

Expr TileEmitter::arg_position() const {
  Expr position(0);
  for (size_t axis = 0; axis < nest_.axes.size(); ++axis) {
    if (nest_.axes[axis].reduction) {
      position = position * Expr(nest_.axes[axis].extent) + point_[axis];
    }
  }
  return position;
}

}  // namespace corf::lower
