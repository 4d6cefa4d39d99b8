#include "host/call.h"

#include <cstring>
#include <utility>

#include "host/scope.h"

namespace corf::host {

using onnx_proto::AttributeProto;

const Value& Call::input(size_t i) const {
  static const Value nothing;
  return i < inputs_.size() ? inputs_[i] : nothing;
}

Result<Tensor> Call::tensor(size_t i) const {
  if (const Tensor* tensor = input(i).tensor()) return *tensor;
  return invalid("its input {} is {}, not a tensor of numbers", i, input(i).described());
}

Result<const Strings*> Call::strings(size_t i) const {
  if (const Strings* strings = input(i).strings()) return strings;
  return invalid("its input {} is {}, not a tensor of strings", i, input(i).described());
}

Result<const Value::Sequence*> Call::sequence(size_t i) const {
  if (const Value::Sequence* sequence = input(i).sequence()) return sequence;
  return invalid("its input {} is {}, not a sequence", i, input(i).described());
}

Result<int64_t> Call::integer(size_t i) const {
  CORF_ASSIGN(const Tensor held, tensor(i));
  if (held.num_elems() == 1 && is_integer(held.dtype())) return held.at_i64(0);
  return bad_value("its input {} is {}, not one integer", i, input(i).described());
}

const AttributeProto* Call::find(std::string_view name) const {
  for (const AttributeProto& attribute : node_.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

int64_t Call::int_attribute(std::string_view name, int64_t otherwise) const {
  const AttributeProto* attribute = find(name);
  return attribute != nullptr && attribute->has_i() ? attribute->i() : otherwise;
}

float Call::float_attribute(std::string_view name, float otherwise) const {
  const AttributeProto* attribute = find(name);
  return attribute != nullptr && attribute->has_f() ? attribute->f() : otherwise;
}

std::string Call::string_attribute(std::string_view name, std::string_view otherwise) const {
  const AttributeProto* attribute = find(name);
  return attribute != nullptr && attribute->has_s() ? attribute->s() : std::string(otherwise);
}

std::vector<int64_t> Call::ints_attribute(std::string_view name) const {
  const AttributeProto* attribute = find(name);
  if (attribute == nullptr) return {};
  return {attribute->ints().begin(), attribute->ints().end()};
}

std::vector<float> Call::floats_attribute(std::string_view name) const {
  const AttributeProto* attribute = find(name);
  if (attribute == nullptr) return {};
  return {attribute->floats().begin(), attribute->floats().end()};
}

std::vector<std::string> Call::strings_attribute(std::string_view name) const {
  const AttributeProto* attribute = find(name);
  if (attribute == nullptr) return {};
  return {attribute->strings().begin(), attribute->strings().end()};
}

Result<Value> Call::value_attribute(std::string_view name) const {
  const AttributeProto* attribute = find(name);
  if (attribute == nullptr || !attribute->has_t()) return Value();
  return read_value(block_, attribute->t(),
                    fmt::format("{}: attribute '{}'", onnx::describe(node_), name));
}

Result<int> Call::axis(int64_t wanted, size_t rank) const {
  const auto count = static_cast<int64_t>(rank);
  if (wanted >= -count && wanted < count) {
    return static_cast<int>(wanted < 0 ? wanted + count : wanted);
  }
  return bad_value("axis {} of a value of rank {}", wanted, rank);
}

Error Call::refuse(ErrorCode code, const std::string& why) const {
  return Error{code, fmt::format("{}: {}", onnx::describe(node_), why)};
}

const Shape& shape_of(const Value& value) {
  static const Shape scalar;
  if (const Tensor* tensor = value.tensor()) return tensor->shape();
  if (const Strings* strings = value.strings()) return strings->shape;
  if (const session::Narrow* narrow = value.narrow()) return narrow->codes.shape();
  return scalar;
}

namespace {

/// Extents before and behind an axis, multiplied.
std::pair<int64_t, int64_t> around(const Shape& shape, int axis) {
  return {num_elems({shape.begin(), shape.begin() + axis}),
          num_elems({shape.begin() + axis + 1, shape.end()})};
}

/// Fills a value that nobody else holds yet.
class Filling {
 public:
  explicit Filling(const Value& like_this, const Shape& shape) {
    if (const Tensor* tensor = like_this.tensor()) {
      tensor_ = Tensor(tensor->dtype(), shape);
    } else {
      strings_.shape = shape;
      strings_.elems.resize(num_elems(shape));
      is_tensor_ = false;
    }
  }
  void copy(const Value& from, int64_t begin, int64_t count, int64_t to) {
    if (count == 0) return;
    if (is_tensor_) {
      const int64_t width = size_bytes(tensor_.dtype());
      std::memcpy(tensor_.bytes() + to * width, from.tensor()->bytes() + begin * width,
                  count * width);
    } else {
      const auto first = from.strings()->elems.begin() + begin;
      std::copy(first, first + count, strings_.elems.begin() + to);
    }
  }
  Value take() { return is_tensor_ ? Value(std::move(tensor_)) : Value(std::move(strings_)); }

 private:
  bool is_tensor_ = true;
  Tensor tensor_;
  Strings strings_;
};

}  // namespace

Value rows(const Value& value, int axis, std::span<const int64_t> indices) {
  const Shape& from = shape_of(value);
  Shape shape = from;
  shape[axis] = static_cast<int64_t>(indices.size());
  const auto [outer, inner] = around(from, axis);
  Filling filling(value, shape);
  int64_t to = 0;
  for (int64_t o = 0; o < outer; ++o) {
    for (const int64_t index : indices) {
      filling.copy(value, (o * from[axis] + index) * inner, inner, to);
      to += inner;
    }
  }
  return filling.take();
}

Value reshaped(const Value& value, Shape shape) {
  if (const Tensor* tensor = value.tensor()) return tensor->reshaped(std::move(shape));
  return Strings{std::move(shape), value.strings()->elems};
}

Result<Value> concatenated(const Values& operands, int axis) {
  Shape shape = shape_of(operands[0]);
  shape[axis] = 0;
  for (const Value& operand : operands) {
    Shape other = shape_of(operand);
    const bool fits =
        (operand.tensor() != nullptr) == (operands[0].tensor() != nullptr) &&
        (operand.tensor() != nullptr || operand.strings() != nullptr) &&
        other.size() == shape.size() &&
        (operand.tensor() == nullptr || operand.tensor()->dtype() == operands[0].tensor()->dtype());
    const int64_t extent = fits ? std::exchange(other[axis], shape[axis]) : 0;
    if (!fits || other != shape) {
      return make_error(ErrorCode::kInvalidArgument, "{} and {} are put together along axis {}",
                        operands[0].described(), operand.described(), axis);
    }
    shape[axis] += extent;
  }
  const auto [outer, inner] = around(shape, axis);
  Filling filling(operands[0], shape);
  int64_t to = 0;
  for (int64_t o = 0; o < outer; ++o) {
    for (const Value& operand : operands) {
      const int64_t run = shape_of(operand)[axis] * inner;
      filling.copy(operand, o * run, run, to);
      to += run;
    }
  }
  return filling.take();
}

Tensor integers(const Shape& shape, std::span<const int64_t> values) {
  return make_tensor<int64_t>(shape, values);
}

}  // namespace corf::host
