#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "index/expr.h"
#include "support/budget.h"

namespace corf::onnx {

/// How Resize finds and weighs the elements of one dimension. Words as in ONNX's Resize.
struct Resampling {
  enum class Kernel { kNearest, kLinear, kCubic };
  Kernel kernel = Kernel::kNearest;
  std::string transform;  // coordinate_transformation_mode
  std::string rounding;   // nearest_mode
  double cubic_a = -0.75;
  bool exclude_outside = false;
  bool antialias = false;
};

struct ResampledAxis {
  int64_t input = 1;  // extents
  int64_t output = 1;
  double scale = 1;  // output / input before rounding
  double roi_begin = 0;
  double roi_end = 1;
};

/// For each output position the input elements that it is made of, and their weights.
struct AxisTaps {
  int64_t num_taps = 1;
  std::vector<int64_t> indices;  // [output, num_taps], inside of the input
  std::vector<double> weights;   // [output, num_taps]
  std::vector<bool> outside;     // positions that are to show the extrapolation value
  bool is_identity = false;
  /// The index as arithmetic on position and tap, where that gives `indices`; else empty.
  std::function<std::optional<index::Expr>(const index::Expr&, const index::Expr&)> coordinate;
  std::shared_ptr<const HeldBytes> held;  // for what is above
};

AxisTaps find_taps(const Resampling& how, const ResampledAxis& axis);

}  // namespace corf::onnx
