#pragma once
#include <llvm/IR/IRBuilder.h>
#include <map>
#include <string>
#include <vector>

#include "index/expr.h"
#include "loop/program.h"

namespace corf::codegen {

using index::Expr;
using index::Interval;
using index::Linear;

/// Where an element lies: `base` + `constant` elements. The base is computed where its variables
/// are bound and shared by all accesses that differ in the constant only.
struct Address {
  llvm::Value* base = nullptr;
  int64_t constant = 0;
};

/// Integer expressions and addresses as LLVM values. Each is computed once, in the outermost scope
/// (function, loop body) that binds all its variables, however deep it is asked for.
class IndexLowering {
 public:
  IndexLowering(llvm::IRBuilder<>& builder, int num_vars);

  /// A region whose values are inserted before `prologue_end`, the terminator of a block that
  /// dominates everything emitted until close_scope. From a region that seldom runs (`is_rare`)
  /// nothing is hoisted into those around it.
  void open_scope(llvm::Instruction* prologue_end, bool is_rare = false);
  void close_scope();

  /// `var` = `value` + `add` (null: the constant `add`) in the current scope.
  void bind(int var, llvm::Value* value, int64_t add, Interval range = unbounded());
  /// A fresh variable for a value that exists only at the builder's position.
  int bind_temporary(llvm::Value* value);

  llvm::Value* emit(const Expr& expr);
  /// lo <= expr < hi; null where the variables' ranges prove it.
  llvm::Value* emit_guard(const Expr& expr, int64_t lo, int64_t hi);
  Address address(llvm::Value* buffer, llvm::Type* elem, const Linear& offset);

  static Interval unbounded() { return {INT64_MIN, INT64_MAX}; }
  Interval range(const Expr& expr) const { return index::bounds(expr, ranges_); }
  /// For tile axes, which are substituted rather than bound.
  void set_range(int var, Interval range) { ranges_[var] = range; }

 private:
  static constexpr int kHere = 1 << 20;  // depth of temporaries: never hoisted
  struct Binding {
    llvm::Value* value = nullptr;
    int64_t add = 0;
    int depth = 0;
  };
  struct Scope {
    llvm::Instruction* prologue_end = nullptr;
    int outer_floor = 0;
    std::map<std::string, llvm::Value*> values;
  };

  const Binding& binding(int var) const;
  int depth(const Expr& expr) const;
  int depth(const Binding& bound) const { return std::max(bound.depth, floor_); }
  std::string key(const Expr& expr) const;
  llvm::Value* emit_node(const Expr& expr);
  llvm::Value* emit_division(const Expr& expr);
  llvm::Value* offset_at_depth(const Linear& offset, const std::vector<Expr>& rest, int depth);

  llvm::IRBuilder<>& builder_;
  int num_vars_;
  std::vector<Binding> bindings_;
  std::vector<Binding> temporaries_;
  std::vector<Interval> ranges_;
  std::vector<Scope> scopes_;
  int floor_ = 0;  // scopes outside of this one receive nothing
};

}  // namespace corf::codegen
