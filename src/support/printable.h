#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace corf {

/// `text` as a terminal, a log or a page may show it: one line of valid UTF-8 that can neither move
/// the cursor nor turn the direction of what follows. What could is written as an escape: \n for a
/// line break, \x1b for a byte, \u202e for a character.
std::string printable(std::string_view text);

/// printable for a text of several lines: a line break stays where two blanks follow it, so that no
/// name within the text can begin a line of its own.
std::string printable_lines(std::string_view text);

/// Whether printable would write these bytes of `text`, from `position` on, as an escape;
/// `size_bytes` is set to how many of them make up one character (1 for a byte that is not UTF-8).
bool is_escaped(std::string_view text, size_t position, size_t& size_bytes);

/// Valid UTF-8 of more than `most_bytes`: its beginning and its end, and how much is left out
/// between them.
std::string shortened(std::string text, size_t most_bytes);

}  // namespace corf
