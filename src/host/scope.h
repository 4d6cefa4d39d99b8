#pragma once
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "onnx/block.h"
#include "session/value.h"

namespace corf::host {

using session::Strings;
using session::Value;

/// A block, and the names that its inputs and nodes define.
struct NamedBlock {
  explicit NamedBlock(onnx::Block block);
  onnx::Block block;
  std::unordered_set<std::string> defined;
};

/// Errors: kInvalidModel if shape and strings disagree.
Result<Value> read_strings(const onnx_proto::TensorProto& proto, const std::string& what);

/// A byte for each element. Errors: kInvalidModel if shape and bytes disagree.
Result<Value> read_narrow(const onnx_proto::TensorProto& proto, const std::string& what);

/// A tensor or strings. `what` names it in messages. Errors: as of onnx::read_tensor.
Result<Value> read_value(const onnx::Block& block, const onnx_proto::TensorProto& proto,
                         const std::string& what);

/// Values by name in one run of a block, and behind them those of the blocks around it.
class Scope {
 public:
  using Observe = session::PieceRunner::Observe;

  Scope(const NamedBlock& block, const Scope* around, const Observe* observe)
      : block_(block), around_(around), observe_(observe) {}

  /// Of the run; null where nobody looks.
  const Observe* observe() const { return observe_; }

  void set(const std::string& name, Value value) { values_[name] = std::move(value); }
  /// Errors: kInvalidModel if nothing has computed it; those of constants that cannot be used.
  Result<Value> find(const std::string& name) const;
  /// Null if the name is no constant.
  const Result<Tensor>* find_constant(const std::string& name) const;
  /// Whether the value is there and is neither a tensor nor a constant that is one.
  bool is_no_tensor(const std::string& name) const;

 private:
  const NamedBlock& block_;
  const Scope* around_;
  const Observe* observe_;
  std::unordered_map<std::string, Value> values_;
};

}  // namespace corf::host
