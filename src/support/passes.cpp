#include "support/passes.h"

#include <filesystem>
#include <fmt/format.h>

#include "support/log.h"
#include "support/write_file.h"

namespace corf {

void log_pass(std::string_view list, std::string_view pass, std::chrono::nanoseconds elapsed) {
  const std::chrono::duration<double, std::milli> elapsed_ms = elapsed;
  log().info("{:9.3f} ms  {}.{}", elapsed_ms.count(), list, pass);
}

Status dump_pass(const std::string& dump_dir, std::string_view list, size_t number,
                 std::string_view pass, const std::string& text) {
  const auto path =
      std::filesystem::path(dump_dir) / fmt::format("{}_{:02}_{}.txt", list, number, pass);
  return write_file_and_folder(path.string(), text);
}

}  // namespace corf
