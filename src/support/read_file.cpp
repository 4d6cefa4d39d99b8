#include "support/read_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

#include "support/file_kind.h"

namespace corf {
namespace {

Error cannot_read(const std::string& path, std::string_view reason) {
  return make_error(ErrorCode::kIo, "cannot read '{}': {}", path, reason);
}

int64_t nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

Status check_kind(const std::string& path, const struct stat& status) {
  if (S_ISREG(status.st_mode)) return {};
  return cannot_read(path, fmt::format("it is {}, not a regular file", kind_of(status)));
}

}  // namespace

Result<InputFile> InputFile::open(const std::string& path, LastComponent last) {
  const bool follow = last == LastComponent::kMayBeLink;
  struct stat status{};
  // Before it is opened, for that alone may set a device to work.
  if (::fstatat(AT_FDCWD, path.c_str(), &status, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
    return cannot_read(path, std::strerror(errno));
  }
  CORF_RETURN_IF_ERROR(check_kind(path, status));
  const int descriptor = ::open(
      path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW));
  if (descriptor < 0) return cannot_read(path, std::strerror(errno));
  InputFile file(path, descriptor, status);
  // Once more: another file may have taken its place.
  if (::fstat(descriptor, &file.status_) != 0) return cannot_read(path, std::strerror(errno));
  CORF_RETURN_IF_ERROR(check_kind(path, file.status_));
  return file;
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      status_(other.status_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(status_, other.status_);
  return *this;
}

InputFile::~InputFile() { close(); }

bool InputFile::is_of_this_user_alone() const {
  return status_.st_uid == ::geteuid() && (status_.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
         status_.st_nlink == 1;
}

void InputFile::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

bool InputFile::is_still_unchanged() const {
  InputFile now(path_, -1, status_);
  return ::fstat(descriptor_, &now.status_) == 0 && now.is_unchanged_since(*this);
}

int64_t InputFile::last_change_ns() const {
  return std::max(nanoseconds(status_.st_mtim), nanoseconds(status_.st_ctim));
}

std::string InputFile::state_in_words() const {
  return fmt::format("{} {} {} {} {}", status_.st_dev, status_.st_ino, status_.st_size,
                     nanoseconds(status_.st_mtim), nanoseconds(status_.st_ctim));
}

bool InputFile::is_unchanged_since(const InputFile& earlier) const {
  const struct stat &a = status_, &b = earlier.status_;
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

Status InputFile::read(int64_t offset_bytes, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t count = ::pread(descriptor_, to.data(), to.size(), offset_bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return cannot_read(path_, std::strerror(errno));
    if (count == 0) {
      return cannot_read(path_, fmt::format("it ends after {} bytes, {} bytes too early",
                                            offset_bytes, to.size()));
    }
    to = to.subspan(static_cast<size_t>(count));
    offset_bytes += count;
  }
  return {};
}

Result<MappedFile> MappedFile::map(const InputFile& file) {
  const auto size = static_cast<size_t>(file.size_bytes());
  void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor_, 0);
  if (data == MAP_FAILED) return cannot_read(file.path_, std::strerror(errno));
  return MappedFile(static_cast<std::byte*>(data), file.size_bytes());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(other.size_bytes_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, static_cast<size_t>(size_bytes_));
}

Result<std::string> read_file(const std::string& path, int64_t most_bytes) {
  CORF_ASSIGN(const InputFile file, InputFile::open(path));
  if (file.size_bytes() > most_bytes) {
    return cannot_read(
        path, fmt::format("it has {} bytes; at most {} are read", file.size_bytes(), most_bytes));
  }
  std::string content(static_cast<size_t>(file.size_bytes()), '\0');
  CORF_RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(content))));
  return content;
}

}  // namespace corf
