#pragma once
#include <string>
#include <string_view>

namespace corf::command {

/// What messages about different models have in common: "Cast: a cast to float8e5m2 is not
/// supported" of "'a.onnx': node 'c' (Cast, opset 21, inputs f32 3x5): a cast to ...". Names are
/// left out and numbers are "N"; of several nodes the first counts.
std::string reason_of(std::string_view message);

}  // namespace corf::command
