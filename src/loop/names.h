#pragma once
#include <optional>
#include <string_view>

#include "loop/program.h"

namespace corf::loop {

/// Letters, digits and underscores, not starting with a digit: what prints without quotes.
bool is_identifier(std::string_view name);

/// "sum", "product", "min", "max".
std::string_view to_string(Reduction reduction);
std::optional<Reduction> parse_reduction(std::string_view text);

}  // namespace corf::loop
