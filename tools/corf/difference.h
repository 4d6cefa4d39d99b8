#pragma once
#include <corf/corf.hpp>
#include <string>

namespace corf::command {

/// Empty if `actual` has the type and shape of `expected` and each element is within
/// `absolute + relative * |expected|` (NaN equal to NaN); else what differs.
std::string difference(const Array& actual, const Array& expected, double relative,
                       double absolute);

}  // namespace corf::command
