#include <algorithm>
#include <bit>
#include <llvm/IR/Constants.h>
#include <numeric>
#include <optional>

#include "codegen/interleave.h"
#include "codegen/tile_lowering.h"
#include "codegen/value_types.h"
#include "graph/saturated.h"

namespace corf::codegen {
using llvm::Value;
using loop::AxisSet;
using loop::Register;

// ---- offsets -----------------------------------------------------------------------------------

TileLowering::Offset TileLowering::make_offset(const Expr& expr) {
  Offset offset;
  offset.expr = expr;
  offset.linear = index::to_linear(expr);
  offset.per_point = info_.axes_of(offset.linear.rest) != 0;
  for (const auto& [var, bound] : bound_) {
    if (index::depends_on(expr, var)) offset.per_point = true;
  }
  return offset;
}

/// The expression with the tile's axes replaced by the point's coordinates and bound variables by
/// their values. The vector axis stays unless a lane of the piece is given.
Expr TileLowering::at_point(const Expr& expr, const Point& point, int piece, int lane_number) {
  return index::substitute(expr, [&](int var) -> std::optional<Expr> {
    if (var == vector_var_) {
      if (lane_number < 0) return std::nullopt;
      return Expr(pieces_[static_cast<size_t>(piece)].start + lane_number);
    }
    auto bound = bound_.find(var);
    if (bound != bound_.end()) {
      const RegisterState& source = registers_[static_cast<size_t>(bound->second.reg)];
      Value* integer = read(bound->second.reg, bound->second.snapshot, point, std::max(piece, 0));
      integer = lane(integer, std::max(lane_number, 0));
      return Expr::variable(f_.index.bind_temporary(ops_.cast(integer, source.dtype, DType::kI64)));
    }
    const auto& axes = info_.axis_variables;
    auto axis = std::find(axes.begin(), axes.end(), var);
    if (axis == axes.end()) return std::nullopt;
    return Expr(point[static_cast<size_t>(axis - axes.begin())]);
  });
}

/// Whether the expression depends on the lane otherwise than linearly.
bool TileLowering::varies_by_lane(const Expr& expr) const {
  if (vector_var_ < 0) return false;
  if (info_.axes_of(index::to_linear(expr).rest) & vector_bit_) return true;
  for (const auto& [var, bound] : bound_) {
    if (registers_[static_cast<size_t>(bound.reg)].along_vector && index::depends_on(expr, var)) {
      return true;
    }
  }
  return false;
}

TileLowering::Location TileLowering::locate(Offset& offset, int buffer, const Point& point,
                                            int piece) {
  llvm::Type* elem = memory_type(f_.context(), f_.kernel.buffer_dtype(buffer));
  if (offset.per_point) {
    if (piece >= 0 && varies_by_lane(offset.expr)) return {{}, 0, true};
    Linear linear = index::to_linear(at_point(offset.expr, point, piece, -1));
    const int64_t stride = vector_var_ < 0 ? 0 : linear.coefficient(vector_var_);
    if (vector_var_ >= 0) linear.coefficients.erase(vector_var_);
    return {f_.index.address(f_.buffer(buffer), elem, linear), stride, false};
  }
  if (!offset.has_base) {
    Linear base = offset.linear;
    for (int var : info_.axis_variables) base.coefficients.erase(var);
    offset.base = f_.index.address(f_.buffer(buffer), elem, base);
    offset.vector_stride = vector_var_ < 0 ? 0 : offset.linear.coefficient(vector_var_);
    offset.has_base = true;
  }
  Location location{offset.base, offset.vector_stride, false};
  for (size_t axis = 0; axis < point.size(); ++axis) {
    const int var = info_.axis_variables[axis];
    if (var == vector_var_) continue;
    location.address.constant += offset.linear.coefficient(var) * point[axis];
  }
  return location;
}

Address TileLowering::locate_lane(const Offset& offset, int buffer, const Point& point, int piece,
                                  int lane_number) {
  llvm::Type* elem = memory_type(f_.context(), f_.kernel.buffer_dtype(buffer));
  const Linear linear = index::to_linear(at_point(offset.expr, point, piece, lane_number));
  return f_.index.address(f_.buffer(buffer), elem, linear);
}

Value* TileLowering::pointer(int buffer, const Address& address) {
  if (address.constant == 0) return address.base;
  llvm::Type* elem = memory_type(f_.context(), f_.kernel.buffer_dtype(buffer));
  return builder_.CreateGEP(elem, address.base,
                            builder_.getInt64(static_cast<uint64_t>(address.constant)));
}

// ---- guards ------------------------------------------------------------------------------------

TileLowering::Condition TileLowering::condition(const std::vector<loop::Guard>& guards,
                                                const Point& point, int piece) {
  return condition(guards, point, piece, piece < 0 ? Piece() : pieces_[static_cast<size_t>(piece)]);
}

TileLowering::Condition TileLowering::condition(const std::vector<loop::Guard>& guards,
                                                const Point& point, int piece, const Piece& part) {
  Condition result;
  auto conjoin = [&](Value*& all, Value* one) { all = all ? builder_.CreateAnd(all, one) : one; };
  if (piece >= 0) {
    f_.index.set_range(vector_var_, {part.start, part.start + part.active - 1});
  }
  for (const loop::Guard& guard : guards) {
    if (assume_guards_ && !fails_inside(guard)) continue;
    const bool by_lane =
        piece >= 0 && (varies_by_lane(guard.expr) || index::depends_on(guard.expr, vector_var_));
    // In canonical form, so that equal conditions are one value.
    const Expr expr = index::to_expr(index::to_linear(at_point(guard.expr, point, piece, -1)));
    if (!by_lane) {
      Value* holds = f_.index.emit_guard(expr, guard.lo, guard.hi);
      if (!holds) continue;
      if (holds == builder_.getFalse()) result.never = true;
      conjoin(result.scalar, holds);
      continue;
    }
    const Interval range = f_.index.range(expr);
    if (range.lo >= guard.lo && range.hi < guard.hi) continue;
    if (range.hi < guard.lo || range.lo >= guard.hi) result.never = true;
    conjoin(result.mask, guard_mask(guard, expr, point, piece, part));
  }
  return result;
}

Value* TileLowering::guard_mask(const loop::Guard& guard, const Expr& at, const Point& point,
                                int piece, const Piece& part) {
  const auto lanes = static_cast<unsigned>(part.lanes);
  Linear linear = index::to_linear(at);
  if (varies_by_lane(guard.expr) || linear.coefficient(vector_var_) != 1) {
    Value* mask = llvm::Constant::getNullValue(with_lanes(builder_.getInt1Ty(), part.lanes));
    for (int i = 0; i < part.active; ++i) {
      Value* holds = f_.index.emit_guard(at_point(guard.expr, point, piece, i), guard.lo, guard.hi);
      mask = builder_.CreateInsertElement(mask, holds ? holds : builder_.getTrue(),
                                          static_cast<uint64_t>(i));
    }
    return mask;
  }
  // Lanes [lo - base, hi - base): two comparisons with the lanes' numbers.
  linear.coefficients.erase(vector_var_);
  Value* base = f_.index.emit(index::to_expr(linear) + Expr(part.start));
  auto bound_by_lanes = [&](int64_t bound) {
    Value* lane = builder_.CreateSub(builder_.getInt64(static_cast<uint64_t>(bound)), base);
    lane = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, lane, builder_.getInt64(0));
    lane = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, lane, builder_.getInt64(lanes));
    return builder_.CreateVectorSplat(lanes, builder_.CreateTrunc(lane, builder_.getInt32Ty()));
  };
  std::vector<llvm::Constant*> numbers;
  for (unsigned i = 0; i < lanes; ++i) numbers.push_back(builder_.getInt32(i));
  Value* number = llvm::ConstantVector::get(numbers);
  return builder_.CreateAnd(builder_.CreateICmpSGE(number, bound_by_lanes(guard.lo)),
                            builder_.CreateICmpSLT(number, bound_by_lanes(guard.hi)));
}

/// Null: the lane's access always happens.
Value* TileLowering::lane_condition(const Condition& condition, int number) {
  if (!condition.mask) return condition.scalar;
  Value* bit = builder_.CreateExtractElement(condition.mask, static_cast<uint64_t>(number));
  return condition.scalar ? builder_.CreateAnd(condition.scalar, bit) : bit;
}

// ---- loads -------------------------------------------------------------------------------------

Value* TileLowering::shared(const SharedKey& key) {
  for (const auto& level : shared_) {
    auto found = level.find(key);
    if (found != level.end()) return found->second;
  }
  return nullptr;
}

void TileLowering::forget_loads_of(int buffer) {
  for (auto& level : shared_) {
    std::erase_if(level, [&](const auto& entry) { return entry.first.buffer == buffer; });
  }
}

Value* TileLowering::compute_load(RegisterState& state, const loop::TileLoad& load,
                                  const Point& point, int piece) {
  if (piece >= 0) {
    const int axis = transposed_axis(state.offset, state.axes, load.guards);
    if (axis >= 0) return load_transposed(state, load, point, piece, axis);
    const int pairs = paired_axis(state.offset, state.axes, load.guards);
    if (pairs >= 0) return load_paired(state, load, point, piece, pairs);
  }
  const DType dtype = f_.kernel.buffer_dtype(load.buffer);
  auto* padding = llvm::cast<llvm::Constant>(ops_.to_memory(
      ops_.constant(dtype, load.padding, graph::saturated(load.padding, dtype)), dtype));
  const Condition where = condition(load.guards, point, piece);
  Value* result = piece < 0 ? nullptr : look_up_bytes(state.offset, load, point, piece);
  if (where.never) {
    result = padding;
  } else if (!result) {
    const Location location = locate(state.offset, load.buffer, point, piece);
    const Piece* part = piece < 0 ? nullptr : &pieces_[static_cast<size_t>(piece)];
    if (!part) {
      result = load_scalar(load.buffer, location.address, where.scalar, padding);
    } else if (!location.per_lane && location.vector_stride == 1) {
      Address start = location.address;
      start.constant += part->start;
      result = load_vector(load.buffer, start, *part, where, padding);
    } else if (is_strided(load, location, *part)) {
      result = load_strided(load, location, point, piece, padding);
    } else if (!where.mask && repeats_pair(state.offset, load.buffer, point, piece)) {
      const Address first = locate_lane(state.offset, load.buffer, point, piece, 0);
      result = load_repeated_pair(load.buffer, first, *part, where.scalar, padding);
    } else {
      result = llvm::PoisonValue::get(with_lanes(padding->getType(), part->lanes));
      for (int i = 0; i < part->lanes; ++i) {
        Value* elem = padding;
        if (i < part->active) {
          Address address = location.address;
          if (location.per_lane) {
            address = locate_lane(state.offset, load.buffer, point, piece, i);
          } else {
            address.constant += location.vector_stride * (part->start + i);
          }
          elem = load_scalar(load.buffer, address, lane_condition(where, i), padding);
        }
        result = builder_.CreateInsertElement(result, elem, static_cast<uint64_t>(i));
      }
    }
  }
  return ops_.cast(ops_.from_memory(spread(result, piece), dtype), dtype, state.dtype);
}

Value* TileLowering::load_scalar(int buffer, const Address& address, Value* condition,
                                 llvm::Constant* padding) {
  const SharedKey key{.buffer = buffer,
                      .base = address.base,
                      .constant = address.constant,
                      .condition = condition,
                      .padding = condition ? padding : nullptr};
  if (Value* known = shared(key)) return known;
  const DType dtype = f_.kernel.buffer_dtype(buffer);
  Value* from = pointer(buffer, address);
  if (condition) {
    from = builder_.CreateSelect(condition, from, f_.padding_vector(dtype, padding));
  }
  auto* load = builder_.CreateAlignedLoad(memory_type(f_.context(), dtype), from,
                                          llvm::Align(static_cast<uint64_t>(size_bytes(dtype))));
  f_.annotate(load, buffer);
  shared_.back()[key] = load;
  return load;
}

Value* TileLowering::load_vector(int buffer, const Address& address, const Piece& piece,
                                 const Condition& condition, llvm::Constant* padding) {
  const SharedKey key{.buffer = buffer,
                      .base = address.base,
                      .constant = address.constant,
                      .lanes = piece.lanes,
                      .active = piece.active,
                      .condition = condition.scalar,
                      .padding = condition.scalar ? padding : nullptr};
  if (!condition.mask) {
    if (Value* known = shared(key)) return known;
  }
  const DType dtype = f_.kernel.buffer_dtype(buffer);
  const llvm::Align align(static_cast<uint64_t>(size_bytes(dtype)));
  auto* type = llvm::FixedVectorType::get(memory_type(f_.context(), dtype),
                                          static_cast<unsigned>(piece.lanes));
  Value* from = pointer(buffer, address);
  if (condition.scalar) {
    from = builder_.CreateSelect(condition.scalar, from, f_.padding_vector(dtype, padding));
  }
  llvm::Instruction* load = nullptr;
  Value* mask = active_mask(piece, condition.mask);
  // A narrower vector needs no mask.
  const bool narrow = mask && !condition.mask && std::has_single_bit(unsigned(piece.active));
  if (!mask || narrow) {
    llvm::Type* read = with_lanes(type->getElementType(), narrow ? piece.active : piece.lanes);
    load = builder_.CreateAlignedLoad(read, from, align);
  } else {
    Value* otherwise = llvm::ConstantVector::getSplat(type->getElementCount(), padding);
    load = builder_.CreateMaskedLoad(type, from, align, mask, otherwise);
  }
  f_.annotate(load, buffer);
  Value* result = narrow ? followed_by_zeros(builder_, load, piece.lanes) : load;
  if (!condition.mask) shared_.back()[key] = result;
  return result;
}

// ---- stores ------------------------------------------------------------------------------------

void TileLowering::execute(const loop::TileStore& store) {
  const AxisSet axes = info_.axes_of(loop::TileStmt(store));
  const bool along_vector = (axes & vector_bit_) != 0;
  const int num_pieces = along_vector ? static_cast<int>(pieces_.size()) : 1;
  // Loads of the very elements that are stored need no haste: each is read just before.
  std::vector<Register> same_place;
  for (Register reg : waiting_loads_) {
    const auto& load = std::get<loop::TileLoad>(registers_[static_cast<size_t>(reg)].let->value);
    if (load.buffer != store.buffer) continue;
    if (info_.register_axes(reg) == axes && index::structurally_equal(load.offset, store.offset)) {
      same_place.push_back(reg);
    } else {
      force(reg);
    }
  }
  // What addresses need must not first be computed under a guard's branch.
  for (const auto& [var, bound] : bound_) {
    if (index::depends_on(store.offset, var)) force(bound.reg);
  }
  Offset offset = make_offset(store.offset);
  const int interleaved = along_vector ? interleaved_axis(store, offset, unrolled(axes)) : -1;
  if (interleaved >= 0) {
    store_interleaved(store, offset, axes, interleaved);
    forget_loads_of(store.buffer);
    return;
  }
  const int transposed = along_vector ? transposed_axis(offset, unrolled(axes), store.guards) : -1;
  if (transposed >= 0) {
    store_transposed(store, offset, axes, transposed);
    forget_loads_of(store.buffer);
    return;
  }
  const std::vector<Point> all = points(unrolled(axes));
  std::vector<int> pieces;
  for (int piece = 0; piece < num_pieces; ++piece) pieces.push_back(along_vector ? piece : -1);
  const size_t together = std::max<size_t>(1, kSideBySide / pieces.size());
  for (size_t number = 0; number < all.size(); ++number) {
    const Point& point = all[number];
    if (number % together == 0 && all_hold(store.guards)) {
      const auto first = all.begin() + static_cast<int64_t>(number);
      const auto left = static_cast<size_t>(all.end() - first);
      compute_side_by_side(store.value,
                           {first, first + static_cast<int64_t>(std::min(left, together))}, pieces);
    }
    Values values;
    std::vector<Condition> conditions;
    for (int piece = 0; piece < num_pieces; ++piece) {
      const int wanted = along_vector ? piece : -1;
      for (Register reg : same_place) value(reg, point, wanted);
      values.push_back(spread(value(store.value, point, wanted), wanted));
      conditions.push_back(condition(store.guards, point, wanted));
    }
    // One branch for all pieces under the same condition.
    llvm::BasicBlock* after = nullptr;
    Value* branched_on = nullptr;
    auto join = [&] {
      if (!after) return;
      builder_.CreateBr(after);
      builder_.SetInsertPoint(after);
      after = nullptr;
    };
    for (int piece = 0; piece < num_pieces; ++piece) {
      const Condition& where = conditions[static_cast<size_t>(piece)];
      if (where.never) continue;
      if (piece + 1 < num_pieces && store.guards.empty() &&
          store_halves(store, offset, values, point, piece)) {
        ++piece;
        continue;
      }
      if (where.scalar != branched_on) {
        join();
        branched_on = where.scalar;
        if (where.scalar) {
          llvm::Function* function = builder_.GetInsertBlock()->getParent();
          auto* inside = llvm::BasicBlock::Create(f_.context(), "guarded", function);
          after = llvm::BasicBlock::Create(f_.context(), "after", function);
          builder_.CreateCondBr(where.scalar, inside, after);
          builder_.SetInsertPoint(inside);
        }
      }
      store_piece(store, offset, values[static_cast<size_t>(piece)], where, point,
                  along_vector ? piece : -1);
    }
    join();
  }
  forget_loads_of(store.buffer);
}

/// Values of these points, a few of them at a time.
void TileLowering::compute_side_by_side(Register reg, const std::vector<Point>& points,
                                        const std::vector<int>& pieces) {
  std::optional<Interleave> values;
  size_t number = 0;
  for (const Point& point : points) {
    for (int piece : pieces) {
      if (!values) values.emplace(builder_);
      value(reg, point, piece);
      values->end_computation();
      if (++number % kSideBySide != 0) continue;
      values->merge();
      values.reset();
    }
  }
  if (values) values->merge();
}

/// Two whole pieces of bfloat16 numbers, which registers hold as the upper halves of f32, leave as
/// one vector. False if the pieces are not of that kind.
bool TileLowering::store_halves(const loop::TileStore& store, Offset& offset, const Values& values,
                                const Point& point, int piece) {
  const DType dtype = f_.kernel.buffer_dtype(store.buffer);
  const DType value_dtype = registers_[static_cast<size_t>(store.value)].dtype;
  if (dtype != DType::kBF16 || value_dtype != DType::kBF16) return false;
  const Piece &low = pieces_[static_cast<size_t>(piece)],
              &high = pieces_[static_cast<size_t>(piece) + 1];
  if (low.active < f_.isa.f32_lanes() || high.active < f_.isa.f32_lanes()) return false;
  const Location location = locate(offset, store.buffer, point, piece);
  if (location.per_lane || location.vector_stride != 1) return false;
  auto* halves = llvm::FixedVectorType::get(builder_.getInt16Ty(),
                                            2 * static_cast<unsigned>(f_.isa.f32_lanes()));
  Value* first = builder_.CreateBitCast(values[static_cast<size_t>(piece)], halves);
  Value* second = builder_.CreateBitCast(values[static_cast<size_t>(piece) + 1], halves);
  std::vector<int> upper;
  for (int i = 1; i < 4 * f_.isa.f32_lanes(); i += 2) upper.push_back(i);
  Address start = location.address;
  start.constant += low.start;
  f_.annotate(builder_.CreateAlignedStore(builder_.CreateShuffleVector(first, second, upper),
                                          pointer(store.buffer, start),
                                          llvm::Align(static_cast<uint64_t>(size_bytes(dtype)))),
              store.buffer);
  return true;
}

/// `mask`: of the lanes to store; null for all.
void TileLowering::store_vector(int buffer, const Address& address, Value* value, Value* mask) {
  const DType dtype = f_.kernel.buffer_dtype(buffer);
  const llvm::Align align(static_cast<uint64_t>(size_bytes(dtype)));
  if (const std::optional<uint64_t> first = first_lanes(mask);
      first && (!f_.isa.has_masked_stores() || std::has_single_bit(*first))) {
    // A lane may hold several elements (store_interleaved).
    const auto elems_of_lane =
        static_cast<int64_t>(value->getType()->getScalarSizeInBits() / 8) / size_bytes(dtype);
    for (uint64_t from = 0; from < *first;) {
      const uint64_t lanes = std::bit_floor(*first - from);
      std::vector<int> taken(lanes);
      std::iota(taken.begin(), taken.end(), static_cast<int>(from));
      Address part = address;
      part.constant += elems_of_lane * static_cast<int64_t>(from);
      store_vector(buffer, part, builder_.CreateShuffleVector(value, taken), nullptr);
      from += lanes;
    }
    return;
  }
  Value* to = pointer(buffer, address);
  llvm::Instruction* instruction =
      mask ? static_cast<llvm::Instruction*>(builder_.CreateMaskedStore(value, to, align, mask))
           : builder_.CreateAlignedStore(value, to, align);
  f_.annotate(instruction, buffer);
}

void TileLowering::store_piece(const loop::TileStore& store, Offset& offset, Value* value,
                               const Condition& where, const Point& point, int piece) {
  const DType dtype = f_.kernel.buffer_dtype(store.buffer);
  const DType value_dtype = registers_[static_cast<size_t>(store.value)].dtype;
  const llvm::Align align(static_cast<uint64_t>(size_bytes(dtype)));
  value = ops_.to_memory(ops_.cast(value, value_dtype, dtype), dtype);
  const Location location = locate(offset, store.buffer, point, piece);
  if (piece < 0) {
    f_.annotate(builder_.CreateAlignedStore(value, pointer(store.buffer, location.address), align),
                store.buffer);
    return;
  }
  const Piece& part = pieces_[static_cast<size_t>(piece)];
  if (!location.per_lane && location.vector_stride == 1) {
    Address start = location.address;
    start.constant += part.start;
    store_vector(store.buffer, start, value, active_mask(part, where.mask));
    return;
  }
  for (int i = 0; i < part.active; ++i) {
    Address address = location.address;
    if (location.per_lane) {
      address = locate_lane(offset, store.buffer, point, piece, i);
    } else {
      address.constant += location.vector_stride * (part.start + i);
    }
    Value* elem = lane(value, i);
    Value* to = pointer(store.buffer, address);
    if (where.mask) {
      auto* type = with_lanes(elem->getType(), 1);
      Value* bit = builder_.CreateExtractElement(where.mask, static_cast<uint64_t>(i));
      Value* one = builder_.CreateInsertElement(llvm::PoisonValue::get(type), elem, uint64_t{0});
      Value* mask = builder_.CreateVectorSplat(1, bit);
      f_.annotate(builder_.CreateMaskedStore(one, to, align, mask), store.buffer);
    } else {
      f_.annotate(builder_.CreateAlignedStore(elem, to, align), store.buffer);
    }
  }
}

}  // namespace corf::codegen
