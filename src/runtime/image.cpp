#include "runtime/image.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "support/checked.h"
#include "target/machine.h"

namespace corf::runtime {

LoadedImage::~LoadedImage() {
  if (base_) munmap(base_, size_bytes_);
}

Result<std::shared_ptr<LoadedImage>> load_image(const Image& image) {
  const auto isa = parse_isa(image.isa);
  if (!isa) {
    return make_error(ErrorCode::kInvalidArgument, "the image is for an unknown ISA '{}'",
                      image.isa);
  }
  if (!has_isa(*isa)) {
    return make_error(ErrorCode::kUnsupported,
                      "the code was generated for {}, which this machine lacks; compile it again "
                      "here or with --isa {}",
                      image.isa, to_string(best_isa()));
  }
  const auto size_bytes = static_cast<int64_t>(image.bytes.size());
  for (const Image::Entry& entry : image.entries) {
    if (entry.offset_bytes < 0 || entry.offset_bytes >= size_bytes) {
      return make_error(ErrorCode::kInvalidArgument,
                        "kernel '{}' starts at byte {} of an image of {} bytes", entry.name,
                        entry.offset_bytes, size_bytes);
    }
  }
  std::shared_ptr<LoadedImage> loaded(new LoadedImage);
  if (size_bytes == 0) return loaded;

  const int64_t mapped_bytes = round_up(size_bytes, sysconf(_SC_PAGESIZE));
  void* base = mmap(nullptr, static_cast<size_t>(mapped_bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    return make_error(ErrorCode::kOutOfMemory, "no memory for {} bytes of code: {}", mapped_bytes,
                      std::strerror(errno));
  }
  loaded->base_ = base;
  loaded->size_bytes_ = static_cast<size_t>(mapped_bytes);
  std::memcpy(base, image.bytes.data(), image.bytes.size());
  if (mprotect(base, loaded->size_bytes_, PROT_READ | PROT_EXEC) != 0) {
    return make_error(ErrorCode::kUnsupported, "the system forbids generated code: {}",
                      std::strerror(errno));
  }
  for (const Image::Entry& entry : image.entries) {
    loaded->kernels_.push_back(
        reinterpret_cast<KernelFunction>(static_cast<std::byte*>(base) + entry.offset_bytes));
  }
  return loaded;
}

}  // namespace corf::runtime
