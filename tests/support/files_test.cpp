#include <chrono>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "support/read_file.h"
#include "support/write_file.h"

namespace corf {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  void SetUp() override {
    dir_ =
        fs::temp_directory_path() / ("corf_files_" + std::to_string(::getpid()) + "_" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string at(const std::string& name) const { return (dir_ / name).string(); }
  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static std::string read_error(const std::string& path) {
    const auto read = read_file(path, 1000);
    return read.ok() ? "" : read.error().message;
  }
  int64_t num_entries() const { return std::distance(fs::directory_iterator(dir_), {}); }

  fs::path dir_;
};

TEST_F(Files, ReadsARegularFile) {
  ASSERT_TRUE(write_file(at("a"), "content").ok());
  fs::create_symlink("a", at("link"));
  EXPECT_EQ(*read_file(at("a"), 7), "content");
  EXPECT_EQ(*read_file(at("link"), 7), "content");
  EXPECT_NE(InputFile::open(at("link"), InputFile::LastComponent::kNoLink)
                .error()
                .message.find("a symbolic link"),
            std::string::npos);
  EXPECT_NE(read_file(at("a"), 6).error().message.find("it has 7 bytes; at most 6"),
            std::string::npos);
}

/// Each of them would keep an ordinary open or read waiting, or never end.
TEST_F(Files, RefusesWhatIsNoRegularFileAtOnce) {
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  fs::create_symlink("fifo", at("link"));
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(at("s").size(), sizeof address.sun_path);
  at("s").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(read_error(at("fifo")).find("fifo': it is a FIFO"), std::string::npos);
  EXPECT_NE(read_error(at("link")).find("link': it is a FIFO"), std::string::npos);
  EXPECT_NE(read_error(at("s")).find("it is a socket"), std::string::npos);
  EXPECT_NE(read_error("/dev/zero").find("it is a device"), std::string::npos);
  EXPECT_NE(read_error(dir_.string()).find("it is a folder"), std::string::npos);
  EXPECT_NE(read_error(at("none")).find("No such file"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  ::close(socket);
}

TEST_F(Files, AFileCutShortWhileItIsReadIsAnError) {
  ASSERT_TRUE(write_file(at("a"), std::string(100, 'x')).ok());
  const auto file = InputFile::open(at("a"));
  fs::resize_file(at("a"), 40);
  std::string bytes(100, ' ');
  const Status status = file->read(0, std::as_writable_bytes(std::span(bytes)));
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("ends after 40 bytes"), std::string::npos);
  EXPECT_FALSE(InputFile::open(at("a"))->is_unchanged_since(*file));
}

TEST_F(Files, WritesWholeFilesOrNone) {
  ASSERT_TRUE(write_file(at("a"), "old").ok());
  {
    auto file = OutputFile::create(at("a"));
    ASSERT_TRUE(file.ok() && file->write("new").ok());
    EXPECT_EQ(content(at("a")), "old");
    EXPECT_EQ(num_entries(), 2);
  }
  EXPECT_EQ(num_entries(), 1) << "what was not finished is gone";
  ASSERT_TRUE(write_file(at("a"), "new").ok());
  EXPECT_EQ(content(at("a")), "new");
  EXPECT_EQ(num_entries(), 1);
}

TEST_F(Files, NamesOfUnfinishedFilesDiffer) {
  std::set<std::string> names;
  std::vector<OutputFile> files;
  for (int i = 0; i < 20; ++i) files.push_back(OutputFile::create(at("a")).take());
  for (const auto& entry : fs::directory_iterator(dir_)) names.insert(entry.path().filename());
  EXPECT_EQ(names.size(), 20u);
}

TEST_F(Files, NoLinkNorFolderIsReplaced) {
  ASSERT_TRUE(write_file(at("target"), "precious").ok());
  fs::create_symlink("target", at("link"));
  fs::create_symlink("nowhere", at("dangling"));
  fs::create_directory(at("folder"));
  for (const char* name : {"link", "dangling", "folder"}) {
    const Status status = write_file(at(name), "new");
    ASSERT_FALSE(status.ok()) << name;
    EXPECT_EQ(status.error().code, ErrorCode::kIo);
    EXPECT_NE(status.error().message.find(at(name)), std::string::npos);
  }
  EXPECT_EQ(content(at("target")), "precious");
  EXPECT_TRUE(fs::is_symlink(at("link")));
  EXPECT_EQ(num_entries(), 4);
}

TEST_F(Files, DevicesStayDevices) {
  // Devices of our own where that is allowed; who may not make them cannot replace the system's.
  const bool own = ::mknod(at("null").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0 &&
                   ::mknod(at("full").c_str(), S_IFCHR | 0600, makedev(1, 7)) == 0;
  const std::string null = own ? at("null") : "/dev/null", full = own ? at("full") : "/dev/full";
  ASSERT_TRUE(write_file(null, "nothing").ok());
  EXPECT_TRUE(fs::is_character_file(null));
  EXPECT_FALSE(write_file(full, "too much").ok());
  EXPECT_TRUE(fs::is_character_file(full));
}

TEST_F(Files, AFifoIsWrittenWhileItIsRead) {
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  EXPECT_NE(write_file(at("fifo"), "text").error().message.find("nobody reads"), std::string::npos);
  std::string read;
  std::thread reader([&] { read = content(at("fifo")); });
  Status status = write_file(at("fifo"), "text");
  while (!status.ok()) {  // the reader has not opened it yet
    std::this_thread::yield();
    status = write_file(at("fifo"), "text");
  }
  reader.join();
  EXPECT_EQ(read, "text");
  EXPECT_TRUE(fs::is_fifo(at("fifo")));
}

/// Without care, SIGPIPE would end the process.
TEST_F(Files, AReaderThatGoesAwayIsAnError) {
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  std::ifstream reader;
  std::thread opener([&] { reader.open(at("fifo")); });
  auto file = OutputFile::create(at("fifo"));
  while (!file.ok()) {
    std::this_thread::yield();
    file = OutputFile::create(at("fifo"));
  }
  opener.join();
  reader.close();
  EXPECT_FALSE(file->write("text").ok());
}

}  // namespace
}  // namespace corf
