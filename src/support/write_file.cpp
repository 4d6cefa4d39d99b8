#include "support/write_file.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <sys/random.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "support/file_kind.h"

namespace corf {
namespace {

constexpr int kMostNamesTried = 16;

Error cannot_write(const std::string& path, std::string_view reason) {
  return make_error(ErrorCode::kIo, "cannot write '{}': {}", path, reason);
}

/// Creates a file of a random name beside `path`; the descriptor, or -1 and errno.
int create_beside(const std::string& path, unsigned permissions, std::string& name) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  for (int i = 0; i < kMostNamesTried; ++i) {
    uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random) return -1;
    // Not made of the file's own name, which may be as long as names can be.
    name = fmt::format("{}.corf-{:016x}.unfinished", folder, random);
    const int descriptor =
        ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, permissions);
    if (descriptor >= 0 || errno != EEXIST) return descriptor;
  }
  return -1;
}

bool is_same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// A copy of the standard stream that is this very file, or -1.
int standard_stream(const struct stat& status) {
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat open_status{};
    if (::fstat(stream, &open_status) == 0 && is_same(status, open_status)) {
      return ::fcntl(stream, F_DUPFD_CLOEXEC, 0);
    }
  }
  return -1;
}

/// While it lives, a write to a FIFO that nobody reads any more is an error of this thread instead
/// of the process's end.
class NoBrokenPipeSignal {
 public:
  NoBrokenPipeSignal() {
    ::sigemptyset(&signal_);
    ::sigaddset(&signal_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &signal_, &before_);
  }
  ~NoBrokenPipeSignal() {
    const timespec at_once{};
    if (!was_pending_) ::sigtimedwait(&signal_, nullptr, &at_once);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoBrokenPipeSignal(const NoBrokenPipeSignal&) = delete;
  NoBrokenPipeSignal& operator=(const NoBrokenPipeSignal&) = delete;

 private:
  sigset_t signal_, before_;
  bool was_pending_ = false;
};

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path, unsigned permissions) {
  struct stat status{}, target{};
  const bool exists = ::lstat(path.c_str(), &status) == 0;
  if (!exists && errno != ENOENT) return cannot_write(path, std::strerror(errno));
  const bool is_link = exists && S_ISLNK(status.st_mode);
  if (!exists || S_ISREG(status.st_mode)) {
    std::string temporary;
    const int descriptor = create_beside(path, permissions, temporary);
    if (descriptor < 0) return cannot_write(path, std::strerror(errno));
    return OutputFile(path, std::move(temporary), descriptor);
  }
  if (::stat(path.c_str(), &target) != 0) {
    return cannot_write(path, fmt::format("it is {} that leads nowhere: {}", kind_of(status),
                                          std::strerror(errno)));
  }
  // /dev/stdout and /dev/fd/1 are links to whatever the shell has opened.
  const int stream = standard_stream(target);
  if (stream >= 0) return OutputFile(path, "", stream);
  if (is_link && S_ISREG(target.st_mode)) {
    return cannot_write(path,
                        "it is a symbolic link; name the file itself, or remove the link first");
  }
  if (!S_ISCHR(target.st_mode) && !S_ISFIFO(target.st_mode)) {
    return cannot_write(path, fmt::format("it is {}", kind_of(target)));
  }
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor < 0 && errno == ENXIO && S_ISFIFO(target.st_mode)) {
    return cannot_write(path, "it is a FIFO that nobody reads");
  }
  if (descriptor < 0) return cannot_write(path, std::strerror(errno));
  OutputFile file(path, "", descriptor);
  if (::fstat(descriptor, &status) != 0 || !is_same(status, target)) {
    return cannot_write(path, "it was replaced while it was opened");
  }
  // Only opening was not to wait.
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) & ~O_NONBLOCK);
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, "")),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_bytes_(other.size_bytes_) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status OutputFile::write(std::string_view bytes) {
  const NoBrokenPipeSignal no_signal;
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return cannot_write(path_, std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(count));
    size_bytes_ += count;
  }
  return {};
}

Status OutputFile::sync() {
  if (temporary_.empty() || ::fdatasync(descriptor_) == 0) return {};
  return cannot_write(path_, std::strerror(errno));
}

Status OutputFile::finish() {
  // Network file systems tell here that the disk is full.
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    return cannot_write(path_, std::strerror(errno));
  }
  if (temporary_.empty()) return {};
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return cannot_write(path_, std::strerror(errno));
  }
  temporary_.clear();
  return {};
}

Status write_file(const std::string& path, std::string_view content) {
  CORF_ASSIGN(OutputFile file, OutputFile::create(path));
  CORF_RETURN_IF_ERROR(file.write(content));
  return file.finish();
}

Status write_file_and_folder(const std::string& path, std::string_view content) {
  std::error_code ignored;  // writing fails too, and says why
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  return write_file(path, content);
}

bool is_standard_output(const std::string& path) {
  struct stat named{}, open_status{};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(STDOUT_FILENO, &open_status) == 0 &&
         is_same(named, open_status) && (!S_ISCHR(named.st_mode) || ::isatty(STDOUT_FILENO) == 1);
}

}  // namespace corf
