#pragma once
#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace corf::command {

/// The word that was probably meant: one that begins so, or that of the fewest changes (a character
/// more, less, another, or two swapped), if a third of the letters at most are changed.
std::optional<std::string> nearest(std::string_view typed, const std::vector<std::string>& words);

/// "Did you mean 'run'?" where the command line that did not parse has an unknown command, or an
/// unknown option of a known one; else "".
std::string suggestion(const CLI::App& app);

}  // namespace corf::command
