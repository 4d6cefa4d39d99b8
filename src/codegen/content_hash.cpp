#include "codegen/content_hash.h"

#include <cstdint>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/BLAKE3.h>

namespace corf::codegen {

struct ContentHash::State {
  llvm::BLAKE3 hasher;
};

ContentHash::ContentHash() : state_(std::make_unique<State>()) {}
ContentHash::~ContentHash() = default;

void ContentHash::add_bytes(std::span<const std::byte> bytes) {
  state_->hasher.update({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

void ContentHash::add(std::string_view text) {
  const uint64_t size = text.size();
  add_bytes(std::as_bytes(std::span(&size, 1)));
  add_bytes(std::as_bytes(std::span(text)));
}

std::string ContentHash::digits() const {
  const auto result = state_->hasher.final();
  return llvm::toHex({result.data(), result.size()}, /*LowerCase=*/true);
}

std::string hash_of(std::span<const std::byte> bytes) {
  ContentHash hash;
  hash.add_bytes(bytes);
  return hash.digits();
}

}  // namespace corf::codegen
