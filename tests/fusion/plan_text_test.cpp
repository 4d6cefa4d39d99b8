#include <gtest/gtest.h>
#include <sstream>

#include "fusion/prepare.h"
#include "fusion/text.h"
#include "loop/text.h"
#include "tests/fusion/random_chain.h"
#include "tests/fusion/random_plan.h"
#include "tests/lower/lowered.h"

namespace corf::fusion {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

/// A plan's text with one or two changes: another number, a word from elsewhere, a line gone, twice
/// or elsewhere.
class Damage {
 public:
  explicit Damage(uint32_t seed) : random_(seed) {}

  std::string to(const std::string& text) {
    std::vector<std::string> lines = lines_of(text);
    for (size_t i = 0, n = pick(2) + 1; i < n; ++i) change(lines);
    std::string result;
    for (const std::string& line : lines) result += line + "\n";
    return result;
  }

 private:
  size_t pick(size_t n) { return n == 0 ? 0 : random_() % n; }

  void change(std::vector<std::string>& lines) {
    const size_t at = pick(lines.size());
    switch (pick(5)) {
      case 0:
        if (lines.size() > 1) lines.erase(lines.begin() + static_cast<int64_t>(at));
        return;
      case 1: {
        // By way of a copy: the line lies in what grows.
        const std::string line = lines[at];
        lines.insert(lines.begin() + static_cast<int64_t>(pick(lines.size())), line);
        return;
      }
      case 2:
        std::swap(lines[at], lines[pick(lines.size())]);
        return;
      default:
        break;
    }
    std::vector<std::string> words = words_of(lines[at]);
    if (words.empty()) return;
    std::string& word = words[pick(words.size())];
    const char* const kWords[] = {"0",
                                  "-1",
                                  "1",
                                  "2",
                                  "7",
                                  "4097",
                                  "2147483648",
                                  "9223372036854775807",
                                  "-9223372036854775808",
                                  "-",
                                  "panel"};
    if (pick(2) == 0) {
      word = kWords[pick(std::size(kWords))];
    } else {
      const std::vector<std::string> others = words_of(lines[pick(lines.size())]);
      if (!others.empty()) word = others[pick(others.size())];
    }
    lines[at].clear();
    for (const std::string& w : words) lines[at] += " " + w;
  }

  std::mt19937 random_;
};

/// Whatever stands in a plan's file: it is refused with a message, or it can be lowered.
TEST(PlanText, DamagedPlansAreRefusedOrSound) {
  int64_t refused = 0, taken = 0;
  for (uint32_t seed = 0; seed < 150; ++seed) {
    test::RandomChain chain(seed);
    Machine machine;
    machine.isa = Isa::kAvx2;
    machine.threads = 2;
    const graph::Graph graph = prepare(chain.graph());
    test::RandomPlans plans(graph, machine, seed);
    const auto plan = plans.make();
    if (!plan) continue;
    const std::string text = to_string(graph, *plan);
    Damage damage(seed);
    for (int i = 0; i < 40; ++i) {
      const std::string damaged = damage.to(text);
      SCOPED_TRACE("seed " + std::to_string(seed) + ", damage " + std::to_string(i));
      auto parsed = parse_plan(graph, damaged);
      if (!parsed) {
        ++refused;
        EXPECT_FALSE(parsed.error().message.empty());
        continue;
      }
      ++taken;
      auto program = test::lowered(graph, *parsed);
      ASSERT_TRUE(program) << program.error().message << "\n" << damaged;
      const Status sound = loop::verify(*program);
      ASSERT_TRUE(sound) << sound.error().message << "\n" << damaged;
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(taken, 100);
}

}  // namespace
}  // namespace corf::fusion
