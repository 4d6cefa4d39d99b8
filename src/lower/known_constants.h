#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include "support/at_fork.h"
#include "tensor/tensor.h"

namespace corf::lower {

/// Constants that programs of earlier shapes hold, in the order in which kernels read them, by what
/// they were made of: they are neither packed nor compared again. Nothing is kept that no
/// executable uses. Threads may share it.
class KnownConstants {
 public:
  /// Stands for bytes: equal for equal ones only.
  using Hash = std::function<std::string(std::span<const std::byte>)>;
  explicit KnownConstants(Hash hash) : hash_(std::move(hash)) {}

  /// Smaller ones are made anew.
  static constexpr int64_t kLeastBytes = 4096;

  /// Stands for a tensor's bytes. They are looked at once as long as the tensor is alive, as the
  /// model's own are.
  std::string identity_of(const Tensor& tensor);
  /// The constant of this origin; empty if nobody holds it.
  Tensor find(const std::string& origin);
  void insert(const std::string& origin, const Tensor& constant);

 private:
  /// A tensor, as long as somebody else has it.
  struct Held {
    std::weak_ptr<void> owner;
    DType dtype = DType::kF32;
    Shape shape;
    void* data = nullptr;
  };
  struct Seen {
    std::weak_ptr<void> owner;
    int64_t size_bytes = 0;
    std::string identity;
  };
  const Hash hash_;
  BriefMutex mutex_;
  std::unordered_map<std::string, Held> held_;  // by origin
  std::unordered_map<const void*, Seen> seen_;  // by address
};

}  // namespace corf::lower
