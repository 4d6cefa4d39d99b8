#pragma once
#include <cstddef>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace corf {

/// Memory between two pages that fault when touched. The bytes end (or begin) exactly at one.
class GuardedBuffer {
 public:
  enum class Side { kEnd, kBegin };

  /// Filled with 0xFF bytes: NaN in every float type.
  explicit GuardedBuffer(size_t size_bytes, Side side = Side::kEnd) : size_bytes_(size_bytes) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inside = (size_bytes + page - 1) / page * page;
    mapped_bytes_ = inside + 2 * page;
    base_ = static_cast<std::byte*>(
        mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) std::abort();
    mprotect(base_, page, PROT_NONE);
    mprotect(base_ + page + inside, page, PROT_NONE);
    data_ = base_ + page + (side == Side::kEnd ? inside - size_bytes : 0);
    std::memset(data_, 0xFF, size_bytes);
  }
  GuardedBuffer(GuardedBuffer&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        mapped_bytes_(other.mapped_bytes_),
        data_(other.data_),
        size_bytes_(other.size_bytes_) {}
  GuardedBuffer& operator=(GuardedBuffer&&) = delete;
  ~GuardedBuffer() {
    if (base_) munmap(base_, mapped_bytes_);
  }

  void* data() { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  std::byte* base_ = nullptr;
  size_t mapped_bytes_ = 0;
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace corf
