#pragma once
#include <cstdio>
#include <string>

namespace corf::command {

/// Characters in a line of the terminal that `stream` is; 0 where it is none, or none that says.
int columns_of(std::FILE* stream);

/// The line, broken at spaces to lines of at most `columns` characters, of which those after the
/// first begin with `indent` spaces; as it is with 0 columns. What has no space is left whole.
std::string wrapped(const std::string& line, int columns, int indent);

/// The text's first characters, as many as `columns`, the last of them dots if it is longer.
std::string shortened(const std::string& text, int columns);

}  // namespace corf::command
