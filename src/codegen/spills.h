#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace corf::codegen {

/// Instructions of one function that move vector registers to the stack and back, for want of
/// registers.
struct Spills {
  std::string function;
  int64_t stores = 0;
  int64_t loads = 0;               // those that are another instruction's operand too
  int64_t in_innermost_loops = 0;  // of both

  int64_t all() const { return stores + loads; }
};

/// Counts them in an assembly text as EmitOptions gives it, function by function.
std::vector<Spills> count_spills(std::string_view assembly);

}  // namespace corf::codegen
