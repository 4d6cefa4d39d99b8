#include "terminal.h"

#include <algorithm>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace corf::command {
namespace {

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

/// Bytes of the first `columns` characters (of UTF-8, each taken as one column).
size_t bytes_of(const std::string& text, size_t from, int columns) {
  size_t at = from;
  for (int seen = 0; at < text.size(); ++at) {
    if (starts_character(text[at]) && seen++ == columns) break;
  }
  return at - from;
}

}  // namespace

int columns_of(std::FILE* stream) {
  if (isatty(fileno(stream)) == 0) return 0;
  winsize size{};
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  return columns != nullptr ? std::max(0, std::atoi(columns)) : 0;
}

std::string wrapped(const std::string& line, int columns, int indent) {
  if (columns <= indent) return line;
  std::string text;
  size_t at = 0;
  while (true) {
    const int room = at == 0 ? columns : columns - indent;
    const size_t fits = bytes_of(line, at, room);
    size_t end = at + fits;
    if (end < line.size()) {
      size_t space = line.rfind(' ', end);
      // The indentation of the line itself is no place to break it at.
      const size_t first = line.find_first_not_of(' ', at);
      if (space == std::string::npos || space <= first) space = line.find(' ', end);
      end = std::min(space, line.size());
    }
    text.append(line, at, end - at);
    at = line.find_first_not_of(' ', end);
    if (at == std::string::npos) return text;
    text += '\n' + std::string(static_cast<size_t>(indent), ' ');
  }
}

std::string shortened(const std::string& text, int columns) {
  if (columns <= 0) return "";
  if (bytes_of(text, 0, columns) == text.size()) return text;
  if (columns <= 3) return text.substr(0, bytes_of(text, 0, columns));
  return text.substr(0, bytes_of(text, 0, columns - 3)) + "...";
}

}  // namespace corf::command
