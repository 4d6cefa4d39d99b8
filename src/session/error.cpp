#include "session/error.h"

#include <algorithm>

#include "support/printable.h"

namespace corf::session {
namespace {

/// Of a message. Room for a list of nodes; a single name cannot fill more than `kMostLineBytes`.
constexpr size_t kMostMessageBytes = 256 << 10;
constexpr size_t kMostLineBytes = 4096;

/// Names in messages come from files: here, where all errors pass, they lose their sting.
std::string bounded(const std::string& message) {
  const std::string safe = printable_lines(message);
  std::string text;
  for (size_t begin = 0; begin <= safe.size();) {
    const size_t end = std::min(safe.find('\n', begin), safe.size());
    text += (begin == 0 ? "" : "\n") + shortened(safe.substr(begin, end - begin), kMostLineBytes);
    begin = end + 1;
  }
  return shortened(std::move(text), kMostMessageBytes);
}

// Handed out where not even an error can be allocated; corf_error_free leaves it alone.
corf_error* static_out_of_memory() noexcept {
  static corf_error error{CORF_OUT_OF_MEMORY, "out of memory"};
  return &error;
}

corf_code to_c(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidModel:
      return CORF_INVALID_MODEL;
    case ErrorCode::kUnsupported:
      return CORF_UNSUPPORTED;
    case ErrorCode::kInvalidArgument:
      return CORF_INVALID_ARGUMENT;
    case ErrorCode::kIo:
      return CORF_IO;
    case ErrorCode::kOutOfMemory:
      return CORF_OUT_OF_MEMORY;
    case ErrorCode::kOverLimit:
      return CORF_OVER_LIMIT;
    case ErrorCode::kCancelled:
      return CORF_CANCELLED;
    case ErrorCode::kInternal:
      break;
  }
  return CORF_INTERNAL;
}

}  // namespace

corf_error* out_of_memory() noexcept { return static_out_of_memory(); }

corf_error* to_c(const Error& error) noexcept {
  try {
    return new corf_error{to_c(error.code), bounded(error.message)};
  } catch (...) {
    return static_out_of_memory();
  }
}

}  // namespace corf::session

extern "C" {

corf_code corf_error_code(const corf_error* error) {
  return corf::session::answered(corf_code{}, {error}, [&] { return error->code; });
}
const char* corf_error_message(const corf_error* error) {
  return corf::session::answered("", {error}, [&] { return error->message.c_str(); });
}
void corf_error_free(corf_error* error) {
  if (error != corf::session::out_of_memory()) delete error;
}

}  // extern "C"
