#include "support/printable.h"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>

namespace corf {
namespace {

/// A character and how many bytes it takes; `size_bytes` 0 if they are not UTF-8.
struct Decoded {
  char32_t character = 0;
  size_t size_bytes = 0;
};

Decoded decode(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (size == 0 || first > 0xf4 || text.size() < size) return {};
  auto character = static_cast<char32_t>(first & (0xff >> (size + 1)));
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    character = character << 6 | (byte(i) & 0x3f);
  }
  // Longer than needed, half of a UTF-16 pair, or beyond the last character.
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = character >= 0xd800 && character <= 0xdfff;
  if (character < kLeast[size] || is_surrogate || character > 0x10ffff) return {};
  return {character, size};
}

struct Range {
  char32_t first, last;
};
/// Control characters, marks that turn the direction of writing, line separators, and characters
/// that nobody sees.
constexpr Range kHarmful[] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0x61c, 0x61c},
                              {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069},
                              {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};

bool is_harmful(char32_t character) {
  return std::any_of(std::begin(kHarmful), std::end(kHarmful), [&](const Range& range) {
    return character >= range.first && character <= range.last;
  });
}

std::string escape(std::string_view bytes) {
  if (bytes == "\n") return "\\n";
  if (bytes == "\t") return "\\t";
  if (bytes == "\r") return "\\r";
  if (bytes.size() == 1) return fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[0]));
  return fmt::format("\\u{:04x}", static_cast<uint32_t>(decode(bytes).character));
}

template <typename Stays>
std::string escape_all_but(std::string_view text, Stays stays) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0, size = 0; i < text.size(); i += size) {
    const bool escaped = is_escaped(text, i, size) && !stays(text.substr(i));
    const std::string_view character = text.substr(i, size);
    if (escaped) {
      out += escape(character);
    } else {
      out += character;
    }
  }
  return out;
}

}  // namespace

bool is_escaped(std::string_view text, size_t position, size_t& size_bytes) {
  const Decoded decoded = decode(text.substr(position));
  size_bytes = std::max<size_t>(decoded.size_bytes, 1);
  return decoded.size_bytes == 0 || is_harmful(decoded.character);
}

std::string printable(std::string_view text) {
  return escape_all_but(text, [](std::string_view) { return false; });
}

std::string printable_lines(std::string_view text) {
  return escape_all_but(text, [](std::string_view rest) { return rest.starts_with("\n  "); });
}

std::string shortened(std::string text, size_t most_bytes) {
  if (text.size() <= most_bytes) return text;
  const auto begins_character = [&](size_t i) {
    return (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80;
  };
  // Most of it from the beginning, where a message says what it is about.
  size_t head = most_bytes / 4 * 3, tail = text.size() - most_bytes / 4;
  while (head > 0 && !begins_character(head)) --head;
  while (tail < text.size() && !begins_character(tail)) ++tail;
  return fmt::format("{} [{} bytes left out] {}", std::string_view(text).substr(0, head),
                     tail - head, std::string_view(text).substr(tail));
}

}  // namespace corf
