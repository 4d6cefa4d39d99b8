// Without a fuzzer: each target with some random bytes.
#include <cstdlib>
#include <gtest/gtest.h>

#include "tests/fuzz/targets.h"

namespace corf::fuzz {
namespace {

/// CORF_LONG_TESTS: so many times as many, others each time that CORF_FIRST_SEED differs.
uint32_t from_environment(const char* name, uint32_t otherwise) {
  const char* text = std::getenv(name);
  return text ? static_cast<uint32_t>(std::atoll(text)) : otherwise;
}

void expect_no_findings(Finding (*target)(Choices), size_t count, size_t most_bytes) {
  uint32_t number = 0;
  count *= from_environment("CORF_LONG_TESTS", 1);
  for (const std::vector<uint8_t>& bytes :
       random_seeds(from_environment("CORF_FIRST_SEED", 1), count, most_bytes)) {
    SCOPED_TRACE("number " + std::to_string(number));
    ASSERT_EQ(target(Choices(bytes)), "");
    ++number;
  }
}

TEST(Fuzz, Imports) { expect_no_findings(import_target, 1000, 96); }
TEST(Fuzz, Runs) { expect_no_findings(run_target, 300, 96); }
TEST(Fuzz, RunsInPieces) { expect_no_findings(pieces_target, 100, 96); }
TEST(Fuzz, Calls) { expect_no_findings(api_target, 600, 96); }
TEST(Fuzz, Plans) { expect_no_findings(plan_target, 6000, 24); }
TEST(Fuzz, CompiledFiles) { expect_no_findings(file_target, 6000, 64); }

}  // namespace
}  // namespace corf::fuzz
