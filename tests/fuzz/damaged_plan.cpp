#include "tests/fuzz/damaged_plan.h"

#include <sstream>

namespace corf::fuzz {
namespace {

using Lines = std::vector<std::string>;

Lines lines_of(const std::string& text) {
  Lines lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; stream >> word && word[0] != '#';) words.push_back(word);
  return words;
}

size_t any_line(const Lines& lines, Choices& choices) { return choices.below(lines.size()); }

void move_line(Lines& lines, Choices& choices) {
  const size_t from = any_line(lines, choices), to = any_line(lines, choices);
  const std::string line = lines[from];
  lines.erase(lines.begin() + static_cast<int64_t>(from));
  lines.insert(lines.begin() + static_cast<int64_t>(std::min(to, lines.size())), line);
}

void repeat_line(Lines& lines, Choices& choices) {
  const std::string line = lines[any_line(lines, choices)];
  lines.insert(lines.begin() + static_cast<int64_t>(any_line(lines, choices)), line);
}

/// Two groups become one, in strips or not, or one becomes two.
void move_border(Lines& lines, Choices& choices) {
  const size_t at = any_line(lines, choices);
  for (size_t i = at; i + 1 < lines.size(); ++i) {
    if (lines[i] != "}") continue;
    // "}", "group compute {": what stands before them are schedules.
    lines[i + 1] = "  stage";
    lines.erase(lines.begin() + static_cast<int64_t>(i));
    return;
  }
  lines.insert(lines.begin() + static_cast<int64_t>(at), "group compute {");
  lines.insert(lines.begin() + static_cast<int64_t>(at), "}");
}

/// "store" of what the line's node computes, or the other way round: values are often named after
/// their nodes.
void turn_keyword(Lines& lines, Choices& choices) {
  const size_t at = any_line(lines, choices);
  std::vector<std::string> words = words_of(lines[at]);
  if (words.size() < 2) return;
  const bool keep = choices.chance(128);
  const std::string line = std::string("  ") + (words[0] == "node" ? "store " : "node ") + words[1];
  if (!keep) lines.erase(lines.begin() + static_cast<int64_t>(at));
  lines.insert(lines.begin() + static_cast<int64_t>(std::min(at + 1, lines.size())), line);
}

void add_strips(Lines& lines, Choices& choices) {
  std::string line = "  strips " + std::to_string(choices.pick(0, 3)) + " by " +
                     std::to_string(choices.pick(1, 8));
  while (choices.chance(64)) {
    line += " outer " + std::to_string(choices.pick(0, 3)) + " by " +
            std::to_string(choices.pick(1, 8));
  }
  if (choices.chance(64)) {
    line += " scatter " + std::to_string(choices.pick(0, 6)) + " by " +
            std::to_string(choices.pick(1, 8));
  }
  while (choices.chance(64)) {
    line +=
        " rows " + std::to_string(choices.pick(0, 8)) + " of " + std::to_string(choices.pick(0, 3));
  }
  line += " split " + std::to_string(choices.pick(0, 2)) + " " + std::to_string(choices.pick(1, 4));
  const size_t at = any_line(lines, choices);
  for (size_t i = at; i < lines.size(); ++i) {
    if (words_of(lines[i]).empty() || words_of(lines[i])[0] != "strips") continue;
    lines[i] = line;
    return;
  }
  lines.insert(lines.begin() + static_cast<int64_t>(at), line);
}

void change_word(Lines& lines, Choices& choices) {
  const size_t at = any_line(lines, choices);
  std::vector<std::string> words = words_of(lines[at]);
  if (words.empty()) return;
  std::string& word = words[choices.below(words.size())];
  static const std::vector<std::string> kWords = {"0",
                                                  "-1",
                                                  "1",
                                                  "2",
                                                  "3",
                                                  "4",
                                                  "7",
                                                  "8",
                                                  "16",
                                                  "32",
                                                  "4097",
                                                  "2147483648",
                                                  "4294967296",
                                                  "9223372036854775807",
                                                  "-9223372036854775808",
                                                  "-",
                                                  "none",
                                                  "panel",
                                                  "ahead",
                                                  "compute",
                                                  "routine",
                                                  "copy",
                                                  "output 0",
                                                  "matrix 32 vector",
                                                  "1 beside 2",
                                                  "\"\\x00\"",
                                                  "#"};
  switch (choices.below(3)) {
    case 0:
      word = choices.any(kWords);
      break;
    case 1: {
      const std::vector<std::string> others = words_of(lines[any_line(lines, choices)]);
      if (!others.empty()) word = choices.any(others);
      break;
    }
    default: {
      // One of the same line: axes change places.
      std::swap(word, words[choices.below(words.size())]);
      break;
    }
  }
  lines[at].clear();
  for (const std::string& w : words) lines[at] += " " + w;
}

}  // namespace

std::string damaged_plan(const std::string& text, Choices& choices) {
  Lines lines = lines_of(text);
  const size_t changes = 1 + choices.below(4);
  for (size_t i = 0; i < changes && !lines.empty(); ++i) {
    switch (choices.below(12)) {
      case 0:
        lines.erase(lines.begin() + static_cast<int64_t>(any_line(lines, choices)));
        break;
      case 1:
        repeat_line(lines, choices);
        break;
      case 2:
        move_line(lines, choices);
        break;
      case 3:
        move_border(lines, choices);
        break;
      case 4:
        turn_keyword(lines, choices);
        break;
      case 5:
        add_strips(lines, choices);
        break;
      default:
        change_word(lines, choices);
        break;
    }
  }
  std::string result;
  for (const std::string& line : lines) result += line + "\n";
  return result;
}

}  // namespace corf::fuzz
