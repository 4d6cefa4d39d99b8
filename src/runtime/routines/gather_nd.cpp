#include <algorithm>

#include "runtime/routines/operands.h"

namespace corf::runtime {

/// Inputs: data, indices (i32 or i64; the last dimension holds coordinates). Output: the elements
/// or slices of data at those coordinates. Attribute: batch_dims.
Result<PreparedRoutine> prepare_gather_nd(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 2, 2, 1, 1));
  const RoutineOperand &data = call.inputs[0], &indices = call.inputs[1];
  CORF_RETURN_IF_ERROR(check_index_dtype(indices, "input indices"));
  CORF_ASSIGN(const int64_t batch_dims, attribute_or<int64_t>(call, "batch_dims", 0));
  const auto rank = static_cast<int64_t>(data.shape.size());
  const auto indices_rank = static_cast<int64_t>(indices.shape.size());
  if (batch_dims < 0 || batch_dims >= std::min(rank, indices_rank)) {
    return make_error(ErrorCode::kInvalidModel,
                      "batch_dims is {}: it must be less than the ranks of data {} and indices {}",
                      batch_dims, to_string(data.shape), to_string(indices.shape));
  }
  const int64_t depth = indices.shape.back();
  if (depth < 1 || batch_dims + depth > rank ||
      !std::equal(data.shape.begin(), data.shape.begin() + batch_dims, indices.shape.begin())) {
    return make_error(ErrorCode::kInvalidModel, "indices {} do not fit data {} (batch_dims {})",
                      to_string(indices.shape), to_string(data.shape), batch_dims);
  }
  Shape expected(indices.shape.begin(), indices.shape.end() - 1);
  expected.insert(expected.end(), data.shape.begin() + batch_dims + depth, data.shape.end());
  CORF_RETURN_IF_ERROR(check_shape(call.outputs[0], expected, "the output"));
  CORF_RETURN_IF_ERROR(check_dtype(call.outputs[0], data.dtype, "the output"));

  const std::vector<int64_t> strides = row_major_strides(data.shape);
  const std::vector<int64_t> extents(data.shape.begin() + batch_dims,
                                     data.shape.begin() + batch_dims + depth);
  const std::vector<int64_t> steps(strides.begin() + batch_dims,
                                   strides.begin() + batch_dims + depth);
  int64_t batches = 1, points = 1, slice_elems = 1;
  for (int64_t d = 0; d < batch_dims; ++d) batches *= data.shape[d];
  for (int64_t d = batch_dims; d + 1 < indices_rank; ++d) points *= indices.shape[d];
  for (int64_t d = batch_dims + depth; d < rank; ++d) slice_elems *= data.shape[d];
  const int64_t batch_elems = batches == 0 ? 0 : num_elems(data.shape) / batches;
  const int64_t elem_bytes = size_bytes(data.dtype);
  const DType index_dtype = indices.dtype;

  return PreparedRoutine(
      [=](std::span<const void* const> inputs, std::span<void* const> outputs) -> Status {
        const auto* from = static_cast<const std::byte*>(inputs[0]);
        auto* to = static_cast<std::byte*>(outputs[0]);
        const IndexReader index(index_dtype, inputs[1]);
        int64_t next = 0;
        for (int64_t b = 0; b < batches; ++b) {
          for (int64_t p = 0; p < points; ++p) {
            int64_t offset = b * batch_elems;
            for (int64_t d = 0; d < depth; ++d, ++next) {
              const auto coordinate = wrap_index(index[next], extents[d]);
              if (!coordinate) return index_out_of_range(index[next], extents[d]);
              offset += *coordinate * steps[d];
            }
            // A damaged file may have put them into the same place.
            std::memmove(to, from + offset * elem_bytes, slice_elems * elem_bytes);
            to += slice_elems * elem_bytes;
          }
        }
        return {};
      });
}

}  // namespace corf::runtime
