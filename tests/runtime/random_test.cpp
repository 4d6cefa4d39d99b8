#include <algorithm>
#include <gtest/gtest.h>
#include <set>

#include "runtime/routines/routine.h"
#include "runtime/team.h"

namespace corf::runtime {
namespace {

using Attributes = std::map<std::string, RoutineAttribute>;

/// The results of `runs` runs by so many workers each.
std::vector<std::vector<float>> draw(int64_t count, const std::vector<int>& workers,
                                     Attributes attributes) {
  const auto routine =
      prepare_routine("Random", {std::move(attributes), {}, {{DType::kF32, {count}}}});
  EXPECT_TRUE(routine.ok());
  std::vector<std::vector<float>> results;
  for (const int size : workers) {
    std::vector<float> result(static_cast<size_t>(count), -1);
    void* const to = result.data();
    const auto team = Team::create(size).take();
    team->run([&](const Worker& worker) { EXPECT_TRUE((*routine)({}, {&to, 1}, worker).ok()); });
    results.push_back(std::move(result));
  }
  return results;
}

/// Beside numbers that are shared out, few that are not, and none.
constexpr int64_t kCounts[] = {1, 5, 4095, 4097, 100'001};

TEST(Random, WithASeedEachRunDrawsTheSame) {
  for (const int64_t count : kCounts) {
    const auto runs = draw(count, {1, 2, 3, 1}, {{"seed", int64_t{3}}});
    for (const auto& run : runs) EXPECT_EQ(run, runs[0]);
    EXPECT_GE(*std::min_element(runs[0].begin(), runs[0].end()), 0);
    EXPECT_NE(draw(count, {1}, {{"seed", int64_t{4}}})[0], runs[0]);
    EXPECT_NE(draw(count, {1}, {{"seed", int64_t{3}}, {"stream", int64_t{1}}})[0], runs[0]);
  }
}

/// No number comes again, whoever drew it: of 2^24 that there are, few of these would by chance.
TEST(Random, WithoutASeedEachRunDrawsOthers) {
  for (const int64_t count : kCounts) {
    std::set<std::vector<float>> blocks;
    size_t drawn = 0;
    for (const auto& run : draw(count, {1, 2, 3, 1, 2}, {})) {
      for (size_t i = 0; i + 4 <= run.size(); i += 4, ++drawn) {
        blocks.insert(
            {run.begin() + static_cast<int64_t>(i), run.begin() + static_cast<int64_t>(i) + 4});
      }
    }
    EXPECT_EQ(blocks.size(), drawn);
    EXPECT_NE(draw(count, {1}, {}), draw(count, {1}, {}));
  }
}

TEST(Random, NothingToDraw) { EXPECT_TRUE(draw(0, {2}, {})[0].empty()); }

TEST(Random, OddCallsAreRefused) {
  const auto refused = [](Attributes attributes, DType dtype) {
    return !prepare_routine("Random", {std::move(attributes), {}, {{dtype, {4}}}}).ok();
  };
  EXPECT_TRUE(refused({}, DType::kF16));
  EXPECT_TRUE(refused({{"distribution", std::string("poisson")}}, DType::kF32));
  EXPECT_TRUE(refused({{"seed", 1.0}}, DType::kF32));
  EXPECT_FALSE(refused({{"distribution", std::string("normal")}}, DType::kF64));
}

}  // namespace
}  // namespace corf::runtime
