#include "inputs.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <random>

#include "files.h"
#include "progress.h"
#include "support/printable.h"

namespace corf::command {
namespace {

constexpr int64_t kMostTensorBytes = int64_t{2} << 30;  // of a protobuf message

/// In [-1, 1), the same on every machine.
double uniform(std::mt19937_64& random) {
  return static_cast<double>(random() >> 40) / static_cast<double>(1 << 23) - 1.0;
}

/// A number below 1 in absolute value in a 16-bit float format with `mantissa_bits`.
uint16_t uniform_16(std::mt19937_64& random, int mantissa_bits, int exponent_bias) {
  const uint64_t bits = random();
  const uint64_t sign = bits & 1;
  const uint64_t exponent = static_cast<uint64_t>(exponent_bias) - 1 - (bits >> 1) % 4;
  const uint64_t mantissa = (bits >> 8) & ((1u << mantissa_bits) - 1);
  return static_cast<uint16_t>(sign << 15 | exponent << mantissa_bits | mantissa);
}

template <typename T>
void fill_bits(Array& array, std::mt19937_64& random) {
  for (size_t i = 0; i < array.num_elems(); ++i) {
    array.data<T>()[i] = static_cast<T>(random() >> 63);
  }
}

Array random_array(const Declaration& declaration, std::mt19937_64& random) {
  Array array(declaration.name, declaration.dtype, declaration.extents);
  switch (declaration.dtype) {
    case CORF_BOOL:
    case CORF_I8:
    case CORF_U8:
      fill_bits<uint8_t>(array, random);
      break;
    case CORF_I16:
    case CORF_U16:
      fill_bits<uint16_t>(array, random);
      break;
    case CORF_I32:
    case CORF_U32:
      fill_bits<uint32_t>(array, random);
      break;
    case CORF_I64:
    case CORF_U64:
      fill_bits<uint64_t>(array, random);
      break;
    case CORF_F16:
      std::generate_n(array.data<uint16_t>(), array.num_elems(),
                      [&] { return uniform_16(random, 10, 15); });
      break;
    case CORF_BF16:
      std::generate_n(array.data<uint16_t>(), array.num_elems(),
                      [&] { return uniform_16(random, 7, 127); });
      break;
    case CORF_F32:
      std::generate_n(array.data<float>(), array.num_elems(),
                      [&] { return static_cast<float>(uniform(random)); });
      break;
    case CORF_F64:
      std::generate_n(array.data<double>(), array.num_elems(), [&] { return uniform(random); });
      break;
    case CORF_DTYPE_RANGE:
      break;
  }
  return array;
}

}  // namespace

namespace {

/// CORF_TENSOR for a name that is no input's too, for the library to complain about.
corf_kind kind_of(const Session& session, const std::string& input) {
  const std::vector<Declaration> declared = session.inputs();
  for (size_t i = 0; i < declared.size(); ++i) {
    if (declared[i].name == input) return session.input_kind(i);
  }
  return CORF_TENSOR;
}

/// An input that is no tensor, out of the file that is given for it.
std::optional<Value> read_value(const Settings& settings, const std::string& input,
                                corf_kind kind) {
  for (const std::string& argument : settings.input_arguments) {
    const auto [name, file] = split_at_first_equals(argument);
    if (name == input) return Value::parse_onnx(read_file(file, kMostTensorBytes), kind);
  }
  return std::nullopt;
}

std::string_view in_words(corf_kind kind) {
  switch (kind) {
    case CORF_STRINGS:
      return "a tensor of strings";
    case CORF_NARROW:
      return "a tensor of elements of 8 bits or less";
    case CORF_SEQUENCE:
      return "a sequence";
    case CORF_OPTIONAL:
      return "an optional";
    default:
      return "no tensor";
  }
}

}  // namespace

std::vector<Value> Inputs::values(const Session& session) const {
  std::vector<Value> values;
  for (const Declaration& declaration : session.inputs()) {
    if (const auto other = of_others.find(declaration.name); other != of_others.end()) {
      values.push_back(other->second);
      continue;
    }
    const auto array = std::find_if(arrays.begin(), arrays.end(), [&](const Array& candidate) {
      return candidate.name() == declaration.name;
    });
    values.emplace_back(*array);
  }
  return values;
}

Inputs read_all_inputs(const Session& session, const Settings& settings) {
  Inputs inputs;
  inputs.arrays = read_inputs(session, settings);
  const Shapes shapes = shapes_with(settings, inputs.arrays);
  const std::vector<Declaration> declared = session.inputs();
  for (size_t i = 0; i < declared.size(); ++i) {
    const corf_kind kind = session.input_kind(i);
    if (kind == CORF_TENSOR) continue;
    inputs.are_all_tensors = false;
    std::optional<Value> given = read_value(settings, declared[i].name, kind);
    if (!given) {
      throw Exception(
          CORF_INVALID_ARGUMENT,
          fmt::format("input '{}' is {}: give its value with --input {}=FILE.pb",
                      printable(declared[i].name), in_words(kind), printable(declared[i].name)));
    }
    inputs.of_others.emplace(declared[i].name, *given);
  }
  inputs.arrays =
      complete_inputs(std::move(inputs.arrays), session.tensor_inputs(shapes), settings.seed);
  return inputs;
}

std::vector<Array> read_inputs(const Session& session, const Settings& settings) {
  std::vector<Array> arrays;
  for (const std::string& argument : settings.input_arguments) {
    const auto [name, file] = split_at_first_equals(argument);
    if (kind_of(session, name) != CORF_TENSOR) continue;
    arrays.push_back(file.ends_with(".pb") ? Array::parse_onnx(read_file(file, kMostTensorBytes))
                                           : read_npy(file));
    arrays.back().rename(name);
  }
  return arrays;
}

Shapes shapes_with(const Settings& settings, const std::vector<Array>& given) {
  Shapes shapes = settings.shapes();
  for (const Array& array : given) {
    const auto [entry, is_new] = shapes.try_emplace(array.name(), array.extents());
    if (!is_new && entry->second != array.extents()) {
      throw Exception(CORF_INVALID_ARGUMENT,
                      "input '" + array.name() + "' has the shape " + to_text(array.extents()) +
                          " in its file, but --shape says " + to_text(entry->second));
    }
  }
  return shapes;
}

std::vector<Array> complete_inputs(std::vector<Array> given,
                                   const std::vector<Declaration>& declared, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (const Declaration& declaration : declared) {
    Array drawn = random_array(declaration, random);
    const bool is_given = std::any_of(given.begin(), given.end(), [&](const Array& array) {
      return array.name() == declaration.name;
    });
    if (!is_given) given.push_back(std::move(drawn));
  }
  return given;
}

Executable compile_watched(Session& session, const Settings& settings, const Shapes& shapes) {
  const Waiting waiting("compiling " + printable(settings.model));
  return session.compile(shapes);
}

}  // namespace corf::command
