#include "codegen/index_lowering.h"

#include <algorithm>

#include "support/assert.h"

namespace corf::codegen {

using index::ExprKind;
using llvm::Value;

namespace {

/// The terms of a sum.
void flatten(const Expr& expr, std::vector<Expr>& terms) {
  if (expr.kind() == ExprKind::kAdd) {
    flatten(expr.lhs(), terms);
    flatten(expr.rhs(), terms);
  } else if (!expr.is_constant(0)) {
    terms.push_back(expr);
  }
}

}  // namespace

IndexLowering::IndexLowering(llvm::IRBuilder<>& builder, int num_vars)
    : builder_(builder), num_vars_(num_vars), bindings_(num_vars), ranges_(num_vars, unbounded()) {}

void IndexLowering::open_scope(llvm::Instruction* prologue_end, bool is_rare) {
  scopes_.push_back({prologue_end, floor_, {}});
  if (is_rare) floor_ = static_cast<int>(scopes_.size()) - 1;
}

void IndexLowering::close_scope() {
  floor_ = scopes_.back().outer_floor;
  scopes_.pop_back();
}

void IndexLowering::bind(int var, Value* value, int64_t add, Interval range) {
  // A variable bound again (the next copy of an unrolled body) makes what was computed from it
  // stale.
  scopes_.back().values.clear();
  bindings_[var] = {value, add, static_cast<int>(scopes_.size()) - 1};
  ranges_[var] = range;
}

int IndexLowering::bind_temporary(Value* value) {
  temporaries_.push_back({value, 0, kHere});
  ranges_.push_back(unbounded());
  return num_vars_ + static_cast<int>(temporaries_.size()) - 1;
}

const IndexLowering::Binding& IndexLowering::binding(int var) const {
  return var < num_vars_ ? bindings_[var] : temporaries_[var - num_vars_];
}

int IndexLowering::depth(const Expr& expr) const {
  switch (expr.kind()) {
    case ExprKind::kConstant:
      return floor_;
    case ExprKind::kVariable:
      return depth(binding(expr.variable_id()));
    default:
      return std::max(depth(expr.lhs()), depth(expr.rhs()));
  }
}

std::string IndexLowering::key(const Expr& expr) const {
  return index::to_string(expr, [](int id) { return "v" + std::to_string(id); });
}

Value* IndexLowering::emit(const Expr& expr) {
  if (expr.is_constant()) return builder_.getInt64(expr.constant());
  const int level = depth(expr);
  if (level == kHere) return emit_node(expr);
  if (expr.kind() == ExprKind::kVariable) {
    const Binding& bound = binding(expr.variable_id());
    if (!bound.value) return builder_.getInt64(bound.add);
    if (bound.add == 0) return bound.value;
  }
  std::string name = key(expr);
  auto found = scopes_[level].values.find(name);
  if (found != scopes_[level].values.end()) return found->second;
  llvm::IRBuilder<>::InsertPointGuard restore(builder_);
  builder_.SetInsertPoint(scopes_[level].prologue_end);
  Value* value = emit_node(expr);
  scopes_[level].values.emplace(std::move(name), value);
  return value;
}

Value* IndexLowering::emit_node(const Expr& expr) {
  switch (expr.kind()) {
    case ExprKind::kConstant:
      return builder_.getInt64(expr.constant());
    case ExprKind::kVariable: {
      const Binding& bound = binding(expr.variable_id());
      if (!bound.value) return builder_.getInt64(bound.add);
      if (bound.add == 0) return bound.value;
      return builder_.CreateNSWAdd(bound.value, builder_.getInt64(bound.add));
    }
    case ExprKind::kAdd:
      return builder_.CreateNSWAdd(emit(expr.lhs()), emit(expr.rhs()));
    case ExprKind::kMul:
      return builder_.CreateNSWMul(emit(expr.lhs()), emit(expr.rhs()));
    case ExprKind::kFloorDiv:
    case ExprKind::kMod:
      return emit_division(expr);
    case ExprKind::kMin:
      return builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, emit(expr.lhs()),
                                            emit(expr.rhs()));
    case ExprKind::kMax:
      return builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, emit(expr.lhs()),
                                            emit(expr.rhs()));
  }
  CORF_ASSERT(false, "unknown kind of expression");
}

Value* IndexLowering::emit_division(const Expr& expr) {
  Value* dividend = emit(expr.lhs());
  Value* divisor = emit(expr.rhs());
  const bool is_mod = expr.kind() == ExprKind::kMod;
  // A hoisted division may run where the program would not: a parameter of zero must not trap.
  if (!expr.rhs().is_constant()) {
    Value* is_zero = builder_.CreateICmpEQ(divisor, builder_.getInt64(0));
    divisor = builder_.CreateSelect(is_zero, builder_.getInt64(1), divisor);
  }
  if (range(expr.lhs()).lo >= 0 && expr.rhs().is_constant() && expr.rhs().constant() > 0) {
    return is_mod ? builder_.CreateURem(dividend, divisor) : builder_.CreateUDiv(dividend, divisor);
  }
  Value* remainder = builder_.CreateSRem(dividend, divisor);
  Value* inexact = builder_.CreateICmpNE(remainder, builder_.getInt64(0));
  Value* signs_differ =
      builder_.CreateICmpSLT(builder_.CreateXor(remainder, divisor), builder_.getInt64(0));
  Value* adjust = builder_.CreateAnd(inexact, signs_differ);
  if (is_mod) {
    return builder_.CreateSelect(adjust, builder_.CreateAdd(remainder, divisor), remainder);
  }
  Value* quotient = builder_.CreateSDiv(dividend, divisor);
  return builder_.CreateSub(quotient, builder_.CreateZExt(adjust, builder_.getInt64Ty()));
}

Value* IndexLowering::emit_guard(const Expr& expr, int64_t lo, int64_t hi) {
  const Interval interval = range(expr);
  if (interval.lo >= lo && interval.hi < hi) return nullptr;
  if (interval.hi < lo || interval.lo >= hi) return builder_.getFalse();
  const int level = depth(expr);
  const bool hoist = level != kHere;
  std::string name;
  if (hoist) {
    name = std::to_string(lo) + " <= " + key(expr) + " < " + std::to_string(hi);
    auto found = scopes_[level].values.find(name);
    if (found != scopes_[level].values.end()) return found->second;
  }
  llvm::IRBuilder<>::InsertPointGuard restore(builder_);
  if (hoist) builder_.SetInsertPoint(scopes_[level].prologue_end);
  Value* value = emit(expr);
  // One comparison: the distance to lo, taken as unsigned, is below hi - lo.
  Value* distance = builder_.CreateSub(value, builder_.getInt64(lo));
  Value* inside =
      builder_.CreateICmpULT(distance, builder_.getInt64(std::max<int64_t>(hi - lo, 0)));
  if (hoist) scopes_[level].values.emplace(std::move(name), inside);
  return inside;
}

Value* IndexLowering::offset_at_depth(const Linear& offset, const std::vector<Expr>& rest,
                                      int level) {
  Value* sum = nullptr;
  auto add = [&](Value* term) { sum = sum ? builder_.CreateNSWAdd(sum, term) : term; };
  for (const auto& [var, coefficient] : offset.coefficients) {
    const Binding& bound = binding(var);
    if (!bound.value || depth(bound) != level) continue;
    add(coefficient == 1 ? bound.value
                         : builder_.CreateNSWMul(bound.value, builder_.getInt64(coefficient)));
  }
  for (const Expr& term : rest) {
    if (depth(term) == level) add(emit(term));
  }
  return sum;
}

Address IndexLowering::address(Value* buffer, llvm::Type* elem, const Linear& offset) {
  Address result{buffer, offset.constant};
  std::vector<Expr> rest;
  flatten(offset.rest, rest);
  std::vector<int> depths;
  for (const auto& [var, coefficient] : offset.coefficients) {
    const Binding& bound = binding(var);
    result.constant += coefficient * bound.add;
    if (bound.value) depths.push_back(depth(bound));
  }
  for (const Expr& term : rest) depths.push_back(depth(term));
  std::sort(depths.begin(), depths.end());
  depths.erase(std::unique(depths.begin(), depths.end()), depths.end());

  // Outer loops' contributions first, each in its own scope, so that the inner scopes only add.
  std::string name = "@" + std::to_string(reinterpret_cast<uintptr_t>(buffer));
  for (int level : depths) {
    llvm::IRBuilder<>::InsertPointGuard restore(builder_);
    if (level == kHere) {
      result.base = builder_.CreateGEP(elem, result.base, offset_at_depth(offset, rest, level));
      continue;
    }
    for (const auto& [var, coefficient] : offset.coefficients) {
      const Binding& bound = binding(var);
      if (bound.value && depth(bound) == level) {
        name += "+" + std::to_string(coefficient) + "*v" + std::to_string(var);
      }
    }
    for (const Expr& term : rest) {
      if (depth(term) == level) name += "+" + key(term);
    }
    Scope& scope = scopes_[level];
    auto found = scope.values.find(name);
    if (found != scope.values.end()) {
      result.base = found->second;
      continue;
    }
    builder_.SetInsertPoint(scope.prologue_end);
    result.base = builder_.CreateGEP(elem, result.base, offset_at_depth(offset, rest, level));
    scope.values.emplace(name, result.base);
  }
  return result;
}

}  // namespace corf::codegen
