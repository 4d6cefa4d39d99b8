#pragma once
#include <corf/corf.hpp>
#include <string>

namespace corf::command {

bool is_float(corf_dtype dtype);

/// An element of a float type.
double float_element(const Array& array, size_t i);

/// All elements, separated by commas, as the option "constant" takes them.
std::string elements_text(const Array& array);

}  // namespace corf::command
