#include "support/log.h"

#include <spdlog/sinks/stdout_sinks.h>

namespace corf {

spdlog::logger& log() {
  static spdlog::logger logger("corf", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  return logger;
}

}  // namespace corf
