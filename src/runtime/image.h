#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/kernel_abi.h"
#include "support/result.h"

namespace corf::runtime {

/// Position-independent code and constants without external symbols, and where each kernel starts.
struct Image {
  std::string isa;  // as to_string(Isa) has it
  std::vector<std::byte> bytes;
  struct Entry {
    std::string name;
    int64_t offset_bytes = 0;
  };
  std::vector<Entry> entries;
};

/// An image mapped read-only and executable; unmapped with the last owner.
class LoadedImage {
 public:
  ~LoadedImage();
  LoadedImage(const LoadedImage&) = delete;
  LoadedImage& operator=(const LoadedImage&) = delete;
  /// Kernels in the order of the image's entries.
  const std::vector<KernelFunction>& kernels() const { return kernels_; }

 private:
  friend Result<std::shared_ptr<LoadedImage>> load_image(const Image& image);
  LoadedImage() = default;
  void* base_ = nullptr;
  size_t size_bytes_ = 0;
  std::vector<KernelFunction> kernels_;
};

/// Copies the image into fresh pages, then makes them executable and no longer writable.
/// Errors: kUnsupported if the machine lacks the image's ISA; kOutOfMemory; kInvalidArgument if an
/// entry lies outside of the image.
Result<std::shared_ptr<LoadedImage>> load_image(const Image& image);

}  // namespace corf::runtime
