#pragma once
#include <string>
#include <vector>

#include "onnx/node_import.h"

namespace corf::onnx {

/// 1 / sqrt(x + epsilon)
ValueId inverse_root(NodeImport& node, std::string name, ValueId x, double epsilon);

struct Normalized {
  ValueId value;
  ValueId mean;  // -1 where none is taken away
  ValueId variance;
  ValueId inverse_deviation;
};
/// (x - mean) / sqrt(variance + epsilon) over `axes`; `name` is that of the result.
Normalized normalize(NodeImport& node, std::string name, ValueId x, const std::vector<int>& axes,
                     double epsilon);
/// x / sqrt(mean of squares + epsilon) over `axes`.
Normalized normalize_by_root(NodeImport& node, std::string name, ValueId x,
                             const std::vector<int>& axes, double epsilon);

/// normalized * scale + shift in the type of `normalized`, rounded once, to `dtype`; `shift` may be
/// -1 for none.
ValueId affine(NodeImport& node, std::string name, ValueId normalized, ValueId scale, ValueId shift,
               DType dtype);

}  // namespace corf::onnx
