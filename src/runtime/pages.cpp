#include "runtime/pages.h"

#include <cerrno>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

#include "support/checked.h"

namespace corf::runtime {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;
/// From there on small pages would be more than the first level of address translation holds.
constexpr int64_t kWorthHugePageBytes = int64_t{128} << 10;
constexpr int64_t kMaxBytes = int64_t{1} << 46;

Result<void*> map(int64_t size_bytes) {
  void* base = size_bytes > kMaxBytes
                   ? MAP_FAILED
                   : mmap(nullptr, static_cast<size_t>(size_bytes), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base != MAP_FAILED) return base;
  return make_error(ErrorCode::kOutOfMemory, "{} bytes of memory are not to be had: {}", size_bytes,
                    size_bytes > kMaxBytes ? "too large" : std::strerror(errno));
}

}  // namespace

Pages::~Pages() {
  if (base_ != nullptr) munmap(base_, mapped_bytes_);
}

void Pages::forbid_writes() {
  if (base_ != nullptr) mprotect(base_, mapped_bytes_, PROT_READ);
}

Result<Pages> map_pages(int64_t size_bytes) {
  Pages pages;
  if (size_bytes == 0) return pages;
  const bool huge = size_bytes >= kWorthHugePageBytes && size_bytes <= kMaxBytes;
  const int64_t used = huge ? round_up(size_bytes, kHugePageBytes) : size_bytes;
  // Room to begin at a multiple of a huge page.
  const int64_t mapped = huge ? used + kHugePageBytes : used;
  CORF_ASSIGN(pages.base_, map(mapped));
  pages.mapped_bytes_ = static_cast<size_t>(mapped);
  auto address = reinterpret_cast<uintptr_t>(pages.base_);
  if (huge) {
    address = static_cast<uintptr_t>(round_up(static_cast<int64_t>(address), kHugePageBytes));
    madvise(reinterpret_cast<void*>(address), static_cast<size_t>(used), MADV_HUGEPAGE);
  }
  pages.data_ = reinterpret_cast<std::byte*>(address);
  return pages;
}

Result<Pages> PagesPool::take(int64_t size_bytes) {
  Pages pages;
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      pages = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (pages.capacity_bytes() >= size_bytes) return pages;
  pages = Pages();  // before there are larger ones
  return map_pages(size_bytes);
}

void PagesPool::give_back(Pages pages) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(pages));
}

Result<Pages> map_guarded_pages(int64_t size_bytes) {
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  const int64_t used = size_bytes > kMaxBytes ? size_bytes : round_up(size_bytes, page_bytes);
  Pages pages;
  CORF_ASSIGN(pages.base_, map(size_bytes > kMaxBytes ? size_bytes : used + page_bytes));
  pages.mapped_bytes_ = static_cast<size_t>(used + page_bytes);
  auto* base = static_cast<std::byte*>(pages.base_);
  mprotect(base + used, static_cast<size_t>(page_bytes), PROT_NONE);
  pages.data_ = base + (used - size_bytes);
  return pages;
}

}  // namespace corf::runtime
