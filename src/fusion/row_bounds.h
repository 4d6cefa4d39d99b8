#pragma once
#include <optional>
#include <vector>

#include "fusion/nest.h"

namespace corf::fusion {

/// The least or greatest value of a coordinate when axis `stream` has the value `row` and the other
/// axes take all of theirs; nullopt if it does not grow with the stream, or is gathered.
std::optional<Expr> least_at(const Expr& coordinate, const std::vector<NestAxis>& axes, int stream,
                             const Expr& row);
std::optional<Expr> greatest_at(const Expr& coordinate, const std::vector<NestAxis>& axes,
                                int stream, const Expr& row);

}  // namespace corf::fusion
