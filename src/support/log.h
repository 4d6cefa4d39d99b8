#pragma once
#include <spdlog/logger.h>

namespace corf {

/// corf's own log, on stderr, so that stdout stays the caller's and a program's default logger its
/// own.
spdlog::logger& log();

}  // namespace corf
