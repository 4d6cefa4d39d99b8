#pragma once
#include <string_view>

#include "index/scanner.h"
#include "loop/program.h"

namespace corf::loop {

/// A kernel after its keyword. `text` is the whole text, whose numbered registers keep their
/// numbers (named ones are numbered above them). Faults are left in the scanner.
Kernel parse_kernel(index::Scanner& scanner, std::string_view text);

/// "f32"
DType parse_element_type(index::Scanner& scanner);
/// "f32[100]"
void parse_memory_type(index::Scanner& scanner, DType& dtype, int64_t& size_elems);

}  // namespace corf::loop
