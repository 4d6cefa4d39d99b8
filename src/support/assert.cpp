#include "support/assert.h"

#include <cstdio>
#include <cstdlib>

namespace corf {

void assertion_failed(const char* condition, const char* message, const char* file, int line) {
  std::fprintf(stderr, "corf: internal error: %s (%s) at %s:%d. Please report this.\n", message,
               condition, file, line);
  std::abort();
}

}  // namespace corf
