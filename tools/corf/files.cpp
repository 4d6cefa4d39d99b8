#include "files.h"

#include <cstdio>
#include <unistd.h>

#include "support/read_file.h"
#include "support/write_file.h"

namespace corf::command {
namespace {

/// Of a message that the library's own functions for files have made.
[[noreturn]] void throw_io(const Error& error) { throw Exception(CORF_IO, error.message); }

}  // namespace

std::string read_file(const std::string& path, int64_t most_bytes) {
  Result<std::string> content = corf::read_file(path, most_bytes);
  if (!content.ok()) throw_io(content.error());
  return content.take();
}

void write_file(const std::string& path, std::string_view bytes) {
  const Status status = corf::write_file(path, bytes);
  if (!status.ok()) throw_io(status.error());
  leave_standard_output_to(path);
}

void leave_standard_output_to(const std::string& file) {
  if (!is_standard_output(file)) return;
  std::fflush(stdout);
  dup2(STDERR_FILENO, STDOUT_FILENO);
}

}  // namespace corf::command
