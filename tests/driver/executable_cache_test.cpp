#include "driver/executable_cache.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <unistd.h>

#include "codegen/content_hash.h"
#include "support/write_file.h"

namespace corf::driver {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(ContentHash, IsBlake3) {
  EXPECT_EQ(codegen::ContentHash().digits(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
}

TEST(ContentHash, TellsSequencesOfTextsApart) {
  codegen::ContentHash a, b;
  a.add("ab");
  a.add("c");
  b.add("a");
  b.add("bc");
  EXPECT_NE(a.digits(), b.digits());
}

/// A file that is removed with the object.
struct TemporaryFile {
  std::string path =
      (std::filesystem::temp_directory_path() / fmt::format("executable_cache_test_{}", ::getpid()))
          .string();
  ~TemporaryFile() { std::filesystem::remove(path); }
};

std::optional<std::string> identity_of_file(const std::string& content) {
  const TemporaryFile file;
  EXPECT_TRUE(write_file(file.path, content).ok());
  const Result<InputFile> opened = InputFile::open(file.path);
  EXPECT_TRUE(opened.ok());
  return identity_of(*opened);
}

TEST(ExecutableCache, IdentityIsThatOfTheBytes) {
  std::string content((size_t{3} << 20) + 17, 'x');
  content[5] = 'y';
  const auto identity = identity_of(bytes_of(content));
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity_of_file(content), identity);
  content[size_t{2} << 20] = 'z';
  EXPECT_NE(identity_of_file(content), identity);
  EXPECT_EQ(identity_of_file(content), identity_of(bytes_of(content)));
}

/// Files are read in pieces of a MiB: the key of external data may lie across two of them.
TEST(ExecutableCache, ModelsWithExternalDataHaveNoIdentity) {
  const std::string key = "\x0a\x08location";
  for (size_t before = 0; before <= key.size(); ++before) {
    std::string content((size_t{1} << 20) + 64, 'x');
    content.replace((size_t{1} << 20) - before, key.size(), key);
    EXPECT_FALSE(identity_of(bytes_of(content))) << before;
    EXPECT_FALSE(identity_of_file(content)) << before;
  }
}

}  // namespace
}  // namespace corf::driver
