#pragma once
#include <string>
#include <string_view>

#include "loop/program.h"
#include "support/result.h"

namespace corf::loop {

/// The program (or a kernel) as text; constants' data print as a hash.
std::string to_string(const Program& program);
std::string to_string(const Kernel& kernel);
/// What to_string printed; constant data is zero-filled. kInvalidArgument with line and column.
Result<Program> parse_program(std::string_view text);
Result<Kernel> parse_kernel(std::string_view text);

/// kInternal naming kernel and statement: registers defined before use and within their scope,
/// axes bound once, dtypes agree, buffers of calls match the kernels', constant-range addresses
/// inside of the buffers where bounds can tell.
Status verify(const Program& program);

}  // namespace corf::loop
