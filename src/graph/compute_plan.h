#pragma once
#include <optional>
#include <vector>

#include "graph/graph.h"

namespace corf::graph {

/// A coordinate that is affine in the axes but may leave the operand.
struct CheckedCoordinate {
  std::vector<int64_t> coefficients;  // by plan axis
  int64_t constant = 0;
  int64_t extent = 0;
};

/// A coordinate that must be evaluated as an expression of the operator's own variables.
struct GeneralCoordinate {
  index::Expr expr;
  int64_t extent = 0;
  int64_t stride = 0;
};

/// An operand as strides over the plan's axes.
struct PlanOperand {
  Tensor tensor;
  std::vector<int64_t> strides;  // of all affine coordinates together, in elements
  int64_t base = 0;
  std::vector<CheckedCoordinate> checked;
  std::vector<GeneralCoordinate> general;
  double padding = 0;
  bool is_index = false;  // another operand's coordinates use what it holds
  /// Whether it changes along each plan axis.
  std::vector<bool> varies;
};

struct PlanAxis {
  int64_t extent = 1;
  bool reduction = false;
  int64_t out_stride = 0;
  int axis = 0;  // the operator's axis; of merged ones the innermost
};

/// How the reference walks over a compute operator: axes of extent 1 are dropped, neighbours that
/// all operands step through alike are merged.
struct ComputePlan {
  std::vector<PlanAxis> axes;
  std::vector<PlanOperand> operands;
  int num_axes = 0;  // of the operator: the numbering of variables in general coordinates
  bool has_points = true;
};

ComputePlan plan_compute(const Compute& compute, const std::vector<Tensor>& inputs,
                         const Shape& output);

/// The first and one past the last of `count` steps along a line of a checked coordinate's values
/// first, first + step, ... that lie inside of [0, extent), intersected with [begin, end).
void clip_line(int64_t first, int64_t step, int64_t extent, int64_t& begin, int64_t& end);

/// Steps `at` to the next point of the listed axes, the last fastest; false after the last.
bool next_point(const ComputePlan& plan, const std::vector<int>& axes, std::vector<int64_t>& at);

}  // namespace corf::graph
