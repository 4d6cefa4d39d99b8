#pragma once
#include <exception>
#include <new>
#include <string>

#include "corf/corf.h"
#include "support/result.h"

struct corf_error {
  corf_code code = CORF_INTERNAL;
  std::string message;
};

namespace corf::session {

/// The error as the C interface hands it out; never null, never throws.
corf_error* to_c(const Error& error) noexcept;
corf_error* out_of_memory() noexcept;

template <typename... Args>
corf_error* fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return to_c(make_error(code, format, std::forward<Args>(args)...));
}

/// Runs `body`, which returns a Status, and turns its error, or what the standard library throws,
/// into a C error; null on success.
template <typename Body>
corf_error* guarded(Body&& body) noexcept {
  try {
    Status status = body();
    return status.ok() ? nullptr : to_c(status.error());
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::exception& exception) {
    try {
      return fail(ErrorCode::kInternal, "unexpected exception: {}", exception.what());
    } catch (...) {
      return out_of_memory();
    }
  } catch (...) {
    return to_c({ErrorCode::kInternal, "unexpected exception"});
  }
}

}  // namespace corf::session
