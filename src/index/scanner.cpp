#include "index/scanner.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fmt/format.h>

#include "support/printable.h"

namespace corf::index {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (size_t i = 0, size = 0; i < text.size(); i += size) {
    const bool escaped = is_escaped(text, i, size);
    if (text[i] == '"' || text[i] == '\\') out += '\\';
    for (const char c : text.substr(i, size)) {
      if (escaped) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      } else {
        out += c;
      }
    }
  }
  return out + '"';
}

void Scanner::skip_space() {
  while (position_ < text_.size()) {
    if (std::isspace(static_cast<unsigned char>(text_[position_]))) {
      ++position_;
    } else if (text_[position_] == '#') {
      position_ = std::min(text_.find('\n', position_), text_.size());
    } else {
      break;
    }
  }
  token_start_ = position_;
}

void Scanner::fail(std::string_view message) {
  if (failed()) return;
  const std::string_view before = text_.substr(0, std::min(token_start_, text_.size()));
  const int64_t line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  error_ = make_error(ErrorCode::kInvalidArgument, "line {}, column {}: {}", line,
                      before.size() - line_start + 1, message);
  position_ = text_.size();
}

bool Scanner::at_end() {
  skip_space();
  return position_ == text_.size();
}

bool Scanner::at(std::string_view token) {
  skip_space();
  if (text_.substr(position_, token.size()) != token) return false;
  const size_t end = position_ + token.size();
  return !is_word(token.back()) || end == text_.size() || !is_word(text_[end]);
}

bool Scanner::accept(std::string_view token) {
  if (!at(token)) return false;
  position_ += token.size();
  return true;
}

void Scanner::expect(std::string_view token) {
  if (failed() || accept(token)) return;
  fail(fmt::format("expected '{}'", token));
}

bool Scanner::at_name() {
  if (at_end()) return false;
  const char c = text_[position_];
  return c == '"' || (is_word(c) && !is_digit(c));
}

bool Scanner::at_quote() { return !at_end() && text_[position_] == '"'; }

std::string Scanner::name(std::string_view what) {
  if (!at_name()) {
    fail(fmt::format("expected {}", what));
    return "";
  }
  if (text_[position_] == '"') return quoted(what);
  const size_t start = position_;
  while (position_ < text_.size() && is_word(text_[position_])) ++position_;
  return std::string(text_.substr(start, position_ - start));
}

std::string Scanner::quoted(std::string_view what) {
  if (at_end() || text_[position_] != '"') {
    fail(fmt::format("expected {} in quotes", what));
    return "";
  }
  std::string out;
  for (size_t i = position_ + 1; i < text_.size(); ++i) {
    if (text_[i] == '"') {
      position_ = i + 1;
      return out;
    }
    if (text_[i] != '\\') {
      out += text_[i];
    } else if (i + 3 < text_.size() && text_[i + 1] == 'x') {
      const int high = hex_digit(text_[i + 2]), low = hex_digit(text_[i + 3]);
      if (high < 0 || low < 0) break;
      out += static_cast<char>(16 * high + low);
      i += 3;
    } else if (i + 1 < text_.size()) {
      out += text_[++i];
    }
  }
  fail("unterminated or malformed text in quotes");
  return "";
}

template <typename T>
T Scanner::integer(std::string_view what) {
  skip_space();
  T value = 0;
  const char* end = text_.data() + text_.size();
  const auto [stop, status] = std::from_chars(text_.data() + position_, end, value);
  if (status == std::errc::result_out_of_range) {
    fail(fmt::format("{} is too large", what));
  } else if (status != std::errc()) {
    fail(fmt::format("expected {} (an integer)", what));
  } else {
    position_ = stop - text_.data();
  }
  return failed() ? 0 : value;
}

std::string_view Scanner::number_text(std::string_view what) {
  skip_space();
  const size_t start = position_;
  if (position_ < text_.size() && text_[position_] == '-') ++position_;
  while (position_ < text_.size()) {
    const char c = text_[position_], before = position_ > start ? text_[position_ - 1] : ' ';
    const bool exponent_sign = (c == '-' || c == '+') && before == 'e';
    if (!is_word(c) && c != '.' && !exponent_sign) break;
    ++position_;
  }
  if (position_ == start) fail(fmt::format("expected {} (a number)", what));
  return failed() ? "0" : text_.substr(start, position_ - start);
}

template <typename T>
T Scanner::to_number(std::string_view digits) {
  T value = 0;
  const auto [stop, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (status == std::errc::invalid_argument || stop != digits.data() + digits.size()) {
    fail(fmt::format("'{}' is no number", digits));
    return 0;
  }
  if (status == std::errc::result_out_of_range) fail(fmt::format("'{}' is out of range", digits));
  return value;
}

template <typename T>
T Scanner::to_integer(std::string_view digits) {
  T value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, status] = std::from_chars(digits.data(), end, value);
  if (status != std::errc() || stop != end)
    fail(fmt::format("'{}' is no {}-bit integer", digits, 8 * sizeof(T)));
  return failed() ? 0 : value;
}

template <typename T>
T Scanner::number(std::string_view what) {
  return to_number<T>(number_text(what));
}

template int Scanner::integer<int>(std::string_view);
template int64_t Scanner::integer<int64_t>(std::string_view);
template uint64_t Scanner::integer<uint64_t>(std::string_view);
template int Scanner::to_integer<int>(std::string_view);
template int64_t Scanner::to_integer<int64_t>(std::string_view);
template float Scanner::number<float>(std::string_view);
template double Scanner::number<double>(std::string_view);
template double Scanner::to_number<double>(std::string_view);

void Scanner::hex_bytes(std::span<std::byte> bytes) {
  skip_space();
  if (failed()) return;
  for (std::byte& byte : bytes) {
    const int high = position_ < text_.size() ? hex_digit(text_[position_]) : -1;
    const int low = position_ + 1 < text_.size() ? hex_digit(text_[position_ + 1]) : -1;
    if (high < 0 || low < 0) {
      token_start_ = position_;
      fail("expected two hexadecimal digits");
      return;
    }
    byte = static_cast<std::byte>(16 * high + low);
    position_ += 2;
  }
}

std::vector<int64_t> Scanner::shape() {
  std::vector<int64_t> extents;
  if (accept("scalar")) return extents;
  do {
    extents.push_back(integer("an extent"));
    if (!failed() && extents.back() < 0) fail("an extent is negative");
    if (failed() || position_ == text_.size() || text_[position_] != 'x') break;
    ++position_;
  } while (true);
  return extents;
}

Expr Scanner::expr(const std::function<std::optional<int>(std::string_view)>& variable) {
  skip_space();
  if (failed()) return 0;
  std::string unknown;
  const auto lookup = [&](std::string_view name) {
    std::optional<int> id = variable(name);
    if (!id && unknown.empty()) unknown = name;
    return id;
  };
  std::optional<Expr> parsed = parse_expr(text_, position_, lookup);
  if (parsed) return *parsed;
  fail(unknown.empty() ? "malformed expression" : fmt::format("unknown variable '{}'", unknown));
  return 0;
}

}  // namespace corf::index
