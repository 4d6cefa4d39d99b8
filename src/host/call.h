#pragma once
#include <span>
#include <string_view>

#include "onnx/block.h"
#include "session/value.h"

namespace corf::host {

using session::Strings;
using session::Value;
using Values = std::vector<Value>;

/// One node that the host carries out: what its routine sees.
class Call {
 public:
  Call(const onnx::Block& block, const onnx_proto::NodeProto& node, const Values& inputs)
      : block_(block), node_(node), inputs_(inputs) {}

  const Values& inputs() const { return inputs_; }
  int num_outputs() const { return node_.output_size(); }
  bool has(size_t i) const { return i < inputs_.size() && !inputs_[i].is_nothing(); }
  /// Nothing where the node has no such input.
  const Value& input(size_t i) const;
  /// Errors: kInvalidModel if the input is of another kind.
  Result<Tensor> tensor(size_t i) const;
  Result<const Strings*> strings(size_t i) const;
  Result<const Value::Sequence*> sequence(size_t i) const;
  /// Errors: as of tensor; kInvalidArgument if it is not one integer.
  Result<int64_t> integer(size_t i) const;

  bool has_attribute(std::string_view name) const { return find(name) != nullptr; }
  int64_t int_attribute(std::string_view name, int64_t otherwise) const;
  float float_attribute(std::string_view name, float otherwise) const;
  std::string string_attribute(std::string_view name, std::string_view otherwise) const;
  std::vector<int64_t> ints_attribute(std::string_view name) const;
  std::vector<float> floats_attribute(std::string_view name) const;
  std::vector<std::string> strings_attribute(std::string_view name) const;
  /// A tensor or strings; nothing where there is no such attribute.
  Result<Value> value_attribute(std::string_view name) const;

  /// The axis counted from 0. Errors: kInvalidArgument if there is no such axis.
  Result<int> axis(int64_t wanted, size_t rank) const;

  template <typename... Args>
  Error invalid(fmt::format_string<Args...> format, Args&&... args) const {
    return refuse(ErrorCode::kInvalidModel, fmt::format(format, std::forward<Args>(args)...));
  }
  /// Of a value that the node does not admit.
  template <typename... Args>
  Error bad_value(fmt::format_string<Args...> format, Args&&... args) const {
    return refuse(ErrorCode::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  const onnx_proto::AttributeProto* find(std::string_view name) const;
  Error refuse(ErrorCode code, const std::string& why) const;

  const onnx::Block& block_;
  const onnx_proto::NodeProto& node_;
  const Values& inputs_;
};

/// A node's only output; braces would take a sequence for the list of outputs.
inline Values only(Value value) {
  Values outputs;
  outputs.push_back(std::move(value));
  return outputs;
}

/// Tensors and strings, whose elements are only moved.
const Shape& shape_of(const Value& value);
/// Slices of an axis in the order of `indices`, which lie inside of it.
Value rows(const Value& value, int axis, std::span<const int64_t> indices);
/// The same elements under another shape of as many.
Value reshaped(const Value& value, Shape shape);
/// Errors: without a node's name, if the operands do not fit together.
Result<Value> concatenated(const Values& operands, int axis);

Tensor integers(const Shape& shape, std::span<const int64_t> values);

}  // namespace corf::host
