#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace corf::codegen {

/// A number of 256 bits that stands for a sequence of texts and bytes: nobody finds two sequences
/// with the same (BLAKE3, as LLVM has it, at several GB/s).
class ContentHash {
 public:
  ContentHash();
  ~ContentHash();
  /// Bytes as they are: what is added in two pieces counts as their concatenation.
  void add_bytes(std::span<const std::byte> bytes);
  /// A text with its length, so that the sequence can be told from another with the same bytes.
  void add(std::string_view text);
  /// 64 hexadecimal digits.
  std::string digits() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Of bytes: 64 hexadecimal digits.
std::string hash_of(std::span<const std::byte> bytes);

}  // namespace corf::codegen
