#pragma once
#include <span>

#include "graph/scalar.h"

namespace corf::graph {

/// What is wrong with the element types of a scalar operation on arguments; empty if nothing is.
/// The rule of the graph's bodies and of the loop IR alike.
std::string_view type_fault(ScalarOp op, DType result, std::span<const DType> args);

}  // namespace corf::graph
