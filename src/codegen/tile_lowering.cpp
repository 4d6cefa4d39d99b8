#include "codegen/tile_lowering.h"

#include <algorithm>
#include <bit>
#include <llvm/IR/Constants.h>
#include <llvm/IR/InlineAsm.h>

#include "codegen/tile_uses.h"
#include "codegen/value_types.h"
#include "support/assert.h"

namespace corf::codegen {

using llvm::Value;
using loop::AxisSet;
using loop::Register;

TileLowering::TileLowering(FunctionState& function, const loop::Tile& tile, bool assume_guards)
    : f_(function),
      builder_(function.builder),
      tile_(tile),
      info_(loop::tile_info(tile)),
      ops_(function.builder, function.isa, function.routines()),
      assume_guards_(assume_guards),
      registers_(info_.registers.size()) {
  for (const loop::TileAxis& axis : tile.axes) {
    f_.index.set_range(axis.var, {0, axis.extent - 1});
  }
  if (info_.vector_axis >= 0) {
    vector_bit_ = AxisSet{1} << info_.vector_axis;
    vector_var_ = info_.axis_variables[static_cast<size_t>(info_.vector_axis)];
    split_vector_axis();
  }
}

/// Full registers, then a masked one for what remains, or narrower ones where masks are slow.
/// Behind full ones the masked one is as wide: of an operand that both multiply, a narrower one
/// would take a part, in a register of its own, and sums would be spilled for it. A half beside a
/// single full one stays a half, which has been measured to be 2 % faster.
void TileLowering::split_vector_axis() {
  int64_t elem_bytes = 8;
  for (int buffer : used_buffers(tile_.body)) {
    elem_bytes = std::min(elem_bytes, size_bytes(f_.kernel.buffer_dtype(buffer)));
  }
  const bool masks = f_.isa.has_masks(elem_bytes);
  const int64_t full = f_.isa.f32_lanes();
  int64_t start = 0;
  int64_t rest = info_.extents[static_cast<size_t>(info_.vector_axis)];
  while (rest > 0) {
    int64_t lanes = full;
    if (rest < full) {
      const auto wanted = static_cast<uint64_t>(rest);
      if (!masks) {
        lanes = static_cast<int64_t>(std::bit_floor(wanted));
      } else if (start == 0 || (start == full && 2 * rest == full)) {
        lanes = static_cast<int64_t>(std::bit_ceil(wanted));
      }
    }
    const int64_t active = std::min(lanes, rest);
    pieces_.push_back({start, static_cast<int>(lanes), static_cast<int>(active)});
    start += active;
    rest -= active;
  }
}

void TileLowering::lower() {
  for (const loop::TileAxis& axis : tile_.axes) {
    if (axis.extent <= 0) return;
  }
  shared_.emplace_back();
  execute(tile_.body);
  shared_.pop_back();
}

void TileLowering::execute(const std::vector<loop::TileStmt>& body) {
  for (const loop::TileStmt& stmt : body) {
    std::visit([this](const auto& s) { execute(s); }, stmt);
  }
}

void TileLowering::execute(const loop::TileLet& let) {
  RegisterState state;
  const AxisSet axes = info_.register_axes(let.reg);
  state.dtype = let.dtype;
  state.axes = unrolled(axes);
  state.along_vector = (axes & vector_bit_) != 0;
  state.let = &let;
  state.values = std::make_shared<Values>(static_cast<size_t>(info_.num_points(state.axes)) *
                                          static_cast<size_t>(num_pieces(state)));
  auto take_snapshot = [&](Register arg) {
    const RegisterState& source = registers_[static_cast<size_t>(arg)];
    state.snapshots.push_back(source.let ? nullptr : source.values);
  };
  if (const auto* apply = std::get_if<loop::TileApply>(&let.value)) {
    for (Register arg : apply->args) take_snapshot(arg);
  } else if (const auto* reduce = std::get_if<loop::TileReduce>(&let.value)) {
    take_snapshot(reduce->arg);
  } else if (const auto* load = std::get_if<loop::TileLoad>(&let.value)) {
    state.offset = make_offset(load->offset);
    waiting_loads_.push_back(let.reg);
  }
  registers_[static_cast<size_t>(let.reg)] = std::move(state);
}

void TileLowering::execute(const loop::TileAccumulator& declaration) {
  RegisterState state;
  const AxisSet axes = info_.register_axes(declaration.reg);
  state.dtype = declaration.dtype;
  state.axes = unrolled(axes);
  state.along_vector = (axes & vector_bit_) != 0;
  state.values = std::make_shared<Values>();
  for (const Point& point : points(state.axes)) {
    for (int piece = 0; piece < num_pieces(state); ++piece) {
      const int wanted = state.along_vector ? piece : -1;
      state.values->push_back(spread(value(declaration.init, point, wanted), wanted));
    }
  }
  registers_[static_cast<size_t>(declaration.reg)] = std::move(state);
}

void TileLowering::execute(const loop::TileAssign& assign) {
  RegisterState& acc = registers_[static_cast<size_t>(assign.acc)];
  auto values = std::make_shared<Values>();
  for (const Point& point : points(acc.axes)) {
    for (int piece = 0; piece < num_pieces(acc); ++piece) {
      const int wanted = acc.along_vector ? piece : -1;
      values->push_back(spread(value(assign.value, point, wanted), wanted));
    }
  }
  acc.values = std::move(values);
}

void TileLowering::execute(const loop::TilePrefetch& prefetch) {
  constexpr int64_t kCacheLineBytes = 64;
  const DType dtype = f_.kernel.buffer_dtype(prefetch.buffer);
  const Address address =
      f_.index.address(f_.buffer(prefetch.buffer), memory_type(f_.context(), dtype),
                       index::to_linear(prefetch.offset));
  // The copies of an unrolled loop, which follow one another in one block, may mean the same line.
  const auto [known, is_first] =
      prefetched_.try_emplace({&prefetch, builder_.GetInsertBlock()}, address.constant);
  if (!is_first) {
    const int64_t distance_bytes = (address.constant - known->second) * size_bytes(dtype);
    if (distance_bytes >= 0 && distance_bytes < kCacheLineBytes) return;
    known->second = address.constant;
  }
  constexpr int kRead = 0, kSecondLevel = 2, kData = 1;
  Value* from = pointer(prefetch.buffer, address);
  builder_.CreateIntrinsic(
      llvm::Intrinsic::prefetch, {from->getType()},
      {from, builder_.getInt32(kRead), builder_.getInt32(kSecondLevel), builder_.getInt32(kData)});
}

void TileLowering::execute(const loop::TileBind& bind) {
  const RegisterState& source = registers_[static_cast<size_t>(bind.reg)];
  bound_[bind.var] = {bind.reg, source.let ? nullptr : source.values};
}

void TileLowering::execute(const loop::TileLoop& loop) {
  const TileUses uses = collect_uses(loop.body);
  for (Register reg : uses.registers) force(reg);
  for (int var : uses.variables) {
    if (bound_.count(var)) force(bound_[var].reg);
  }
  for (int buffer : uses.stored_buffers) {
    force_loads_of(buffer);
    forget_loads_of(buffer);
  }
  // Accumulators of an outer level that the body changes.
  std::vector<Register> changed;
  Values carried;
  for (Register reg : uses.changed_accumulators) {
    const RegisterState& state = registers_[static_cast<size_t>(reg)];
    changed.push_back(reg);
    carried.insert(carried.end(), state.values->begin(), state.values->end());
  }
  auto set_accumulators = [&](const Values& values) {
    auto next = values.begin();
    for (Register reg : changed) {
      RegisterState& state = registers_[static_cast<size_t>(reg)];
      const auto count = static_cast<std::ptrdiff_t>(state.values->size());
      state.values = std::make_shared<Values>(next, next + count);
      next += count;
    }
  };
  const size_t num_waiting = waiting_loads_.size();
  const Values results =
      f_.emit_loop(loop.var, loop.lo, loop.hi, loop.step, std::max(loop.unroll, 1),
                   std::move(carried), [&](Values values) {
                     // Its own level for each copy: what unrolling leaves over is another loop.
                     shared_.emplace_back();
                     set_accumulators(values);
                     execute(loop.body);
                     shared_.pop_back();
                     Values after;
                     for (Register reg : changed) {
                       const RegisterState& state = registers_[static_cast<size_t>(reg)];
                       after.insert(after.end(), state.values->begin(), state.values->end());
                     }
                     waiting_loads_.resize(num_waiting);
                     return after;
                   });
  set_accumulators(results);
}

// ---- registers ---------------------------------------------------------------------------------

std::vector<TileLowering::Point> TileLowering::points(AxisSet axes) const {
  std::vector<Point> result{Point(info_.extents.size(), 0)};
  for (size_t axis = 0; axis < info_.extents.size(); ++axis) {
    if (!(axes >> axis & 1)) continue;
    std::vector<Point> next;
    for (const Point& point : result) {
      for (int64_t i = 0; i < info_.extents[axis]; ++i) {
        next.push_back(point);
        next.back()[axis] = i;
      }
    }
    result = std::move(next);
  }
  return result;
}

int64_t TileLowering::slot(const RegisterState& state, const Point& point, int piece) const {
  int64_t number = 0;
  for (size_t axis = 0; axis < info_.extents.size(); ++axis) {
    if (state.axes >> axis & 1) number = number * info_.extents[axis] + point[axis];
  }
  return state.along_vector ? number * static_cast<int64_t>(pieces_.size()) + piece : number;
}

void TileLowering::force(Register reg) {
  const RegisterState& state = registers_[static_cast<size_t>(reg)];
  if (!state.let) return;
  for (const Point& point : points(state.axes)) {
    for (int piece = 0; piece < num_pieces(state); ++piece) value(reg, point, piece);
  }
}

void TileLowering::force_loads_of(int buffer) {
  for (Register reg : waiting_loads_) {
    const auto& load = std::get<loop::TileLoad>(registers_[static_cast<size_t>(reg)].let->value);
    if (load.buffer == buffer) force(reg);
  }
}

Value* TileLowering::value(Register reg, const Point& point, int piece) {
  RegisterState& state = registers_[static_cast<size_t>(reg)];
  const auto number = static_cast<size_t>(slot(state, point, piece));
  if (!(*state.values)[number]) {
    // Computing may force other registers but never replaces this one's state.
    Value* computed = compute(state, point, state.along_vector ? piece : -1);
    (*state.values)[number] = computed;
  }
  return (*state.values)[number];
}

Value* TileLowering::read(Register reg, const SharedValues& snapshot, const Point& point,
                          int piece) {
  if (!snapshot) return value(reg, point, piece);
  return (*snapshot)[static_cast<size_t>(slot(registers_[static_cast<size_t>(reg)], point, piece))];
}

Value* TileLowering::spread(Value* value, int piece) {
  if (piece < 0 || value->getType()->isVectorTy()) return value;
  const int lanes = pieces_[static_cast<size_t>(piece)].lanes;
  if (auto* constant = llvm::dyn_cast<llvm::Constant>(value)) {
    return llvm::ConstantVector::getSplat(
        llvm::ElementCount::getFixed(static_cast<unsigned>(lanes)), constant);
  }
  const SharedKey key{.buffer = SharedKey::kSplat, .base = value, .lanes = lanes};
  if (Value* known = shared(key)) return known;
  Value* vector = builder_.CreateVectorSplat(static_cast<unsigned>(lanes), value);
  shared_.back()[key] = vector;
  return vector;
}

Value* TileLowering::lane(Value* value, int lane) {
  if (!value->getType()->isVectorTy()) return value;
  return builder_.CreateExtractElement(value, static_cast<uint64_t>(lane));
}

Value* TileLowering::compute(const RegisterState& state, const Point& point, int piece) {
  const loop::TileLet& let = *state.let;
  if (const auto* constant = std::get_if<loop::TileConstant>(&let.value)) {
    return ops_.constant(let.dtype, constant->f64, constant->i64);
  }
  if (const auto* table = std::get_if<loop::TileTable>(&let.value)) {
    return ops_.constant(let.dtype, table->values[static_cast<size_t>(slot(state, point, 0))], 0);
  }
  if (const auto* load = std::get_if<loop::TileLoad>(&let.value)) {
    return compute_load(registers_[static_cast<size_t>(let.reg)], *load, point, piece);
  }
  if (std::holds_alternative<loop::TileIndex>(let.value)) {
    return compute_index(state, point, piece);
  }
  if (const auto* reduce = std::get_if<loop::TileReduce>(&let.value)) {
    return compute_reduction(state, *reduce, point, piece);
  }
  if (Value* number = look_up_digits(state, point, piece)) return number;
  const auto& apply = std::get<loop::TileApply>(let.value);
  Values args;
  for (size_t i = 0; i < apply.args.size(); ++i) {
    args.push_back(spread(read(apply.args[i], state.snapshots[i], point, piece), piece));
  }
  // Of a select, the first argument is the condition.
  const DType arg_dtype = registers_[static_cast<size_t>(apply.args[0])].dtype;
  const int active = piece < 0 ? 1 : pieces_[static_cast<size_t>(piece)].active;
  return ops_.apply(apply.op, let.dtype, arg_dtype, args, active);
}

Value* TileLowering::compute_index(const RegisterState& state, const Point& point, int piece) {
  const Expr& expr = std::get<loop::TileIndex>(state.let->value).expr;
  if (piece < 0) {
    Value* scalar = f_.index.emit(at_point(expr, point, -1, -1));
    return ops_.cast(scalar, DType::kI64, state.dtype);
  }
  const Piece& part = pieces_[static_cast<size_t>(piece)];
  const auto lanes = static_cast<unsigned>(part.lanes);
  Value* vector = nullptr;
  if (!varies_by_lane(expr)) {
    Linear linear = index::to_linear(at_point(expr, point, piece, -1));
    const int64_t stride = linear.coefficient(vector_var_);
    linear.coefficients.erase(vector_var_);
    std::vector<llvm::Constant*> steps;
    for (int i = 0; i < part.lanes; ++i) {
      steps.push_back(builder_.getInt64(static_cast<uint64_t>(stride * (part.start + i))));
    }
    Value* base = f_.index.emit(index::to_expr(linear));
    vector = builder_.CreateAdd(builder_.CreateVectorSplat(lanes, base),
                                llvm::ConstantVector::get(steps));
  } else {
    vector = llvm::Constant::getNullValue(with_lanes(builder_.getInt64Ty(), part.lanes));
    for (int i = 0; i < part.active; ++i) {
      Value* scalar = f_.index.emit(at_point(expr, point, piece, i));
      vector = builder_.CreateInsertElement(vector, scalar, static_cast<uint64_t>(i));
    }
  }
  return ops_.cast(vector, DType::kI64, state.dtype);
}

Value* TileLowering::compute_reduction(const RegisterState& state, const loop::TileReduce& reduce,
                                       const Point& point, int piece) {
  const RegisterState& arg = registers_[static_cast<size_t>(reduce.arg)];
  const SharedValues& snapshot = state.snapshots[0];
  if (reduce.axis == vector_var_) {
    CORF_ASSERT(arg.along_vector, "a reduction over an axis that its argument lacks");
    return reduce_lanes(arg, snapshot, reduce, point);
  }
  const auto found =
      std::find(info_.axis_variables.begin(), info_.axis_variables.end(), reduce.axis);
  const auto axis = static_cast<size_t>(found - info_.axis_variables.begin());
  Value* result = nullptr;
  Point at = point;
  for (int64_t i = 0; i < info_.extents[axis]; ++i) {
    at[axis] = i;
    Value* next = read(reduce.arg, snapshot, at, piece);
    result = result ? ops_.combine(reduce.reduction, state.dtype, result, next) : next;
  }
  return result;
}

/// The value where instruction selection cannot see how it was made. LLVM 22 takes sums of lanes of
/// products of u8 and i8 with vpdpbusd and mistakes which factor is which.
/// Test: Tile.SumsLanesOfProductsOfBytes
Value* TileLowering::opaque(Value* vector, DType dtype) {
  constexpr int kFewestLanes = 4;
  if (dtype != DType::kI32 || !f_.isa.has_byte_products()) return vector;
  llvm::Type* type = vector->getType();
  if (num_lanes(type) < kFewestLanes) return vector;
  auto* signature = llvm::FunctionType::get(type, {type}, /*isVarArg=*/false);
  return builder_.CreateCall(
      signature, llvm::InlineAsm::get(signature, "", "=x,0", /*hasSideEffects=*/false), {vector});
}

/// The lanes that exist and pass `mask`; null if all do.
Value* TileLowering::active_mask(const Piece& piece, Value* mask) {
  if (piece.active == piece.lanes) return mask;
  std::vector<llvm::Constant*> bits;
  for (int i = 0; i < piece.lanes; ++i) bits.push_back(builder_.getInt1(i < piece.active));
  Value* exists = llvm::ConstantVector::get(bits);
  return mask ? builder_.CreateAnd(mask, exists) : exists;
}

/// Pieces of equal width lane by lane, then halves onto each other: the same order every time.
Value* TileLowering::reduce_lanes(const RegisterState& arg, const SharedValues& snapshot,
                                  const loop::TileReduce& reduce, const Point& point) {
  std::map<int, Value*, std::greater<>> by_width;
  for (size_t p = 0; p < pieces_.size(); ++p) {
    const Piece& part = pieces_[p];
    Value* vector = opaque(read(reduce.arg, snapshot, point, static_cast<int>(p)), arg.dtype);
    if (part.active < part.lanes) {
      auto* neutral = llvm::ConstantVector::getSplat(
          llvm::ElementCount::getFixed(static_cast<unsigned>(part.lanes)),
          ops_.neutral(reduce.reduction, arg.dtype));
      vector = builder_.CreateSelect(active_mask(part, nullptr), vector, neutral);
    }
    Value*& sum = by_width[part.lanes];
    sum = sum ? ops_.combine(reduce.reduction, arg.dtype, sum, vector) : vector;
  }
  Value* result = nullptr;
  for (auto [lanes, vector] : by_width) {
    // A narrower piece joins once the wider ones are as narrow.
    for (int width = lanes; width > 1; width /= 2) {
      std::vector<int> low, high;
      for (int i = 0; i < width / 2; ++i) {
        low.push_back(i);
        high.push_back(i + width / 2);
      }
      vector = ops_.combine(reduce.reduction, arg.dtype, builder_.CreateShuffleVector(vector, low),
                            builder_.CreateShuffleVector(vector, high));
    }
    Value* scalar = lane(vector, 0);
    result = result ? ops_.combine(reduce.reduction, arg.dtype, result, scalar) : scalar;
  }
  return result;
}

}  // namespace corf::codegen
