#pragma once
#include <fmt/format.h>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace corf {

enum class ErrorCode {
  kInvalidModel,     // the file is not a model that the ONNX specification allows
  kUnsupported,      // a valid model that corf cannot compile
  kInvalidArgument,  // a wrong name, shape or element type handed in by the caller
  kIo,               // a file cannot be read or written
  kOutOfMemory,
  kOverLimit,  // of what the work before a run may take (support/budget.h)
  kCancelled,
  kInternal,
};

/// What went wrong, in words that the user can act upon: names the node, the shapes, the remedy.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <typename... Args>
Error make_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

/// A value or an Error. `Status` is the Result of a function that has no value.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  T& operator*() { return std::get<T>(state_); }
  const T& operator*() const { return std::get<T>(state_); }
  T* operator->() { return &std::get<T>(state_); }
  const T* operator->() const { return &std::get<T>(state_); }
  T&& take() { return std::move(std::get<T>(state_)); }
  const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

#define CORF_CONCAT_INNER(a, b) a##b
#define CORF_CONCAT(a, b) CORF_CONCAT_INNER(a, b)

/// Returns the error of `expression` (a Result or Status) from the enclosing function, if any.
#define CORF_RETURN_IF_ERROR(expression)                                                \
  do {                                                                                  \
    if (auto corf_status = (expression); !corf_status.ok()) return corf_status.error(); \
  } while (false)

/// `CORF_ASSIGN(auto x, f());`: x is f's value, or the enclosing function returns f's error.
#define CORF_ASSIGN(declaration, expression)               \
  auto CORF_CONCAT(corf_result_, __LINE__) = (expression); \
  if (!CORF_CONCAT(corf_result_, __LINE__).ok())           \
    return CORF_CONCAT(corf_result_, __LINE__).error();    \
  declaration = CORF_CONCAT(corf_result_, __LINE__).take()

}  // namespace corf
