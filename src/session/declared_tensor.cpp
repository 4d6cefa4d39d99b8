#include "session/declared_tensor.h"

#include <fmt/ranges.h>

namespace corf::session {

DeclaredTensor::DeclaredTensor(std::string name, DType dtype, std::optional<DeclaredShape> shape)
    : name_(std::move(name)), dtype_(dtype), has_shape_(shape.has_value()) {
  if (shape) {
    extents_ = std::move(shape->extents);
    symbols_ = std::move(shape->symbols);
  }
  point_at_symbols();
}

DeclaredTensor::DeclaredTensor(const runtime::TensorInfo& tensor)
    : name_(tensor.name),
      dtype_(tensor.dtype),
      extents_(tensor.shape),
      symbols_(tensor.shape.size()) {
  point_at_symbols();
}

void DeclaredTensor::point_at_symbols() {
  for (const std::string& symbol : symbols_) symbol_pointers_.push_back(symbol.c_str());
}

corf_tensor_info DeclaredTensor::info() const {
  return {name_.c_str(),           to_c(dtype_),      extents_.size(), extents_.data(),
          symbol_pointers_.data(), has_shape_ ? 1 : 0};
}

bool DeclaredTensor::admits(const Shape& shape) const {
  if (!has_shape_) return true;
  if (shape.size() != extents_.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (extents_[i] >= 0 && extents_[i] != shape[i]) return false;
  }
  return true;
}

std::string DeclaredTensor::described(std::string_view kind) const {
  if (!has_shape_) return fmt::format("{} '{}' ({}, any shape)", kind, name_, to_string(dtype_));
  std::vector<std::string> dims;
  for (size_t i = 0; i < extents_.size(); ++i) {
    dims.push_back(extents_[i] >= 0 ? std::to_string(extents_[i]) : symbols_[i]);
  }
  return fmt::format("{} '{}' ({} {})", kind, name_, to_string(dtype_),
                     dims.empty() ? "scalar" : fmt::format("{}", fmt::join(dims, "x")));
}

DeclaredTensors declare(const std::vector<runtime::TensorInfo>& tensors) {
  DeclaredTensors declared;
  for (const auto& tensor : tensors) declared.push_back(std::make_unique<DeclaredTensor>(tensor));
  return declared;
}

Status describe(const DeclaredTensors& tensors, size_t position, std::string_view kind,
                corf_tensor_info* info) {
  if (position >= tensors.size()) {
    return make_error(ErrorCode::kInvalidArgument, "there is no {} number {}; there are {}", kind,
                      position, tensors.size());
  }
  *info = tensors[position]->info();
  return {};
}

Result<std::vector<const corf_tensor*>> match(const DeclaredTensors& declared,
                                              std::string_view kind, const corf_tensor* tensors,
                                              size_t num_tensors) {
  std::vector<const corf_tensor*> matched(declared.size(), nullptr);
  for (size_t i = 0; i < num_tensors; ++i) {
    size_t position = i;
    if (tensors[i].name != nullptr) {
      position = 0;
      while (position < declared.size() && declared[position]->name() != tensors[i].name) {
        ++position;
      }
    }
    if (position >= declared.size()) {
      std::vector<std::string> names;
      for (const auto& tensor : declared) names.push_back(tensor->described(kind));
      return make_error(
          ErrorCode::kInvalidArgument, "the model has no {} {}; it has {}", kind,
          tensors[i].name ? fmt::format("'{}'", tensors[i].name) : fmt::format("number {}", i),
          fmt::join(names, ", "));
    }
    if (matched[position] != nullptr) {
      return make_error(ErrorCode::kInvalidArgument, "{} is given twice",
                        declared[position]->described(kind));
    }
    matched[position] = &tensors[i];
  }
  for (size_t i = 0; i < declared.size(); ++i) {
    if (matched[i] == nullptr) {
      return make_error(ErrorCode::kInvalidArgument, "{} is missing", declared[i]->described(kind));
    }
    const corf_tensor& tensor = *matched[i];
    if (!is_dtype(tensor.dtype)) {
      return make_error(ErrorCode::kInvalidArgument, "{}: {} is no element type",
                        declared[i]->described(kind), static_cast<int>(tensor.dtype));
    }
    if (Status status = check_rank(tensor.rank, tensor.extents); !status.ok()) {
      return make_error(ErrorCode::kInvalidArgument, "{}: {}", declared[i]->described(kind),
                        status.error().message);
    }
    auto num_elems = checked_num_elems(shape_of(tensor));
    if (!num_elems.ok()) {
      return make_error(ErrorCode::kInvalidArgument, "{}: {} is no shape",
                        declared[i]->described(kind), to_string(shape_of(tensor)));
    }
    if (tensor.data == nullptr && *num_elems > 0) {
      return make_error(ErrorCode::kInvalidArgument, "{}: its data is null",
                        declared[i]->described(kind));
    }
  }
  return matched;
}

Status check_type_and_shape(const DeclaredTensor& declared, std::string_view kind,
                            const corf_tensor& tensor) {
  if (tensor.dtype != to_c(declared.dtype())) {
    return make_error(ErrorCode::kInvalidArgument, "{} was given as {}", declared.described(kind),
                      corf_dtype_name(tensor.dtype));
  }
  if (!declared.admits(shape_of(tensor))) {
    return make_error(ErrorCode::kInvalidArgument, "{} was given with shape {}",
                      declared.described(kind), to_string(shape_of(tensor)));
  }
  return {};
}

Status check_rank(size_t rank, const int64_t* extents) {
  constexpr size_t kMostDims = 1 << 16;
  if (rank > kMostDims) {
    return make_error(ErrorCode::kInvalidArgument, "{} is no number of dimensions", rank);
  }
  if (rank > 0 && extents == nullptr) {
    return make_error(ErrorCode::kInvalidArgument, "its extents are null");
  }
  return {};
}

Shape shape_of(const corf_tensor& tensor) {
  return tensor.rank == 0 ? Shape{} : Shape(tensor.extents, tensor.extents + tensor.rank);
}

}  // namespace corf::session

extern "C" {

size_t corf_dtype_size_bytes(corf_dtype dtype) {
  return corf::session::is_dtype(dtype)
             ? static_cast<size_t>(corf::size_bytes(static_cast<corf::DType>(dtype)))
             : 0;
}

const char* corf_dtype_name(corf_dtype dtype) {
  // to_string gives views of literals, which end with a zero byte.
  return corf::session::is_dtype(dtype) ? corf::to_string(static_cast<corf::DType>(dtype)).data()
                                        : "unknown";
}

}  // extern "C"
