#pragma once
#include "graph/scalar.h"

namespace corf::rewrite {

/// How a float type rounds and where its range ends.
struct FloatFormat {
  int digits = 24;             // binary, the leading one included
  double smallest = 0x1p-126;  // normal number
  double largest = 0;
  double unit() const;  // the smallest denormal number
};
FloatFormat float_format(DType dtype);
/// The nearest number of the type.
double rounded(double value, DType dtype);
/// +-2^k: a factor that changes no digits.
bool is_power_of_two(double value);

/// What is known of a scalar before it is computed. Infinities and NaN may always be among its
/// values: what arithmetic makes of those is the same in whatever order factors are multiplied.
struct ValueRange {
  double low = 0, high = 0;  // of its finite values
  double least = 0;          // no value but zero is smaller than this in magnitude

  double most() const;  // the largest magnitude
};

/// Of all finite numbers of a type, whatever it is.
ValueRange whole_range(DType dtype);
/// The node's values, from its arguments' (null where it has none), before they are rounded: they
/// may reach beyond the type. The unknown is the whole range. `is_square`: a product of two
/// arguments of one sign.
/// Test: tests/rewrite/value_range_test.cpp
ValueRange range_of(const graph::ScalarNode& node, const ValueRange* a, const ValueRange* b,
                    const ValueRange* c, bool is_square);
/// Without what the type cannot hold.
ValueRange within_type(ValueRange range, DType dtype);

}  // namespace corf::rewrite
