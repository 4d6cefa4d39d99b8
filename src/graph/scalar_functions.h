#pragma once
#include "graph/scalar.h"

/// Functions of one number written in scalar operations, so that every digit of the result is worth
/// something over the whole range. `Body` is a ScalarBody or what else has its apply() and
/// constant(); x is a node of the given float type.
namespace corf::graph {

/// log(1 + e) for e in [0, 1], where 1 + e would lose e's digits: 2 artanh(s), s = e / (2 + e), as
/// the series 2 s (1 + s^2 / 3 + s^4 / 5 + ...). s is at most 1/3.
template <typename Body>
int log_of_one_plus(Body& body, int e, DType dtype) {
  // The first term left out is below 2^-31, or 2^-54, of the sum.
  const int terms = dtype == DType::kF64 ? 16 : 9;
  const int ratio =
      body.apply(ScalarOp::kDiv, e, body.apply(ScalarOp::kAdd, e, body.constant(2, dtype)));
  const int square = body.apply(ScalarOp::kMul, ratio, ratio);
  int sum = body.constant(2.0 / (2 * terms - 1), dtype);
  for (int term = terms - 2; term >= 0; --term) {
    sum = body.apply(ScalarOp::kAdd, body.apply(ScalarOp::kMul, sum, square),
                     body.constant(2.0 / (2 * term + 1), dtype));
  }
  return body.apply(ScalarOp::kMul, ratio, sum);
}

/// exp(-|x|), which does not overflow.
template <typename Body>
int exp_of_minus_abs(Body& body, int x, DType dtype) {
  const int magnitude = body.apply(ScalarOp::kAbs, x);
  return body.apply(ScalarOp::kExp,
                    body.apply(ScalarOp::kMul, magnitude, body.constant(-1, dtype)));
}

/// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)).
template <typename Body>
int softplus(Body& body, int x, DType dtype) {
  const int tail = log_of_one_plus(body, exp_of_minus_abs(body, x, dtype), dtype);
  return body.apply(ScalarOp::kAdd, body.apply(ScalarOp::kMax, x, body.constant(0, dtype)), tail);
}

/// exp(x) - 1 for x <= 0, where the power would round off x's digits: 2 t / (1 - t), t = tanh(x /
/// 2).
template <typename Body>
int exp_minus_one(Body& body, int x, DType dtype) {
  const int half = body.apply(ScalarOp::kMul, x, body.constant(0.5, dtype));
  const int t = body.apply(ScalarOp::kTanh, half);
  const int rest = body.apply(ScalarOp::kSub, body.constant(1, dtype), t);
  return body.apply(ScalarOp::kDiv, body.apply(ScalarOp::kAdd, t, t), rest);
}

}  // namespace corf::graph
