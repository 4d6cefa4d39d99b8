#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "support/read_file.h"
#include "support/result.h"

namespace corf::onnx {

/// A file of weights. Its bytes are read into memory of our own, each when it is first asked for:
/// what happens to the file afterwards changes no model.
class ExternalFile {
 public:
  /// Errors: kIo as of InputFile, and for a file of several names (hard links): one of them may lie
  /// where the model's author may not look; kOutOfMemory.
  static Result<std::shared_ptr<ExternalFile>> open(const std::string& path);
  ~ExternalFile();
  ExternalFile(const ExternalFile&) = delete;
  ExternalFile& operator=(const ExternalFile&) = delete;

  int64_t size_bytes() const { return opened_.size_bytes(); }
  /// The bytes from `offset_bytes` on, which lie within the file; valid as long as this object.
  /// Safe between threads. Errors: kIo, also if the file has been changed since it was opened.
  Result<const std::byte*> read(int64_t offset_bytes, int64_t size_bytes);

 private:
  ExternalFile(std::string path, InputFile opened, std::byte* memory);
  std::string path_;
  InputFile opened_;  // closed, for there may be one file for each tensor
  std::byte* memory_;
  std::mutex mutex_;
  std::vector<bool> is_read_;  // by chunk
};

/// Where the bytes of external tensors come from. Safe between threads.
class ExternalData {
 public:
  /// Files must lie (after symbolic links) in one of `directories`; without any, none are allowed.
  explicit ExternalData(std::vector<std::string> directories);
  /// Errors: kInvalidModel if `location` leaves the directories; those of ExternalFile::open.
  Result<std::shared_ptr<ExternalFile>> open(const std::string& location);

 private:
  std::vector<std::string> directories_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<ExternalFile>> files_;
};

}  // namespace corf::onnx
