#include "session/recently_used.h"

#include <gtest/gtest.h>

namespace corf::session {
namespace {

TEST(RecentlyUsed, DropsWhatWasUsedLongestAgo) {
  RecentlyUsed<int> cache(2);
  cache.insert("a", std::make_shared<int>(1));
  cache.insert("b", std::make_shared<int>(2));
  ASSERT_NE(cache.find("a"), nullptr);
  cache.insert("c", std::make_shared<int>(3));
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(cache.find("b"), nullptr);
  EXPECT_EQ(*cache.find("a"), 1);
  EXPECT_EQ(*cache.find("c"), 3);
}

TEST(RecentlyUsed, ValuesOutliveTheirEviction) {
  RecentlyUsed<int> cache(1);
  cache.insert("a", std::make_shared<int>(1));
  const auto held = cache.find("a");
  cache.insert("b", std::make_shared<int>(2));
  EXPECT_EQ(*held, 1);
  EXPECT_EQ(cache.find("a"), nullptr);
}

}  // namespace
}  // namespace corf::session
