// Without a fuzzer: each target with some random bytes.
#include <gtest/gtest.h>

#include "tests/fuzz/targets.h"

namespace corf::fuzz {
namespace {

void expect_no_findings(Finding (*target)(Choices), size_t count, size_t most_bytes) {
  uint32_t number = 0;
  for (const std::vector<uint8_t>& bytes : random_seeds(1, count, most_bytes)) {
    SCOPED_TRACE("number " + std::to_string(number));
    ASSERT_EQ(target(Choices(bytes)), "");
    ++number;
  }
}

TEST(Fuzz, Plans) { expect_no_findings(plan_target, 6000, 24); }
TEST(Fuzz, CompiledFiles) { expect_no_findings(file_target, 6000, 64); }

}  // namespace
}  // namespace corf::fuzz
