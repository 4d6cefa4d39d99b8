#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace corf::fuzz {

/// Choices that a fuzzer's bytes make, one after the other: small changes of the bytes are small
/// changes of what is built from them. Where they have run out, every choice is the first one.
class Choices {
 public:
  explicit Choices(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  bool at_end() const { return bytes_.empty(); }

  /// In [0, n), for n up to 2^16; one byte where that is enough.
  size_t below(size_t n) {
    if (n <= 1) return 0;
    size_t number = byte();
    if (n > 256) number = number << 8 | byte();
    return number % n;
  }
  /// In [lo, hi].
  int64_t pick(int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(below(static_cast<size_t>(hi - lo + 1)));
  }
  /// True in about so many of 256 cases; false at the end.
  bool chance(int of_256) { return 255 - int(byte()) < of_256; }
  template <typename T>
  const T& any(const std::vector<T>& of) {
    return of[below(of.size())];
  }
  template <typename T, size_t n>
  const T& any(const T (&of)[n]) {
    return of[below(n)];
  }
  /// All 64 bits.
  int64_t word() {
    uint64_t bits = 0;
    for (int i = 0; i < 8; ++i) bits = bits << 8 | byte();
    return static_cast<int64_t>(bits);
  }
  std::span<const uint8_t> rest() { return std::exchange(bytes_, {}); }

 private:
  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const uint8_t first = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return first;
  }

  std::span<const uint8_t> bytes_;
};

}  // namespace corf::fuzz
