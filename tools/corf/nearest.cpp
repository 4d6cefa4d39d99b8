#include "nearest.h"

#include <algorithm>
#include <fmt/format.h>

#include "support/printable.h"

namespace corf::command {
namespace {

/// Optimal string alignment: Damerau and Levenshtein's distance, each letter changed once at most.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> changes(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t k = 0; k <= b.size(); ++k) {
      size_t& least = changes[i][k];
      if (i == 0 || k == 0) {
        least = i + k;
        continue;
      }
      least = std::min({changes[i - 1][k] + 1, changes[i][k - 1] + 1,
                        changes[i - 1][k - 1] + (a[i - 1] == b[k - 1] ? 0 : 1)});
      if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1]) {
        least = std::min(least, changes[i - 2][k - 2] + 1);
      }
    }
  }
  return changes[a.size()][b.size()];
}

std::vector<std::string> names_of_commands(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> names_of_options(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

}  // namespace

std::optional<std::string> nearest(std::string_view typed, const std::vector<std::string>& words) {
  constexpr size_t kLongest = 64, kBeginning = 3;
  std::optional<std::string> best;
  size_t fewest = std::max(typed.size(), size_t{3}) / 3 + 1;
  if (typed.size() > kLongest) return best;
  for (const std::string& word : words) {
    if (typed.size() >= kBeginning && word.starts_with(typed)) return word;
  }
  for (const std::string& word : words) {
    const size_t changes = distance(typed, word);
    if (changes >= fewest) continue;
    fewest = changes;
    best = word;
  }
  return best;
}

std::string suggestion(const CLI::App& app) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const std::vector<std::string> left = chosen.empty() ? app.remaining() : chosen[0]->remaining();
  if (left.empty()) return "";
  std::string typed = left.front();
  std::vector<std::string> words;
  if (typed.starts_with("--")) {
    typed = typed.substr(0, typed.find('='));
    words = names_of_options(chosen.empty() ? app : *chosen[0]);
  } else if (chosen.empty()) {
    words = names_of_commands(app);
  }
  const auto meant = nearest(typed, words);
  return meant ? fmt::format("Did you mean '{}'?", *meant) : "";
}

}  // namespace corf::command
