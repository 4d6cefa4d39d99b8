#pragma once
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace corf::command {

using Json = nlohmann::ordered_json;

/// One line of ASCII: other characters are escaped, what is not UTF-8 (names in a damaged model) is
/// replaced.
inline std::string to_line(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}
inline void print(const Json& json) { fmt::print("{}", to_line(json)); }

}  // namespace corf::command
