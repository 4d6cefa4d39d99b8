#include "runtime/share_constants.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>

#include "runtime/pages.h"
#include "support/at_fork.h"
#include "support/checked.h"

namespace corf::runtime {
namespace {

/// Smaller ones are not worth a comparison.
constexpr int64_t kLeastBytes = 4096;

using Bytes = std::span<const std::byte>;

/// Constants of some executable, as long as its block lives.
struct Held {
  std::weak_ptr<Tensor> block;
  int64_t offset_bytes = 0, size_bytes = 0;
};

struct Table {
  BriefMutex mutex;
  std::unordered_multimap<uint64_t, Held> held;  // by sketch
};

/// Never destroyed: executables may come and go to the end.
Table& table() {
  static auto* const instance = new Table();
  return *instance;
}

/// A number made of the size and of some of the words.
uint64_t sketch(Bytes bytes) {
  constexpr size_t kWords = 64;
  constexpr uint64_t kFactor = 0x9e3779b97f4a7c15;  // odd, of no regular bits
  uint64_t result = bytes.size() * kFactor;
  const size_t stride = std::max<size_t>(bytes.size() / kWords, sizeof(uint64_t));
  for (size_t at = 0; at + sizeof(uint64_t) <= bytes.size(); at += stride) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    result = ((result ^ word) * kFactor) ^ (result >> 29);
  }
  return result;
}

/// A part of a block, which it keeps alive.
Tensor part_of(const std::shared_ptr<Tensor>& block, int64_t offset_bytes, int64_t size_bytes) {
  return Tensor(DType::kU8, {size_bytes}, block, block->bytes() + offset_bytes);
}

/// Equal bytes that somebody holds; an empty tensor if nobody does.
Tensor find_equal(Bytes bytes) {
  std::vector<Tensor> candidates;
  {
    const std::lock_guard lock(table().mutex);
    auto [it, end] = table().held.equal_range(sketch(bytes));
    while (it != end) {
      const std::shared_ptr<Tensor> block = it->second.block.lock();
      if (block == nullptr) {
        it = table().held.erase(it);
        continue;
      }
      if (it->second.size_bytes == static_cast<int64_t>(bytes.size())) {
        candidates.push_back(part_of(block, it->second.offset_bytes, it->second.size_bytes));
      }
      ++it;
    }
  }
  for (Tensor& candidate : candidates) {
    if (std::memcmp(candidate.bytes(), bytes.data(), bytes.size()) == 0) {
      return std::move(candidate);
    }
  }
  return {};
}

void forget_freed() {
  std::erase_if(table().held, [](const auto& entry) { return entry.second.block.expired(); });
}

bool is_own(const BufferPlace& place) {
  return place.kind == BufferPlace::Kind::kConstant && place.block == 0;
}

Bytes bytes_of(const ExecutableSpec& spec, const BufferPlace& place) {
  const Tensor& block = place.block == 0 ? spec.constants : spec.shared_constants[place.block - 1];
  return {block.bytes() + place.offset_bytes, static_cast<size_t>(place.size_bytes)};
}

/// One behind the other, as `buffers` says then; the bytes of the block.
int64_t lay_out(std::vector<BufferPlace>& buffers) {
  int64_t end = 0;
  for (BufferPlace& place : buffers) {
    if (!is_own(place)) continue;
    place.offset_bytes = end;
    end += round_up(place.size_bytes, kBufferAlignment);
  }
  return end;
}

/// Fills a block that is laid out as `to` says with the constants of `spec`.
Result<Tensor> gather(const ExecutableSpec& spec, const std::vector<BufferPlace>& to,
                      int64_t size_bytes) {
  CORF_ASSIGN(Pages pages, map_pages(size_bytes));
  for (size_t i = 0; i < to.size(); ++i) {
    if (!is_own(to[i]) || to[i].size_bytes == 0) continue;
    const Bytes from = bytes_of(spec, spec.buffers[i]);
    std::copy(from.begin(), from.end(), pages.data() + to[i].offset_bytes);
  }
  pages.forbid_writes();
  auto owner = std::make_shared<Pages>(std::move(pages));
  std::byte* const data = owner->data();
  return Tensor(DType::kU8, {size_bytes}, std::move(owner), data);
}

/// Lets others find the spec's own constants.
void hold_out(ExecutableSpec& spec) {
  spec.are_constants_held_out = true;
  if (spec.constants.empty()) return;
  const auto block = std::make_shared<Tensor>(spec.constants);
  spec.constants = part_of(block, 0, block->size_bytes());
  const std::lock_guard lock(table().mutex);
  forget_freed();
  for (const BufferPlace& place : spec.buffers) {
    if (!is_own(place) || place.size_bytes < kLeastBytes) continue;
    table().held.emplace(sketch(bytes_of(spec, place)),
                         Held{block, place.offset_bytes, place.size_bytes});
  }
}

}  // namespace

void share_constants(ExecutableSpec& spec) {
  if (!spec.constants_in_place || spec.are_constants_held_out) return;
  std::vector<BufferPlace> buffers = spec.buffers;
  std::vector<Tensor> shared = spec.shared_constants;
  for (BufferPlace& place : buffers) {
    if (!is_own(place) || place.size_bytes < kLeastBytes) continue;
    Tensor equal = find_equal(bytes_of(spec, place));
    if (equal.empty()) continue;
    shared.push_back(std::move(equal));
    place.block = static_cast<int>(shared.size());
    place.offset_bytes = 0;
  }
  if (shared.size() > spec.shared_constants.size()) {
    Result<Tensor> rest = gather(spec, buffers, lay_out(buffers));
    if (!rest.ok()) return;
    spec.constants = rest.take();
    spec.buffers = std::move(buffers);
    spec.shared_constants = std::move(shared);
  }
  hold_out(spec);
}

ExecutableSpec with_own_constants(const ExecutableSpec& spec) {
  ExecutableSpec own = spec;
  if (spec.shared_constants.empty()) return own;
  for (BufferPlace& place : own.buffers) place.block = 0;
  const int64_t size_bytes = lay_out(own.buffers);
  own.constants = Tensor(DType::kU8, {size_bytes});
  own.constants_in_place = false;
  own.shared_constants.clear();
  for (size_t i = 0; i < own.buffers.size(); ++i) {
    if (!is_own(own.buffers[i])) continue;
    const Bytes from = bytes_of(spec, spec.buffers[i]);
    std::copy(from.begin(), from.end(), own.constants.bytes() + own.buffers[i].offset_bytes);
  }
  return own;
}

Tensor constant_of(const ExecutableSpec& spec, const BufferPlace& place) {
  const Tensor& block = place.block == 0 ? spec.constants : spec.shared_constants[place.block - 1];
  auto* const data = const_cast<std::byte*>(block.bytes()) + place.offset_bytes;
  return Tensor(place.dtype, {place.size_bytes / size_bytes(place.dtype)}, block.owner().lock(),
                data);
}

int64_t constant_bytes(const ExecutableSpec& spec) {
  int64_t bytes = spec.constants.empty() ? 0 : spec.constants.size_bytes();
  for (const Tensor& shared : spec.shared_constants) bytes += shared.size_bytes();
  return bytes;
}

}  // namespace corf::runtime
