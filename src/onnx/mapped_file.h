#pragma once
#include <memory>
#include <string>

#include "support/result.h"

namespace corf::onnx {

/// A file's bytes mapped read-only; unmapped with the last reference.
class MappedFile {
 public:
  /// Errors: kIo naming the path and the reason; a directory or device is refused.
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* bytes() const { return static_cast<const std::byte*>(data_); }
  size_t size_bytes() const { return size_bytes_; }

 private:
  MappedFile(void* data, size_t size_bytes) : data_(data), size_bytes_(size_bytes) {}
  void* data_;
  size_t size_bytes_;
};

}  // namespace corf::onnx
