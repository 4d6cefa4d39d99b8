#include <algorithm>

#include "runtime/routines/operands.h"

namespace corf::runtime {
namespace {

enum class Combine : uint8_t { kReplace, kAdd, kMul, kMin, kMax };

Result<Combine> combine_attribute(const RoutineCall& call) {
  CORF_ASSIGN(const std::string name, attribute_or<std::string>(call, "reduction", "none"));
  if (name == "none") return Combine::kReplace;
  if (name == "add") return Combine::kAdd;
  if (name == "mul") return Combine::kMul;
  if (name == "min") return Combine::kMin;
  if (name == "max") return Combine::kMax;
  return make_error(ErrorCode::kInvalidModel,
                    "reduction '{}' is not one of none, add, mul, min, max", name);
}

/// Sums and products of integers wrap; minimum and maximum propagate NaN.
template <typename T>
T combined(Combine how, T old, T update) {
  switch (how) {
    case Combine::kReplace:
      return update;
    case Combine::kAdd:
    case Combine::kMul:
      if constexpr (std::is_integral_v<T>) {
        const auto a = static_cast<uint64_t>(old), b = static_cast<uint64_t>(update);
        return static_cast<T>(how == Combine::kAdd ? a + b : a * b);
      } else {
        return how == Combine::kAdd ? T(old + update) : T(old * update);
      }
    case Combine::kMin:
      return update < old || update != update ? update : old;
    case Combine::kMax:
      return update > old || update != update ? update : old;
  }
  return update;
}

Status check_scatter(const RoutineCall& call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 3, 3, 1, 1));
  CORF_RETURN_IF_ERROR(check_index_dtype(call.inputs[1], "input indices"));
  CORF_RETURN_IF_ERROR(check_dtype(call.inputs[2], call.inputs[0].dtype, "input updates"));
  CORF_RETURN_IF_ERROR(check_dtype(call.outputs[0], call.inputs[0].dtype, "the output"));
  return check_shape(call.outputs[0], call.inputs[0].shape, "the output");
}

void copy_data(std::span<const void* const> inputs, std::span<void* const> outputs,
               int64_t size_bytes) {
  if (size_bytes > 0 && inputs[0] != outputs[0]) std::memcpy(outputs[0], inputs[0], size_bytes);
}

}  // namespace

/// Inputs: data, indices (i32 or i64), updates (of indices' shape). Output: data with
/// out[.., indices[p], ..] = updates[p] along `axis`. Attributes: axis, reduction.
Result<PreparedRoutine> prepare_scatter_elements(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_scatter(call));
  const RoutineOperand &data = call.inputs[0], &indices = call.inputs[1];
  CORF_ASSIGN(const Combine combine, combine_attribute(call));
  CORF_ASSIGN(const int64_t axis_attribute, attribute_or<int64_t>(call, "axis", 0));
  CORF_ASSIGN(const int64_t axis, normalize_axis(axis_attribute, data.shape.size()));
  CORF_RETURN_IF_ERROR(check_shape(call.inputs[2], indices.shape, "input updates"));
  bool fits = indices.shape.size() == data.shape.size();
  for (size_t d = 0; fits && d < data.shape.size(); ++d) {
    fits = static_cast<int64_t>(d) == axis || indices.shape[d] <= data.shape[d];
  }
  if (!fits) {
    return make_error(ErrorCode::kInvalidModel, "indices {} do not fit into data {} (axis {})",
                      to_string(indices.shape), to_string(data.shape), axis);
  }
  const DType dtype = data.dtype, index_dtype = indices.dtype;
  const int64_t bytes = num_elems(data.shape) * size_bytes(dtype);
  const int64_t updates = num_elems(indices.shape);
  return PreparedRoutine(
      [combine, axis, dtype, index_dtype, bytes, updates, shape = indices.shape,
       extent = data.shape[axis], strides = row_major_strides(data.shape)](
          std::span<const void* const> inputs, std::span<void* const> outputs) -> Status {
        copy_data(inputs, outputs, bytes);
        const IndexReader index(index_dtype, inputs[1]);
        std::vector<int64_t> position(shape.size(), 0);
        return visit_dtype(dtype, [&]<typename T>(std::type_identity<T>) -> Status {
          const auto* update = static_cast<const T*>(inputs[2]);
          auto* out = static_cast<T*>(outputs[0]);
          for (int64_t i = 0; i < updates; ++i) {
            const auto target = wrap_index(index[i], extent);
            if (!target) return index_out_of_range(index[i], extent);
            int64_t offset = *target * strides[axis];
            for (size_t d = 0; d < shape.size(); ++d) {
              if (static_cast<int64_t>(d) != axis) offset += position[d] * strides[d];
            }
            out[offset] = combined(combine, out[offset], update[i]);
            for (size_t d = shape.size(); d-- > 0 && ++position[d] == shape[d];) position[d] = 0;
          }
          return {};
        });
      });
}

/// Inputs: data, indices (i32 or i64; the last dimension holds coordinates), updates. Output: data
/// with the elements or slices at those coordinates replaced. Attribute: reduction.
Result<PreparedRoutine> prepare_scatter_nd(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_scatter(call));
  const RoutineOperand &data = call.inputs[0], &indices = call.inputs[1];
  CORF_ASSIGN(const Combine combine, combine_attribute(call));
  const auto rank = static_cast<int64_t>(data.shape.size());
  const int64_t depth = indices.shape.empty() ? -1 : indices.shape.back();
  if (depth < 0 || depth > rank) {
    return make_error(ErrorCode::kInvalidModel, "indices {} do not fit data {}",
                      to_string(indices.shape), to_string(data.shape));
  }
  Shape expected(indices.shape.begin(), indices.shape.end() - 1);
  int64_t points = 1;
  for (const int64_t extent : expected) points *= extent;
  expected.insert(expected.end(), data.shape.begin() + depth, data.shape.end());
  CORF_RETURN_IF_ERROR(check_shape(call.inputs[2], expected, "input updates"));
  int64_t slice_elems = 1;
  for (int64_t d = depth; d < rank; ++d) slice_elems *= data.shape[d];
  const DType dtype = data.dtype, index_dtype = indices.dtype;
  const int64_t bytes = num_elems(data.shape) * size_bytes(dtype);
  return PreparedRoutine(
      [combine, depth, dtype, index_dtype, bytes, points, slice_elems, extents = data.shape,
       strides = row_major_strides(data.shape)](std::span<const void* const> inputs,
                                                std::span<void* const> outputs) -> Status {
        copy_data(inputs, outputs, bytes);
        const IndexReader index(index_dtype, inputs[1]);
        return visit_dtype(dtype, [&]<typename T>(std::type_identity<T>) -> Status {
          const auto* update = static_cast<const T*>(inputs[2]);
          auto* out = static_cast<T*>(outputs[0]);
          for (int64_t p = 0; p < points; ++p, update += slice_elems) {
            int64_t offset = 0;
            for (int64_t d = 0; d < depth; ++d) {
              const auto coordinate = wrap_index(index[p * depth + d], extents[d]);
              if (!coordinate) return index_out_of_range(index[p * depth + d], extents[d]);
              offset += *coordinate * strides[d];
            }
            for (int64_t i = 0; i < slice_elems; ++i) {
              out[offset + i] = combined(combine, out[offset + i], update[i]);
            }
          }
          return {};
        });
      });
}

}  // namespace corf::runtime
