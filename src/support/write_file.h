#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "support/result.h"

namespace corf {

/// A file on its way to disk. Everything that corf writes is written here:
/// - A regular file appears whole or not at all: it is written under another name in the same
///   folder, which no other process of any machine or container can choose, then renamed.
/// - /dev/null, /dev/stdout, terminals and FIFOs that somebody reads are written to as they stand.
/// - A symbolic link to a file is refused, as a block device is: neither is to be lost by mistake.
class OutputFile {
 public:
  /// `permissions`: of a new regular file, as far as the process's umask leaves them.
  /// Errors: kIo naming the path and the reason.
  static Result<OutputFile> create(const std::string& path, unsigned permissions = 0666);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  /// What was not finished is removed.
  ~OutputFile();

  Status write(std::string_view bytes);
  int64_t size_bytes() const { return size_bytes_; }
  /// Waits until the disk has what was written, so that not even a loss of power leaves a file of
  /// this name without it.
  Status sync();
  /// Closes the file and gives it its name.
  Status finish();

 private:
  OutputFile(std::string path, std::string temporary, int descriptor)
      : path_(std::move(path)), temporary_(std::move(temporary)), descriptor_(descriptor) {}
  std::string path_;
  std::string temporary_;  // empty: written in place
  int descriptor_ = -1;
  int64_t size_bytes_ = 0;
};

/// Errors: those of OutputFile.
Status write_file(const std::string& path, std::string_view content);

/// As write_file, and makes the folder of the file where it is missing.
Status write_file_and_folder(const std::string& path, std::string_view content);

/// Whether a file of this name is this process's standard output, so that nothing else should be
/// printed there.
bool is_standard_output(const std::string& path);

}  // namespace corf
