#pragma once
#include <map>
#include <string>

namespace corf::command {

std::string escaped(const std::string& text, const std::map<char, std::string>& escapes);
/// Text of a model as HTML and SVG show it.
std::string markup(const std::string& text);
/// What stands for a strategy: grey for inline, red for memory, green for what fusion saves.
std::string color_of(const std::string& strategy);

}  // namespace corf::command
