#include "lower/tile_emitter.h"

#include <algorithm>
#include <cmath>

#include "fusion/byte_steps.h"
#include "lower/matrix_block.h"
#include "lower/pack.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::lower {

using fusion::Access;
using fusion::kGatherBase;
using fusion::Nest;
using fusion::NestOp;
using graph::ScalarOp;
using index::Expr;
using loop::Register;
using loop::TileStmt;

namespace {

void collect(const Expr& expr, std::vector<int>& ids) {
  if (expr.is_constant()) return;
  if (expr.kind() == index::ExprKind::kVariable) {
    ids.push_back(expr.variable_id());
    return;
  }
  collect(expr.lhs(), ids);
  collect(expr.rhs(), ids);
}

}  // namespace

TileEmitter::TileEmitter(const Nest& nest, const fusion::NestSchedule& schedule,
                         KernelBuilder& builder)
    : nest_(nest), schedule_(schedule), builder_(builder) {
  classify();
}

/// Which operations vary along the reduction axes.
void TileEmitter::classify() {
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
        for (const auto& guard : access.guards) varies_[i] = varies_[i] || expr_varies(guard.expr);
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

loop::Tile TileEmitter::emit_tile(const std::vector<Expr>& base,
                                  const std::vector<int64_t>& extent) {
  base_ = base;
  extent_ = extent;
  point_ = base;
  lane_variable_ = -1;
  tile_variables_.clear();
  tile_axis_.assign(nest_.axes.size(), -1);
  axes_.clear();
  auto add_axis = [&](int axis, int64_t size, bool vector) {
    if (size == 1) return;
    int variable = builder_.new_variable(nest_.axes[axis].name + "_t");
    axes_.push_back({variable, size, vector});
    point_[axis] = base_[axis] + Expr::variable(variable);
    tile_axis_[axis] = variable;
    if (!nest_.axes[axis].reduction) tile_variables_.push_back(variable);
    if (vector) lane_variable_ = variable;
  };
  for (const auto& tiled : schedule_.register_tile) {
    add_axis(tiled.axis, extent_[tiled.axis], false);
  }
  for (int axis : schedule_.unrolled_reductions) {
    base_[axis] = Expr(0);
    const bool at_once = axis == fusion::byte_axis(schedule_);
    const int64_t extent = nest_.axes[axis].extent;
    add_axis(axis, at_once ? round_up(extent, schedule_.byte_steps) : extent, false);
  }
  const int v = schedule_.vector_axis;
  if (v >= 0) {
    if (nest_.axes[v].reduction) base_[v] = Expr(0);
    const int64_t lanes = takes_steps() ? extent_[v] * part_->lane_steps : extent_[v];
    add_axis(v, nest_.axes[v].reduction ? schedule_.vector_tile : lanes, true);
  }
  if (part_ && part_->lane_steps > 1 && part_->last) {
    step_variable_ = builder_.new_variable("step_t");
    axes_.push_back({step_variable_, part_->lane_steps, false});
  }
  registers_.assign(nest_.ops.size(), -1);
  bound_.clear();
  loop::Tile result;
  if (nest_.reduce_op >= 0) emit_reduction(result.body);
  result.axes = axes_;
  if (part_ && !part_->last) {
    loop::TileStore partial;
    partial.buffer = part_->buffer;
    partial.offset = part_offset(result.body);
    partial.value = registers_[nest_.reduce_op];
    result.body.push_back(std::move(partial));
    return result;
  }
  for (const Nest::Store& store : nest_.stores) {
    Register value = emit(store.op, result.body);
    if (const KernelBuilder::Lines* lines = builder_.lines_of(store.access.root)) {
      store_lines(store.access, *lines, value, result.body);
      continue;
    }
    loop::TileStore out;
    const KernelBuilder::Place place = builder_.place(store.access.root, true);
    out.buffer = place.buffer;
    out.offset =
        at_point(fusion::lies_at(store.access, builder_.storage()), result.body) - place.shift;
    out.guards = guards_of(store.access, result.body);
    out.value = value;
    result.body.push_back(std::move(out));
  }
  return result;
}

/// Into a ring that lies in lines of parts.
void TileEmitter::store_lines(const Access& access, const KernelBuilder::Lines& lines,
                              Register value, std::vector<TileStmt>& out) {
  const Expr shift = builder_.place(access.root, true).shift;
  index::Linear line = index::to_linear(access.address), channel;
  for (auto it = line.coefficients.begin(); it != line.coefficients.end();) {
    if (it->second % lines.pitch == 0) {
      it->second /= lines.pitch;
      ++it;
    } else {
      channel.coefficients.insert(*it);
      it = line.coefficients.erase(it);
    }
  }
  channel.constant = line.constant % lines.pitch;
  line.constant /= lines.pitch;
  const Expr first = floor_div(shift, Expr(lines.pitch));
  // The lanes lie within a block of channels, or one block follows the other.
  const Expr at_channel = at_point(index::to_expr(channel), out);
  const int v = schedule_.vector_axis;
  const bool along_line = v >= 0 && lane_variable_ >= 0 && channel.coefficient(v) != 0;
  const Expr lane = along_line ? Expr::variable(lane_variable_) : Expr(0);
  const Expr begin = at_channel - lane, block(fusion::kMatrixChannels);
  const Expr in_line =
      lines.block_step == fusion::kMatrixChannels
          ? at_channel
          : floor_div(begin, block) * Expr(lines.block_step) + mod(begin, block) + lane;
  const Expr offset =
      (at_point(index::to_expr(line), out) - first) * Expr(lines.line_step) + in_line;
  store_parts(value, lines.buffer, offset, lines.part_step, builder_, out);
}

Register TileEmitter::let(DType dtype, decltype(loop::TileLet::value) value,
                          std::vector<TileStmt>& out) {
  Register result = builder_.new_register();
  out.push_back(loop::TileLet{result, dtype, std::move(value)});
  return result;
}

Register TileEmitter::constant(double f64, int64_t i64, DType dtype, std::vector<TileStmt>& out) {
  return let(dtype, loop::TileConstant{f64, i64}, out);
}

/// An expression over the nest's axes at the tile's current point.
Expr TileEmitter::at_point(const Expr& expr, std::vector<TileStmt>& out) {
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

/// Where the sum at the tile's current point lies among those of parts.
Expr TileEmitter::part_offset(std::vector<TileStmt>& out) {
  const Expr steps(part_->lane_steps);
  if (takes_steps()) {
    std::vector<Expr> point = point_;
    std::swap(point, point_);
    point_[schedule_.vector_axis] = base_[schedule_.vector_axis];
    const Expr first = at_point(part_->address, out) - part_->shift;
    std::swap(point, point_);
    return first * steps + Expr::variable(lane_variable_);
  }
  const Expr sum = at_point(part_->address, out) - part_->shift;
  return part_->lane_steps > 1 ? sum * steps + Expr::variable(step_variable_) : sum;
}

std::vector<loop::Guard> TileEmitter::guards_of(const Access& access, std::vector<TileStmt>& out) {
  std::vector<loop::Guard> guards;
  for (const auto& guard : access.guards) {
    guards.push_back({at_point(guard.expr, out), guard.lo, guard.hi});
  }
  return guards;
}

Register TileEmitter::emit(int number, std::vector<TileStmt>& out) {
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

/// Whether all points of the axis are points of the tile.
bool TileEmitter::lies_inside(int axis) const {
  const auto& unrolled = schedule_.unrolled_reductions;
  if (std::count(unrolled.begin(), unrolled.end(), axis) > 0) return true;
  return axis != schedule_.vector_axis && !nest_.axes[axis].reduction &&
         extent_[axis] == nest_.axes[axis].extent;
}

/// The load's values where they are constants over axes that lie inside of the tile.
std::optional<loop::TileTable> TileEmitter::table_of(const NestOp& op) const {
  if (op.kind != NestOp::Kind::kLoad) return std::nullopt;
  const fusion::StorageView& storage = builder_.storage();
  if (!fusion::is_table(nest_, storage, op.access, schedule_.vector_axis)) return std::nullopt;
  const Access& access = nest_.loads[op.access];
  std::map<int, int> axes;  // variable in the tile, in its order: axis
  for (int axis = 0; axis < static_cast<int>(nest_.axes.size()); ++axis) {
    if (nest_.axes[axis].extent == 1 || !index::depends_on(access.address, axis)) continue;
    if (!lies_inside(axis)) return std::nullopt;
    axes[tile_axis_[axis]] = axis;
  }
  if (axes.empty()) return std::nullopt;
  loop::TileTable table;
  int64_t size = 1;
  for (auto [variable, axis] : axes) {
    table.axes.push_back(variable);
    size *= nest_.axes[axis].extent;
  }
  const Tensor& constant = builder_.buffers().constant(access.root);
  std::vector<int64_t> point(nest_.axes.size(), 0);
  for (int64_t number = 0; number < size; ++number) {
    int64_t rest = number;
    for (auto digit = axes.rbegin(); digit != axes.rend(); ++digit) {
      const int64_t extent = nest_.axes[digit->second].extent;
      point[digit->second] = rest % extent;
      rest /= extent;
    }
    table.values.push_back(constant.at_f64(index::evaluate(access.address, point)));
  }
  for (double entry : table.values) {
    if (!std::isfinite(entry)) return std::nullopt;
  }
  return table;
}

Register TileEmitter::emit_load(const NestOp& op, std::vector<TileStmt>& out) {
  const Access& access = nest_.loads[op.access];
  if (auto table = table_of(op)) return let(op.dtype, std::move(*table), out);
  loop::TileLoad load;
  if (fusion::is_packed(nest_, builder_.storage(), op.access, schedule_.vector_axis)) {
    PackedOperand packed(nest_, schedule_, op.access, builder_.buffers());
    load.buffer = builder_.bind(packed.buffer(), false);
    const int v = schedule_.vector_axis;
    std::vector<Expr> point = point_;
    if (takes_steps()) point[schedule_.reduction_order.back()] = first_beside_;
    const int64_t lanes = nest_.axes[v].reduction ? schedule_.vector_tile : extent_[v];
    load.offset = packed.address(point, base_[v], lanes);
  } else {
    const KernelBuilder::Place place = builder_.place(access.root, false);
    load.buffer = place.buffer;
    load.offset = at_point(fusion::lies_at(access, builder_.storage()), out) - place.shift;
    load.guards = guards_of(access, out);
    load.padding = access.padding;
    if (limit_) load.guards.push_back(*limit_);
    // Beyond the last of the steps that are taken at once the packed factor is zero.
    const int at_once = fusion::byte_axis(schedule_);
    if (at_once >= 0 && nest_.axes[at_once].extent % schedule_.byte_steps != 0 &&
        fusion::depends_with_guards(access, at_once)) {
      load.guards.push_back({point_[at_once], 0, nest_.axes[at_once].extent});
    }
  }
  return let(op.dtype, std::move(load), out);
}

}  // namespace corf::lower
