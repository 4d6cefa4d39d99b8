#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "driver/compile.h"

namespace corf::driver {

/// A part of a model that shows a fault by itself.
struct Reproduction {
  std::string model;                                            // bytes of a ModelProto
  std::vector<std::pair<std::string, Tensor>> inputs, outputs;  // outputs: what they should be
  size_t num_nodes = 0;
};

/// The smallest part of the model, as far as leaving nodes away one at a time leads, of which an
/// output is off against the float64 reference; nullopt if the model's are all right. The first
/// node that is off is looked for by bisection; values from outside of the part are the
/// reference's. Compiles parts many times. Errors: as compare; kUnsupported for values that cannot
/// stand in a file. Test: ReduceTest of tests/command/command_test.py
Result<std::optional<Reproduction>> reduce(const onnx::Model& model,
                                           const std::vector<Tensor>& inputs,
                                           const CompileOptions& options);

}  // namespace corf::driver
