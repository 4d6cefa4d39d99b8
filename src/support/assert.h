#pragma once

namespace corf {

/// Prints the broken invariant and aborts. Only for corf's own faults: no input may reach it.
[[noreturn]] void assertion_failed(const char* condition, const char* message, const char* file,
                                   int line);

}  // namespace corf

#define CORF_ASSERT(condition, message)                                  \
  do {                                                                   \
    if (!(condition)) [[unlikely]]                                       \
      ::corf::assertion_failed(#condition, message, __FILE__, __LINE__); \
  } while (false)
