#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "support/at_fork.h"
#include "support/result.h"

namespace corf::runtime {

/// Zero-filled memory straight from the system, given back with its owner.
class Pages {
 public:
  Pages() = default;
  ~Pages();
  Pages(Pages&& other) noexcept { *this = std::move(other); }
  Pages& operator=(Pages&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    std::swap(data_, other.data_);
    return *this;
  }

  std::byte* data() const { return data_; }
  /// From data() on.
  int64_t capacity_bytes() const {
    return data_ == nullptr ? 0 : static_cast<std::byte*>(base_) + mapped_bytes_ - data_;
  }
  /// Makes it read-only until it is given back.
  void forbid_writes();

 private:
  friend Result<Pages> map_pages(int64_t size_bytes);
  friend Result<Pages> map_guarded_pages(int64_t size_bytes);
  void* base_ = nullptr;
  size_t mapped_bytes_ = 0;
  std::byte* data_ = nullptr;
};

/// At least `size_bytes`, aligned to a page; huge pages are asked for where it is large enough.
/// Errors: kOutOfMemory.
Result<Pages> map_pages(int64_t size_bytes);

/// `size_bytes` that end where an inaccessible page begins; hence aligned only as the size is.
/// Errors: kOutOfMemory.
Result<Pages> map_guarded_pages(int64_t size_bytes);

/// Memory that runs have one after the other: as much as the largest of them needs, as many times
/// as runs have gone side by side.
class PagesPool {
 public:
  /// At least `size_bytes`, as map_pages gives them, with whatever the last one has left there.
  /// Errors: kOutOfMemory.
  Result<Pages> take(int64_t size_bytes);
  void give_back(Pages pages);

 private:
  BriefMutex mutex_;
  std::vector<Pages> free_;
};

}  // namespace corf::runtime
