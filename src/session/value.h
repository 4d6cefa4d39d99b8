#pragma once
#include <corf/corf.h>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "tensor/tensor.h"

namespace corf::session {

class Session;

/// A tensor of strings, row by row.
struct Strings {
  Shape shape;
  std::vector<std::string> elems;
};

/// A tensor of elements of 8 bits or less that are only stored: a byte for each, with its bits in
/// the lowest. `type`: as TensorProto.data_type.
struct Narrow {
  int type = 0;
  Tensor codes;  // u8
};

/// What a model takes or gives. Copies share what they hold, which nobody changes.
class Value {
 public:
  using Sequence = std::vector<Value>;

  Value() = default;  // nothing: an optional without an element
  Value(Tensor tensor) : held_(std::move(tensor)) {}
  Value(Narrow narrow) : held_(std::move(narrow)) {}
  Value(Strings strings) : held_(std::make_shared<const Strings>(std::move(strings))) {}
  Value(Sequence items) : held_(std::make_shared<const Sequence>(std::move(items))) {}

  bool is_nothing() const { return std::holds_alternative<std::monostate>(held_); }
  /// Null for a value of another kind.
  const Tensor* tensor() const { return std::get_if<Tensor>(&held_); }
  const Narrow* narrow() const { return std::get_if<Narrow>(&held_); }
  const Strings* strings() const { return pointee<Strings>(); }
  const Sequence* sequence() const { return pointee<Sequence>(); }
  /// "f32 2x3", "strings 4", "a sequence of 3", "nothing", for messages.
  std::string described() const;

 private:
  template <typename T>
  const T* pointee() const {
    const auto* shared = std::get_if<std::shared_ptr<const T>>(&held_);
    return shared != nullptr ? shared->get() : nullptr;
  }
  std::variant<std::monostate, Tensor, Narrow, std::shared_ptr<const Strings>,
               std::shared_ptr<const Sequence>>
      held_;
};

/// Runs a model piece by piece: one whose shapes depend on data, or whose values are not tensors.
/// It is handed to a session, as the compiler is.
class PieceRunner {
 public:
  virtual ~PieceRunner() = default;
  /// Sees each run of a segment: its session, and one array for each of its inputs.
  using Observe = std::function<Status(Session& segment, const std::vector<const corf_tensor*>&)>;
  /// One value for each of the model's inputs and outputs, in order. `observe`: may be null.
  /// Errors: as of compiling, those of `observe`, and kInvalidArgument naming the node that does
  /// not admit a value.
  virtual Result<std::vector<Value>> run(const std::vector<Value>& inputs,
                                         const Observe& observe = nullptr) = 0;
};

}  // namespace corf::session

struct corf_value {
  corf::session::Value value;
};

namespace corf::session {

/// The values of a caller's inputs. Errors: kInvalidArgument if one is null.
Result<std::vector<Value>> to_values(const corf_value* const* inputs, size_t num_inputs);

}  // namespace corf::session
