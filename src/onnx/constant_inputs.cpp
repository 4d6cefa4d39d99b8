#include <algorithm>
#include <charconv>
#include <fmt/ranges.h>

#include "onnx/model_state.h"

namespace corf::onnx {
namespace {

/// "true" and "false" count as 1 and 0.
std::optional<double> parse_number(std::string_view text) {
  if (text == "true") return 1.0;
  if (text == "false") return 0.0;
  double number = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  if (text == "true") return 1;
  if (text == "false") return 0;
  int64_t number = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string_view> split_at_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t comma = text.find(',');
    parts.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

Result<Tensor> parse_constant(const ModelTensor& input, std::string_view text) {
  const std::vector<std::string_view> parts = split_at_commas(text);
  Shape shape;
  for (const SymbolicDim& dim : input.dims) {
    // A list whose length the model leaves open is as long as what is given.
    const bool is_list = dim.extent < 0 && input.dims.size() == 1;
    if (!input.has_rank || (dim.extent < 0 && !is_list)) break;
    shape.push_back(is_list ? static_cast<int64_t>(parts.size()) : dim.extent);
  }
  if (!input.has_rank || shape.size() != input.dims.size()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "input '{}' cannot be made a constant: the model leaves its shape open",
                      input.name);
  }
  CORF_ASSIGN(const int64_t count, checked_num_elems(shape));
  if (parts.size() != 1 && static_cast<int64_t>(parts.size()) != count) {
    return make_error(ErrorCode::kInvalidArgument,
                      "constant input '{}' has {} elements, but {} values are given", input.name,
                      count, parts.size());
  }
  Tensor tensor(input.dtype, shape);
  for (int64_t i = 0; i < count; ++i) {
    const std::string_view part = parts[parts.size() == 1 ? 0 : i];
    const auto number = is_float(input.dtype) ? parse_number(part) : std::nullopt;
    const auto integer = is_float(input.dtype) ? std::nullopt : parse_integer(part);
    if (number) tensor.set_f64(i, *number);
    if (integer) tensor.set_i64(i, *integer);
    if (!number && (!integer || tensor.at_i64(i) != *integer)) {
      return make_error(ErrorCode::kInvalidArgument,
                        "constant input '{}': '{}' is no value of type {}", input.name, part,
                        to_string(input.dtype));
    }
  }
  return tensor;
}

}  // namespace

Status make_inputs_constant(Model::State& state, const InputConstants& constants) {
  for (const auto& [name, text] : constants) {
    auto input = std::find_if(state.inputs.begin(), state.inputs.end(),
                              [&](const ModelTensor& tensor) { return tensor.name == name; });
    if (input == state.inputs.end()) {
      std::vector<std::string> names;
      for (const ModelTensor& tensor : state.inputs) names.push_back(tensor.name);
      return make_error(ErrorCode::kInvalidArgument,
                        "a constant is given for '{}', which is no input; there are {}", name,
                        fmt::join(names, ", "));
    }
    if (input->kind != ValueKind::kTensor) {
      return make_error(ErrorCode::kInvalidArgument, "input '{}' is {} and cannot be a constant",
                        name, in_words(input->kind));
    }
    CORF_ASSIGN(Tensor tensor, parse_constant(*input, text));
    state.initializers.emplace(name, std::move(tensor));
    state.inputs.erase(input);
  }
  return {};
}

}  // namespace corf::onnx
