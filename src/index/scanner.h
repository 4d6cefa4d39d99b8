#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/expr.h"
#include "support/result.h"

namespace corf::index {

/// In double quotes, with backslashes before quotes and backslashes, and each byte of what
/// `printable` escapes as \\xHH: what Scanner::quoted reads.
std::string quoted(std::string_view text);

/// Reads tokens of the stages' texts. The first fault is kept, with its place, and ends the text:
/// afterwards every read gives a default, so that a parser need only look at `failed()` where it
/// loops and at its end.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool at_end();
  /// Skips `token` if it comes next. A word matches only as a whole.
  bool accept(std::string_view token);
  void expect(std::string_view token);
  /// Whether `token` comes next.
  bool at(std::string_view token);
  /// Whether an identifier or a quoted name comes next.
  bool at_name();
  bool at_quote();
  /// An identifier, or any text in quotes. `what` is for the error message.
  std::string name(std::string_view what);
  std::string quoted(std::string_view what);
  /// T: int, int64_t or uint64_t; float or double. A number that T cannot hold is a fault.
  template <typename T = int64_t>
  T integer(std::string_view what);
  template <typename T = double>
  T number(std::string_view what);
  /// The characters of a number, unconverted.
  std::string_view number_text(std::string_view what);
  template <typename T = double>
  T to_number(std::string_view digits);
  template <typename T = int64_t>
  T to_integer(std::string_view digits);
  /// As many bytes as `bytes` holds, each in two hexadecimal digits, without spaces.
  void hex_bytes(std::span<std::byte> bytes);
  /// "1x3x4" or "scalar".
  std::vector<int64_t> shape();
  Expr expr(const std::function<std::optional<int>(std::string_view)>& variable);

  void fail(std::string_view message);
  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }

 private:
  void skip_space();

  std::string_view text_;
  size_t position_ = 0;
  size_t token_start_ = 0;
  std::optional<Error> error_;
};

}  // namespace corf::index
