#include "markup.h"

#include "support/printable.h"

namespace corf::command {

std::string escaped(const std::string& text, const std::map<char, std::string>& escapes) {
  std::string result;
  for (char c : text) {
    const auto it = escapes.find(c);
    result += it == escapes.end() ? std::string(1, c) : it->second;
  }
  return result;
}

std::string markup(const std::string& text) {
  return escaped(printable(text), {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}});
}

std::string color_of(const std::string& strategy) {
  if (strategy == "inline") return "#8a8f98";
  return strategy == "materialise" ? "#c0392b" : "#1e8449";
}

}  // namespace corf::command
