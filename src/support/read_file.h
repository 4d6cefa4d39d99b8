#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <sys/stat.h>

#include "support/result.h"

namespace corf {

/// A regular file that is open for reading. Everything that reads a path which somebody else may
/// have chosen opens it here: folders, devices, FIFOs and sockets are refused at once instead of
/// waited for. It is read and not mapped (but see MappedFile): a file that is cut short later gives
/// an error, where a mapping of it would end the process (SIGBUS).
class InputFile {
 public:
  /// What the last component of the path may be; in front of it symbolic links are followed.
  enum class LastComponent { kMayBeLink, kNoLink };
  /// Errors: kIo naming the path and the reason.
  static Result<InputFile> open(const std::string& path,
                                LastComponent last = LastComponent::kMayBeLink);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  int64_t size_bytes() const { return status_.st_size; }
  /// Names of the file, hard links, on its file system.
  int64_t num_names() const { return static_cast<int64_t>(status_.st_nlink); }
  /// Whether nobody but this process's user (and the superuser) can have written to it under this
  /// name: it is the user's own, no other may write to it, and it has no second name.
  bool is_of_this_user_alone() const;
  /// Whether both were opened on the same file, and nobody has written to it in between.
  bool is_unchanged_since(const InputFile& earlier) const;

  /// The same, now.
  bool is_still_unchanged() const;
  /// When somebody last wrote to it or changed its names or rights, in ns since 1970.
  int64_t last_change_ns() const;
  /// A text that is another one for any other file, and for this one once somebody has written to
  /// it or changed its names or rights: where it lies, its length and times.
  std::string state_in_words() const;

  /// Fills `to` from `offset_bytes` on. Errors: kIo, also if the file ends before.
  Status read(int64_t offset_bytes, std::span<std::byte> to) const;
  /// Closes it; what is known of the file stays.
  void close();

 private:
  friend class MappedFile;
  InputFile(std::string path, int descriptor, const struct stat& status)
      : path_(std::move(path)), descriptor_(descriptor), status_(status) {}
  std::string path_;
  int descriptor_ = -1;
  struct stat status_{};
};

/// The bytes of a file, in memory as long as this, whatever becomes of its name. All processes that
/// map it share them. Only for files that nobody writes to or cuts short once they have their name:
/// reading behind the end of one ends the process.
class MappedFile {
 public:
  /// Of a file with at least one byte. Errors: kIo.
  static Result<MappedFile> map(const InputFile& file);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  /// Read-only, at the beginning of a page.
  std::byte* data() const { return data_; }
  int64_t size_bytes() const { return size_bytes_; }

 private:
  MappedFile(std::byte* data, int64_t size_bytes) : data_(data), size_bytes_(size_bytes) {}
  std::byte* data_ = nullptr;
  int64_t size_bytes_ = 0;
};

/// The whole file. Errors: kIo, also if it has more than `most_bytes`.
Result<std::string> read_file(const std::string& path, int64_t most_bytes);

}  // namespace corf
