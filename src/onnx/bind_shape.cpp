#include "onnx/bind_shape.h"

#include <algorithm>

#include "support/checked.h"

namespace corf::onnx {

bool has_sound_extents(const Shape& shape) {
  constexpr int64_t kMaxElems = int64_t{1} << 40;
  int64_t product = 1;
  for (const int64_t extent : shape) {
    const auto next =
        extent < 0 ? std::nullopt : checked_mul(product, std::max<int64_t>(extent, 1));
    if (!next || *next > kMaxElems) return false;
    product = *next;
  }
  return true;
}

Result<Shape> bind_shape(const ModelTensor& input, const ShapeBindings& bindings) {
  std::string declared;
  for (const SymbolicDim& dim : input.dims) {
    declared += (declared.empty() ? "" : "x") +
                (dim.symbol.empty() ? std::to_string(dim.extent) : dim.symbol);
  }
  auto bound = bindings.find(input.name);
  if (bound == bindings.end() && !input.has_rank) {
    return make_error(ErrorCode::kInvalidArgument,
                      "the model declares no shape for input '{}'; give one under its name",
                      input.name);
  }
  Shape shape;
  if (bound != bindings.end()) {
    shape = bound->second;
    bool matches = !input.has_rank || shape.size() == input.dims.size();
    for (size_t i = 0; matches && i < input.dims.size(); ++i) {
      matches = input.dims[i].extent < 0 || input.dims[i].extent == shape[i];
    }
    if (!matches) {
      return make_error(ErrorCode::kInvalidArgument,
                        "shape {} given for input '{}' contradicts the model's {}",
                        to_string(shape), input.name, declared.empty() ? "scalar" : declared);
    }
  } else {
    for (const SymbolicDim& dim : input.dims) {
      if (dim.extent >= 0) {
        shape.push_back(dim.extent);
        continue;
      }
      auto symbol = bindings.find(dim.symbol);
      if (symbol == bindings.end() || symbol->second.size() != 1) {
        return make_error(ErrorCode::kInvalidArgument,
                          "input '{}' has the symbolic shape {}; give its shape under its name, or "
                          "an extent for '{}'",
                          input.name, declared, dim.symbol);
      }
      shape.push_back(symbol->second[0]);
    }
  }
  auto count = checked_num_elems(shape);
  if (!count.ok()) {
    return make_error(ErrorCode::kInvalidArgument, "input '{}': {}", input.name,
                      count.error().message);
  }
  constexpr int64_t kMaxElems = int64_t{1} << 32;
  if (*count > kMaxElems || !has_sound_extents(shape)) {
    return make_error(ErrorCode::kInvalidArgument, "input '{}' of shape {} is too large",
                      input.name, to_string(shape));
  }
  return shape;
}

}  // namespace corf::onnx
