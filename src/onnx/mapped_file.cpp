#include "onnx/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace corf::onnx {

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    return make_error(ErrorCode::kIo, "cannot open '{}': {}", path, std::strerror(errno));
  }
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) {
    int reason = errno;
    ::close(descriptor);
    return make_error(ErrorCode::kIo, "cannot read '{}': {}", path, std::strerror(reason));
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor);
    return make_error(ErrorCode::kIo, "cannot read '{}': not a regular file", path);
  }
  auto size_bytes = static_cast<size_t>(status.st_size);
  void* data = nullptr;
  if (size_bytes > 0) {
    data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
  }
  int reason = errno;
  ::close(descriptor);
  if (data == MAP_FAILED) {
    return make_error(ErrorCode::kIo, "cannot map '{}': {}", path, std::strerror(reason));
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(data, size_bytes));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

}  // namespace corf::onnx
