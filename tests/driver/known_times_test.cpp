#include "driver/known_times.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace corf::driver {
namespace {

class KnownTimesTest : public testing::Test {
 protected:
  KnownTimesTest() : folder_(testing::TempDir() + "/known_times") {
    std::filesystem::remove_all(folder_);
    machine_.cpu_name = "one";
  }
  ~KnownTimesTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<KnownTimes> open(bool refresh = false) const {
    auto times = KnownTimes::open(folder_, machine_, refresh);
    EXPECT_TRUE(times.ok()) << times.error().message;
    return times.take();
  }

  const std::string folder_;
  Machine machine_;
};

TEST_F(KnownTimesTest, AreFoundByWhoeverOpensTheFileNext) {
  open()->insert("kernel a", 1.5);
  const auto times = open();
  EXPECT_EQ(times->find("kernel a"), 1.5);
  EXPECT_EQ(times->find("kernel b"), std::nullopt);
  times->insert("kernel a", 2.5);
  EXPECT_EQ(open()->find("kernel a"), 2.5);
}

TEST_F(KnownTimesTest, AreFoundByAnotherThatHasTheFileOpen) {
  const auto one = open(), other = open();
  one->insert("kernel", 3);
  EXPECT_EQ(other->find("kernel"), 3);
}

TEST_F(KnownTimesTest, AreOfOneKindOfMachine) {
  open()->insert("kernel", 1);
  machine_.cpu_name = "other";
  EXPECT_EQ(open()->find("kernel"), std::nullopt);
  machine_.cpu_name = "one";
  machine_.threads = 7;
  EXPECT_EQ(open()->find("kernel"), std::nullopt);
}

TEST_F(KnownTimesTest, ARefreshFindsNothingAndReplaces) {
  open()->insert("kernel", 1);
  const auto times = open(/*refresh=*/true);
  EXPECT_EQ(times->find("kernel"), std::nullopt);
  times->insert("kernel", 2);
  EXPECT_EQ(open()->find("kernel"), 2);
}

TEST_F(KnownTimesTest, ADamagedFileIsStartedAnew) {
  std::filesystem::create_directories(folder_);
  std::ofstream(folder_ + "/times.sqlite") << std::string(5000, 'x');
  const auto times = open();
  times->insert("kernel", 1);
  EXPECT_EQ(open()->find("kernel"), 1);
}

TEST_F(KnownTimesTest, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(folder_) << "a file where a folder should be";
  const auto times = KnownTimes::open(folder_, machine_);
  ASSERT_FALSE(times.ok());
  EXPECT_EQ(times.error().code, ErrorCode::kIo);
}

TEST_F(KnownTimesTest, WithoutAFileNothingIsKept) {
  const KnownTimes times;
  times.insert("kernel", 1);
  EXPECT_EQ(times.find("kernel"), std::nullopt);
}

}  // namespace
}  // namespace corf::driver
