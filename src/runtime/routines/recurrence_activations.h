#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "runtime/routines/recurrence_cells.h"
#include "support/result.h"

namespace corf::runtime {

/// As ONNX compares names of activations.
bool same_but_for_case(std::string_view a, std::string_view b);

/// `names`: joined by commas, as a list of strings has no attribute type of its own. Values of
/// activation_alpha and activation_beta go to the functions that take one, in order.
/// Errors: kInvalidModel for an unknown name, or another number than `count` of them.
Result<std::vector<Activation>> parse_activations(const std::string& names, size_t count,
                                                  const std::vector<double>& alphas,
                                                  const std::vector<double>& betas);

}  // namespace corf::runtime
