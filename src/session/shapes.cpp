#include "session/shapes.h"

#include <algorithm>
#include <fmt/ranges.h>
#include <map>
#include <set>
#include <vector>

namespace corf::session {
namespace {

constexpr std::string_view kUnnamed = "?";

/// Extents of symbols by name, and where each was learned, for messages.
class Symbols {
 public:
  /// False if the symbol already has another extent.
  bool bind(const std::string& symbol, int64_t extent, const std::string& where) {
    if (symbol == kUnnamed) return true;
    return extents_.try_emplace(symbol, extent, where).first->second.first == extent;
  }
  const std::pair<int64_t, std::string>* find(const std::string& symbol) const {
    auto it = extents_.find(symbol);
    return it == extents_.end() ? nullptr : &it->second;
  }

 private:
  std::map<std::string, std::pair<int64_t, std::string>> extents_;
};

Status check_names(const DeclaredTensors& inputs, const ShapeBindings& bindings) {
  std::set<std::string> known;
  for (const auto& input : inputs) {
    known.insert(input->name());
    for (const std::string& symbol : input->symbols()) {
      if (!symbol.empty() && symbol != kUnnamed) known.insert(symbol);
    }
  }
  for (const auto& [name, shape] : bindings) {
    if (!known.contains(name)) {
      return make_error(ErrorCode::kInvalidArgument,
                        "the model has no input or symbolic dimension '{}'; it has {}", name,
                        fmt::join(known, ", "));
    }
  }
  return {};
}

Status bind_from_input(const DeclaredTensor& input, const Shape& shape, Symbols& symbols) {
  if (!input.admits(shape)) {
    return make_error(ErrorCode::kInvalidArgument, "{} cannot have the shape {}",
                      input.described("input"), to_string(shape));
  }
  for (size_t i = 0; i < input.extents().size(); ++i) {
    if (input.extents()[i] >= 0) continue;
    const std::string& symbol = input.symbols()[i];
    if (!symbols.bind(symbol, shape[i], input.name())) {
      const auto& [extent, where] = *symbols.find(symbol);
      return make_error(
          ErrorCode::kInvalidArgument, "{} with the shape {} makes '{}' {}, but '{}' makes it {}",
          input.described("input"), to_string(shape), symbol, shape[i], where, extent);
    }
  }
  return {};
}

Error left_open(const DeclaredTensor& input) {
  if (!input.other_kind().empty()) {
    return make_error(ErrorCode::kUnsupported,
                      "input '{}' is {}: the model has no executable, and is run on values, piece "
                      "by piece (corf_session_run_values)",
                      input.name(), input.other_kind());
  }
  Shape example = input.has_shape() ? input.extents() : Shape{1, 3, 224, 224};
  for (int64_t& extent : example) extent = std::max<int64_t>(extent, 1);
  return make_error(
      ErrorCode::kInvalidArgument,
      "the shape of {} is left open: give it, for example {}={} (--shape of the command)",
      input.described("input"), input.name(), to_string(example));
}

}  // namespace

Result<ShapeBindings> to_bindings(const corf_shape* shapes, size_t num_shapes) {
  ShapeBindings bindings;
  for (size_t i = 0; i < num_shapes; ++i) {
    if (shapes[i].name == nullptr) {
      return make_error(ErrorCode::kInvalidArgument, "shape number {} has no name", i);
    }
    if (Status status = check_rank(shapes[i].rank, shapes[i].extents); !status.ok()) {
      return make_error(ErrorCode::kInvalidArgument, "the shape of '{}': {}", shapes[i].name,
                        status.error().message);
    }
    Shape shape = shapes[i].rank == 0
                      ? Shape{}
                      : Shape(shapes[i].extents, shapes[i].extents + shapes[i].rank);
    if (!checked_num_elems(shape).ok()) {
      return make_error(ErrorCode::kInvalidArgument, "'{}' cannot have the shape {}",
                        shapes[i].name, to_string(shape));
    }
    if (!bindings.emplace(shapes[i].name, std::move(shape)).second) {
      return make_error(ErrorCode::kInvalidArgument, "two shapes are given for '{}'",
                        shapes[i].name);
    }
  }
  return bindings;
}

Result<ShapeBindings> resolve(const DeclaredTensors& inputs, const ShapeBindings& bindings) {
  for (const auto& input : inputs) {
    if (!input->other_kind().empty() && !bindings.contains(input->name())) return left_open(*input);
  }
  return resolve_tensors(inputs, bindings);
}

Result<ShapeBindings> resolve_tensors(const DeclaredTensors& inputs,
                                      const ShapeBindings& bindings) {
  CORF_RETURN_IF_ERROR(check_names(inputs, bindings));
  Symbols symbols;
  std::set<std::string> input_names;
  for (const auto& input : inputs) {
    input_names.insert(input->name());
    auto it = bindings.find(input->name());
    if (it != bindings.end()) CORF_RETURN_IF_ERROR(bind_from_input(*input, it->second, symbols));
  }
  for (const auto& [name, shape] : bindings) {
    if (input_names.contains(name)) continue;
    if (shape.size() != 1) {
      return make_error(ErrorCode::kInvalidArgument,
                        "'{}' is a symbolic dimension: it takes one extent, not {}", name,
                        to_string(shape));
    }
    if (!symbols.bind(name, shape[0], name)) {
      const auto& [extent, where] = *symbols.find(name);
      return make_error(ErrorCode::kInvalidArgument, "'{}' is given as {}, but '{}' makes it {}",
                        name, shape[0], where, extent);
    }
  }

  ShapeBindings resolved;
  for (const auto& input : inputs) {
    auto given = bindings.find(input->name());
    if (given != bindings.end()) {
      resolved.emplace(input->name(), given->second);
      continue;
    }
    if (!input->other_kind().empty()) continue;
    if (!input->has_shape()) return left_open(*input);
    Shape shape = input->extents();
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] >= 0) continue;
      const auto* bound = symbols.find(input->symbols()[i]);
      if (bound == nullptr) return left_open(*input);
      shape[i] = bound->first;
    }
    resolved.emplace(input->name(), std::move(shape));
  }
  return resolved;
}

std::string to_key(const ShapeBindings& shapes, const ValueBindings& values) {
  std::string key;
  for (const auto& [name, shape] : shapes) {
    key += fmt::format("{}:{}={};", name.size(), name, to_string(shape));
  }
  for (const auto& [name, value] : values) {
    key += fmt::format("{}:{}:", name.size(), name);
    key.append(reinterpret_cast<const char*>(value.bytes()), value.size_bytes());
  }
  return key;
}

}  // namespace corf::session
