#pragma once
#include <optional>

#include "rewrite/demand.h"
#include "rewrite/value_range.h"

/// What rewrites may do to numbers: one rule, from which each of them has its licence.
///
/// The measure is the model computed operator by operator, every result rounded to its type: what a
/// rewritten graph gives is nowhere further from the exact result than twice the error of that, and
/// a few roundings of the result itself. A rewrite that gives the same bits is free. Any other one
/// has to show that
///  1. it rounds nothing large that the model does not: no term appears which can be larger than
///     those that the model adds up, for what they leave when they cancel is the error of the
///     largest. (x + a) * c therefore does not become x * c + a c, nor (x + a) + b x + (a + b),
///     unless the signs or the digits show that nothing is lost. Where x comes with a rounding of
///     its own size (ValueRange::is_rounded), an error of that size is there already.
///  2. nothing over- or underflows on the way that does not in the model, unless the result does.
///     What overflows in the model may come out right, but only near the end of the range
///     (far_from_end): 1e-30 and 1e30 are not 1, a guard before a square stays before it.
///  3. nothing that follows tells neighbouring numbers apart (Demand::digits): where Floor, a
///     comparison or a conversion to integers follows, a division stays a division. So it does
///     where few quotients are taken from many numbers (Demand::spread_over), which may be equal.
///  4. infinities and NaN come out as they do in the model; a zero's sign, where it is asked for
///     (Demand::sign_of_zero).
/// Sums of floats along axes have no order, and elementary functions no last digit, that a model
/// could rely on: constant factors may go into the weights of a sum of products (which hides what
/// overflows in the sum alone), several products of one element by constants may be one by their
/// sum (merge_branches.h), x / (1 + exp(-y)) may be x sigmoid(y).
/// Winograd's method stands outside: its errors are bounded by the largest element of a tile
/// (winograd_error_bound), and an infinity makes all results of its tile NaN.
namespace corf::rewrite {

/// The factor by which a value may come nearer to the end of its type's range than in the model:
/// 2^32 in float32, 2^4 in float16.
double far_from_end(DType dtype);

/// c1 c2 for x * c1 * c2.
std::optional<double> merged_factor(double c1, double c2, DType dtype, const Demand& demand);
/// c1 + c2 for x + c1 + c2.
std::optional<double> merged_addend(const ValueRange& x, double c1, double c2, DType dtype,
                                    const Demand& demand);
/// 1 / c for x / c.
std::optional<double> inverse_factor(double c, DType dtype, const Demand& demand);
/// Whether (p + d) * c may become p * c + d c.
bool may_distribute(const ValueRange& p, double d, double c, DType dtype, const Demand& demand);
/// Whether p * c + d may become (p + d / c) * c.
bool may_shift_first(double c, double d, DType dtype, const Demand& demand);

}  // namespace corf::rewrite
