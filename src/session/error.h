#pragma once
#include <exception>
#include <initializer_list>
#include <new>
#include <string>
#include <string_view>

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

/// Never null, never throws: without memory for the message, that is the error.
template <typename... Args>
corf_error* fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) noexcept {
  try {
    return to_c(make_error(code, format, std::forward<Args>(args)...));
  } catch (...) {
    return out_of_memory();
  }
}

/// A pointer that a function of the C interface cannot do without, with its name in corf.h.
struct Needed {
  const void* pointer;
  std::string_view name;
};

/// An array of the caller's, which may be null if it has no elements.
inline Needed needed_array(const void* first, size_t count, std::string_view name) {
  static constexpr char kNothing = 0;
  return {count == 0 ? &kNothing : first, name};
}

/// The body of every function of the C interface that can fail: refuses null where a pointer is
/// needed, then runs `body`, which returns a Status, and turns its error, or what the standard
/// library throws, into a C error; null on success.
template <typename Body>
corf_error* guarded(std::initializer_list<Needed> needed, Body&& body) noexcept {
  try {
    for (const Needed& argument : needed) {
      if (argument.pointer != nullptr) continue;
      return fail(ErrorCode::kInvalidArgument, "the argument {} is null", argument.name);
    }
    Status status = body();
    return status.ok() ? nullptr : to_c(status.error());
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::exception& exception) {
    return fail(ErrorCode::kInternal, "unexpected exception: {}", exception.what());
  } catch (...) {
    return fail(ErrorCode::kInternal, "unexpected exception");
  }
}

/// The body of every other function, which answers with a value: `otherwise` if one of the pointers
/// that it needs is null, or something is thrown.
template <typename T, typename Body>
T answered(T otherwise, std::initializer_list<const void*> needed, Body&& body) noexcept {
  for (const void* pointer : needed) {
    if (pointer == nullptr) return otherwise;
  }
  try {
    return body();
  } catch (...) {
    return otherwise;
  }
}

}  // namespace corf::session
