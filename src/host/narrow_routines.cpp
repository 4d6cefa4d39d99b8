// Casts and quantisation from and to the types of 8 bits and less (host/narrow.h).
#include <cmath>

#include "host/narrow.h"
#include "host/routines.h"

namespace corf::host {
namespace {

using session::Narrow;

/// Numbers of either kind, element by element.
class Numbers {
 public:
  explicit Numbers(const Value& value) : value_(value) {}
  double at(int64_t i) const {
    if (const Narrow* narrow = value_.narrow()) {
      return decode_narrow(narrow->type, narrow->codes.data<uint8_t>()[i]);
    }
    return value_.tensor()->at_f64(i);
  }
  int64_t count() const { return num_elems(shape_of(value_)); }

 private:
  const Value& value_;
};

Status check_numbers(const Call& call, size_t i) {
  if (call.input(i).tensor() != nullptr || call.input(i).narrow() != nullptr) return {};
  return call.invalid("its input {} is {}, not numbers", i, call.input(i).described());
}

Result<NarrowRounding> rounding_of(const Call& call) {
  const std::string mode = call.string_attribute("round_mode", "up");
  if (mode == "up") return NarrowRounding::kUp;
  if (mode == "down") return NarrowRounding::kDown;
  if (mode == "nearest") return NarrowRounding::kNearest;
  return call.invalid("unknown round_mode '{}'", mode);
}

Result<Value> converted(const Call& call, const Value& from, int64_t to) {
  const Numbers numbers(from);
  if (is_narrow(to)) {
    CORF_ASSIGN(const NarrowRounding rounding, rounding_of(call));
    const bool saturate = call.int_attribute("saturate", 1) != 0;
    Narrow narrow{static_cast<int>(to), Tensor(DType::kU8, shape_of(from))};
    for (int64_t i = 0; i < numbers.count(); ++i) {
      narrow.codes.data<uint8_t>()[i] =
          encode_narrow(narrow.type, numbers.at(i), saturate, rounding);
    }
    return Value(std::move(narrow));
  }
  const auto dtype = onnx::dtype_from_onnx(static_cast<int>(std::clamp<int64_t>(to, 0, 1000)));
  if (!dtype) return call.invalid("{} is no element type that corf has", to);
  Tensor result(*dtype, shape_of(from));
  for (int64_t i = 0; i < numbers.count(); ++i) result.set_f64(i, numbers.at(i));
  return Value(std::move(result));
}

/// The type that an input has, as TensorProto numbers it.
int64_t type_of(const Value& value) {
  if (const Narrow* narrow = value.narrow()) return narrow->type;
  for (int type = 1; type <= 16 && value.tensor() != nullptr; ++type) {
    if (onnx::dtype_from_onnx(type) == value.tensor()->dtype()) return type;
  }
  return 0;
}

Result<Values> run_cast_like(const Call& call) {
  CORF_RETURN_IF_ERROR(check_numbers(call, 0));
  CORF_RETURN_IF_ERROR(check_numbers(call, 1));
  CORF_ASSIGN(Value result, converted(call, call.input(0), type_of(call.input(1))));
  return Values{std::move(result)};
}

/// Where the scale of an element lies: one for all, one for each position along an axis, or one for
/// each block of an axis.
class ScalePositions {
 public:
  static Result<ScalePositions> create(const Call& call) {
    const Shape &x = shape_of(call.input(0)), &scale = shape_of(call.input(1));
    ScalePositions result;
    if (num_elems(scale) == 1) return result;
    CORF_ASSIGN(const int axis, call.axis(call.int_attribute("axis", 1), x.size()));
    result.inner_ = num_elems({x.begin() + axis + 1, x.end()});
    result.extent_ = x[axis];
    if (scale.size() == 1) {
      if (scale[0] != x[axis]) {
        return call.bad_value("{} scales for an axis of {}", scale[0], x[axis]);
      }
      result.kind_ = Kind::kAxis;
      return result;
    }
    result.block_ = call.int_attribute("block_size", 0);
    result.blocks_ = scale.size() == x.size() ? scale[axis] : 0;
    Shape expected = x;
    if (result.block_ > 0) expected[axis] = (x[axis] + result.block_ - 1) / result.block_;
    if (result.block_ < 1 || scale != expected) {
      return call.bad_value("scales {} for {} in blocks of {}", to_string(scale), to_string(x),
                            result.block_);
    }
    result.kind_ = Kind::kBlocks;
    return result;
  }
  int64_t at(int64_t i) const {
    if (kind_ == Kind::kOne) return 0;
    const int64_t along = i / inner_ % extent_;
    if (kind_ == Kind::kAxis) return along;
    return (i / inner_ / extent_ * blocks_ + along / block_) * inner_ + i % inner_;
  }

 private:
  enum class Kind : uint8_t { kOne, kAxis, kBlocks } kind_ = Kind::kOne;
  int64_t inner_ = 1, extent_ = 1, block_ = 1, blocks_ = 1;
};

Status check_zero_point(const Call& call) {
  if (!call.has(2)) return {};
  CORF_RETURN_IF_ERROR(check_numbers(call, 2));
  const bool both_are_one =
      num_elems(shape_of(call.input(2))) == 1 && num_elems(shape_of(call.input(1))) == 1;
  if (both_are_one || shape_of(call.input(2)) == shape_of(call.input(1))) return {};
  return call.bad_value("a zero point of shape {} for scales of shape {}",
                        to_string(shape_of(call.input(2))), to_string(shape_of(call.input(1))));
}

/// round(x / scale) + zero point of an integer type, or x / scale of a float type.
Result<Values> run_quantize(const Call& call) {
  CORF_RETURN_IF_ERROR(check_numbers(call, 0));
  CORF_RETURN_IF_ERROR(check_numbers(call, 1));
  CORF_RETURN_IF_ERROR(check_zero_point(call));
  const int64_t declared = call.int_attribute("output_dtype", 0);
  const int64_t type = call.has(2) ? type_of(call.input(2)) : declared;
  if (!is_narrow(type) || (declared != 0 && declared != type)) {
    return call.invalid("its zero point and attribute 'output_dtype' ({}) do not fit", declared);
  }
  CORF_ASSIGN(const auto positions, ScalePositions::create(call));
  const Numbers x(call.input(0)), scales(call.input(1));
  const bool is_integer_type = is_narrow_integer(static_cast<int>(type));
  const bool saturate = call.int_attribute("saturate", 1) != 0;
  Narrow result{static_cast<int>(type), Tensor(DType::kU8, shape_of(call.input(0)))};
  for (int64_t i = 0; i < x.count(); ++i) {
    const int64_t position = positions.at(i);
    const auto quotient = static_cast<float>(x.at(i)) / static_cast<float>(scales.at(position));
    const double zero_point = call.has(2) ? Numbers(call.input(2)).at(position) : 0;
    result.codes.data<uint8_t>()[i] =
        is_integer_type ? quantize_narrow(result.type, std::nearbyint(quotient) + zero_point)
                        : encode_narrow(result.type, quotient + zero_point, saturate);
  }
  return Values{Value(std::move(result))};
}

/// (x - zero point) scale, of the scale's type.
Result<Values> run_dequantize(const Call& call) {
  CORF_RETURN_IF_ERROR(check_numbers(call, 0));
  CORF_RETURN_IF_ERROR(check_numbers(call, 1));
  CORF_RETURN_IF_ERROR(check_zero_point(call));
  const int64_t type = call.int_attribute("output_dtype", 0);
  const auto dtype = onnx::dtype_from_onnx(
      static_cast<int>(type != 0 ? std::clamp<int64_t>(type, 0, 1000) : type_of(call.input(1))));
  if (!dtype || !is_float(*dtype)) return call.invalid("its result would not be floats");
  CORF_ASSIGN(const auto positions, ScalePositions::create(call));
  const Numbers x(call.input(0)), scales(call.input(1));
  Tensor result(*dtype, shape_of(call.input(0)));
  for (int64_t i = 0; i < x.count(); ++i) {
    const int64_t position = positions.at(i);
    const double zero_point = call.has(2) ? Numbers(call.input(2)).at(position) : 0;
    result.set_f64(i, (x.at(i) - zero_point) * scales.at(position));
  }
  return Values{std::move(result)};
}

constexpr RoutineEntry kRoutines[] = {
    {"CastLike", run_cast_like},
    {"DequantizeLinear", run_dequantize},
    {"QuantizeLinear", run_quantize},
};

}  // namespace

Result<Value> cast_numbers(const Call& call) {
  CORF_RETURN_IF_ERROR(check_numbers(call, 0));
  return converted(call, call.input(0), call.int_attribute("to", 0));
}

std::span<const RoutineEntry> narrow_routines() { return kRoutines; }

}  // namespace corf::host
