#include "reasons.h"

#include <regex>

namespace corf::command {
namespace {

/// The first line that names a node, if the message is a list of them.
std::string first_line(std::string_view message) {
  std::string text(message);
  const size_t end = text.find('\n');
  if (end == std::string::npos) return text;
  const std::string rest = text.substr(text.find_first_not_of(" \n", end));
  return text.ends_with(':') || text[end - 1] == ':' ? first_line(rest) : text.substr(0, end);
}

}  // namespace

std::string reason_of(std::string_view message) {
  static const std::regex path("^'[^']*': ");
  static const std::regex node("^.*?node(?: '[^']*')? \\((\\w+)[^)]*\\)[^:]*: ");
  static const std::regex name(" '[^']*'");
  static const std::regex number("\\b[0-9]+(x[0-9]+)*\\b");
  std::string text = std::regex_replace(first_line(message), path, "");
  std::smatch found;
  std::string operator_name;
  if (std::regex_search(text, found, node)) {
    operator_name = found[1].str() + ": ";
    text = found.suffix();
  }
  text = std::regex_replace(text, name, "");
  return operator_name + std::regex_replace(text, number, "N");
}

}  // namespace corf::command
