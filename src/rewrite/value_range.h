#pragma once
#include <span>
#include <vector>

#include "graph/graph.h"

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

/// What is known of a value before it is computed. Infinities and NaN may always be among its
/// elements: what arithmetic makes of those is the same in whatever order factors are multiplied.
struct ValueRange {
  double low = 0, high = 0;  // of its finite elements
  double least = 0;          // none but zero is smaller than this in magnitude
  /// Each comes with an error of a rounding of its own size, or is zero: a sum of floats along
  /// axes, a product of values, an elementary function, and what is made of those. Where an error
  /// of that size is added, it stays one of a few roundings.
  bool is_rounded = false;
  bool is_constant = false;

  double most() const;  // the largest magnitude
};

/// All finite numbers of a type, whatever it is.
ValueRange whole_range(DType dtype);
/// Of the nodes of a body, from its operands' (whole ranges if there are none).
std::vector<ValueRange> ranges_of(const graph::ScalarBody& body,
                                  const std::vector<ValueRange>& operands);
/// Of the last node, from those before it, ahead of its rounding: it may reach beyond the type.
ValueRange unrounded_range(std::span<const graph::ScalarNode> nodes,
                           std::span<const ValueRange> before,
                           const std::vector<ValueRange>& operands);
/// Without what the type cannot hold.
ValueRange within_type(ValueRange range, DType dtype);

/// Of the values of a graph that grows at its end.
/// Test: tests/rewrite/value_range_test.cpp
class ValueRanges {
 public:
  const ValueRange& of(const graph::Graph& graph, graph::ValueId value);
  /// Of the operands that a node would read.
  std::vector<ValueRange> of_operands(const graph::Graph& graph, const graph::Compute& compute,
                                      const std::vector<graph::ValueId>& inputs);

 private:
  std::vector<ValueRange> known_;
};

}  // namespace corf::rewrite
