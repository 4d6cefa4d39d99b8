#include "support/passes.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <vector>

namespace corf {
namespace numbers {

/// What the passes below work on.
struct Number {
  int value = 0;
};

std::string to_string(const Number& number) { return std::to_string(number.value); }

Status verify(const Number& number) {
  if (number.value >= 0) return {};
  return make_error(ErrorCode::kInternal, "{} is negative", number.value);
}

Result<Number> add(Number number, const int& amount) { return Number{number.value + amount}; }
Result<Number> keep(Number number, const int&) { return number; }
Result<Number> refuse(Number, const int&) {
  return make_error(ErrorCode::kUnsupported, "no number will do");
}

}  // namespace numbers

namespace {

using numbers::Number;
using NumberPass = Pass<Number, int>;

Result<Number> run(std::vector<NumberPass> passes, int context, const PassOptions& options = {}) {
  return run_passes("numbers", std::span<const NumberPass>(passes), Number{1}, context, options);
}

TEST(Passes, RunInTheirOrder) {
  const Result<Number> result =
      run({{"add", numbers::add}, {"keep", numbers::keep}, {"add", numbers::add}}, 20);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->value, 41);
}

TEST(Passes, ErrorsEndThem) {
  const Result<Number> result = run({{"refuse", numbers::refuse}, {"add", numbers::add}}, 1);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(result.error().message, "no number will do");
}

TEST(Passes, AreVerifiedOnRequestAlone) {
  const std::vector<NumberPass> passes = {{"keep", numbers::keep}, {"subtract", numbers::add}};
  EXPECT_TRUE(run(passes, -3).ok());
  const Result<Number> result = run(passes, -3, {.verify_each = true});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInternal);
  EXPECT_EQ(result.error().message, "after numbers.subtract: -2 is negative");
}

TEST(Passes, DumpWhatTheyChange) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "corf_passes_dump";
  std::filesystem::remove_all(folder);
  const std::vector<NumberPass> passes = {{"keep", numbers::keep}, {"add", numbers::add}};
  ASSERT_TRUE(run(passes, 4, {.dump_dir = folder.string()}).ok());
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  ASSERT_EQ(names, std::vector<std::string>{"numbers_02_add.txt"});
  std::ifstream file(folder / names[0]);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "5");
  std::filesystem::remove_all(folder);

  const Result<Number> nowhere = run(passes, 4, {.dump_dir = "/proc/corf/missing"});
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace corf
