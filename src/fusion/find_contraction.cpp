#include <algorithm>

#include "fusion/nest.h"
#include "graph/dot_products.h"

namespace corf::fusion {
namespace {

/// Operation that adds a loaded value to the sum and is all that reads it, or -1.
int addition_to_sum(const Nest& nest) {
  auto reduces = [&](const Expr& expr) {
    if (is_gathered(expr)) return true;
    for (size_t axis = 0; axis < nest.axes.size(); ++axis) {
      if (nest.axes[axis].reduction && index::depends_on(expr, static_cast<int>(axis))) return true;
    }
    return false;
  };
  auto is_loaded_once = [&](const NestOp& op) {
    if (op.kind != NestOp::Kind::kLoad) return false;
    const Access& access = nest.loads[op.access];
    return !reduces(access.address) &&
           std::none_of(access.guards.begin(), access.guards.end(),
                        [&](const Access::Guard& guard) { return reduces(guard.expr); });
  };
  int addition = -1;
  for (int number = 0; number < static_cast<int>(nest.ops.size()); ++number) {
    const NestOp& op = nest.ops[number];
    if (std::count(op.args.begin(), op.args.end(), nest.reduce_op) == 0) continue;
    if (addition >= 0 || op.kind != NestOp::Kind::kApply || op.op != graph::ScalarOp::kAdd) {
      return -1;
    }
    const NestOp& other = nest.ops[op.args[op.args[0] == nest.reduce_op ? 1 : 0]];
    if (!is_loaded_once(other) || other.dtype != op.dtype) return -1;
    if (!is_float(op.dtype) && op.dtype != DType::kI32) return -1;
    addition = number;
  }
  for (const Nest::Store& store : nest.stores) {
    if (store.op == nest.reduce_op) return -1;
  }
  return addition;
}

/// A factor of a product, which may be widened on its way.
const NestOp& factor_load(const Nest& nest, int factor) {
  const NestOp& op = nest.ops[factor];
  if (op.kind != NestOp::Kind::kApply || op.op != graph::ScalarOp::kCast) return op;
  const NestOp& source = nest.ops[op.args[0]];
  const bool is_load = source.kind == NestOp::Kind::kLoad;
  return is_load && graph::is_narrow_factor(source.dtype) ? source : op;
}

/// A factor that is taken out of words of several numbers: which of them, an axis tells.
struct Digits {
  int words = -1;  // load
  int axis = -1;
  bool is_legal = true;
};

void collect_digits(const Nest& nest, int number, Digits& digits) {
  const NestOp& op = nest.ops[number];
  switch (op.kind) {
    case NestOp::Kind::kLoad: {
      if (op.dtype != DType::kI32) return;  // a scale or zero point
      digits.is_legal = digits.is_legal && (digits.words < 0 || digits.words == op.access);
      digits.words = op.access;
      return;
    }
    case NestOp::Kind::kIndex: {
      const bool is_axis = op.index.kind() == index::ExprKind::kVariable &&
                           op.index.variable_id() < static_cast<int>(nest.axes.size());
      const int axis = is_axis ? op.index.variable_id() : -1;
      digits.is_legal = digits.is_legal && is_axis && nest.axes[axis].reduction &&
                        (digits.axis < 0 || digits.axis == axis);
      digits.axis = axis;
      return;
    }
    case NestOp::Kind::kReduce:
      digits.is_legal = false;
      return;
    default:
      for (const int arg : op.args) collect_digits(nest, arg, digits);
  }
}

/// nullopt where the factor is none. What else it is made of does not depend on the axis.
std::optional<Digits> find_digits(const Nest& nest, int factor) {
  if (nest.ops[factor].kind != NestOp::Kind::kApply) return std::nullopt;
  Digits digits;
  collect_digits(nest, factor, digits);
  if (!digits.is_legal || digits.words < 0 || digits.axis < 0) return std::nullopt;
  return digits;
}

}  // namespace

std::optional<Contraction> find_contraction(const Nest& nest) {
  if (nest.reduce_op < 0 || nest.combiner != graph::Combiner::kSum) return std::nullopt;
  const NestOp& product = nest.ops[nest.ops[nest.reduce_op].args[0]];
  if (product.kind != NestOp::Kind::kApply || product.op != graph::ScalarOp::kMul) {
    return std::nullopt;
  }
  const NestOp &lhs = factor_load(nest, product.args[0]), &rhs = factor_load(nest, product.args[1]);
  if (lhs.kind != NestOp::Kind::kLoad) return std::nullopt;
  if (rhs.kind == NestOp::Kind::kLoad) {
    return Contraction{{lhs.access, rhs.access}, -1, addition_to_sum(nest)};
  }
  const auto digits = find_digits(nest, product.args[1]);
  if (!digits) return std::nullopt;
  return Contraction{{lhs.access, digits->words}, digits->axis, addition_to_sum(nest)};
}

}  // namespace corf::fusion
