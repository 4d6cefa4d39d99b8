#include <algorithm>

#include "runtime/executable.h"
#include "support/checked.h"

namespace corf::runtime {
namespace {

template <typename... Args>
Error invalid(fmt::format_string<Args...> format, Args&&... args) {
  return Error{ErrorCode::kInvalidModel,
               "damaged executable: " + fmt::format(format, std::forward<Args>(args)...)};
}

/// No product of a tensor's extents may overflow, so that later sums over them cannot either.
Result<int64_t> tensor_bytes(DType dtype, const Shape& shape) {
  if (dtype > DType::kF64) return invalid("unknown element type {}", static_cast<int>(dtype));
  std::optional<int64_t> room = size_bytes(dtype);
  for (const int64_t extent : shape) {
    if (extent < 0) room.reset();
    if (room) room = checked_mul(*room, std::max<int64_t>(extent, 1));
  }
  if (!room) return invalid("shape {} is negative or too large", to_string(shape));
  return num_elems(shape) * size_bytes(dtype);
}

Status verify_block(const BufferPlace& place, size_t number, int64_t block_bytes) {
  const auto end = checked_add(place.offset_bytes, place.size_bytes);
  if (place.offset_bytes < 0 || place.offset_bytes % kBufferAlignment != 0 || !end ||
      *end > block_bytes) {
    return invalid("buffer {} (offset {}, {} bytes) lies outside of its block of {} bytes", number,
                   place.offset_bytes, place.size_bytes, block_bytes);
  }
  return {};
}

Status verify_position(const BufferPlace& place, size_t number,
                       const std::vector<TensorInfo>& tensors) {
  if (place.position < 0 || place.position >= static_cast<int64_t>(tensors.size())) {
    return invalid("buffer {} is input or output {} of {}", number, place.position, tensors.size());
  }
  const TensorInfo& tensor = tensors[place.position];
  CORF_ASSIGN(const int64_t bytes, tensor_bytes(tensor.dtype, tensor.shape));
  if (place.size_bytes > bytes) {
    return invalid("buffer {} has {} bytes but '{}' only {}", number, place.size_bytes, tensor.name,
                   bytes);
  }
  return {};
}

/// Of constants; 0 if there is no such block.
int64_t bytes_of_block(const ExecutableSpec& spec, int block) {
  if (block == 0) return spec.constants.size_bytes();
  const auto count = static_cast<int64_t>(spec.shared_constants.size());
  return block > 0 && block <= count ? spec.shared_constants[block - 1].size_bytes() : 0;
}

Status verify_buffer(const ExecutableSpec& spec, size_t number) {
  const BufferPlace& place = spec.buffers[number];
  if (place.size_bytes < 0) return invalid("buffer {} has a negative size", number);
  if (place.dtype > DType::kF64) return invalid("buffer {} is of an unknown element type", number);
  switch (place.kind) {
    case BufferPlace::Kind::kInput:
      return verify_position(place, number, spec.inputs);
    case BufferPlace::Kind::kOutput:
      return verify_position(place, number, spec.outputs);
    case BufferPlace::Kind::kConstant:
      return verify_block(place, number, bytes_of_block(spec, place.block));
    case BufferPlace::Kind::kArena:
      return verify_block(place, number, spec.arena_bytes);
  }
  return invalid("buffer {} is of unknown kind {}", number, static_cast<int>(place.kind));
}

Status verify_buffer_number(const ExecutableSpec& spec, int buffer, const std::string& label) {
  if (buffer >= 0 && buffer < static_cast<int64_t>(spec.buffers.size())) return {};
  return invalid("step '{}' uses buffer {} of {}", label, buffer, spec.buffers.size());
}

/// The caller's array that the buffer is; null if it is none.
const TensorInfo* array_of(const ExecutableSpec& spec, const BufferPlace& place) {
  if (place.kind == BufferPlace::Kind::kInput) return &spec.inputs[place.position];
  if (place.kind == BufferPlace::Kind::kOutput) return &spec.outputs[place.position];
  return nullptr;
}

bool overlap(const ExecutableSpec& spec, int one, int other) {
  const BufferPlace &a = spec.buffers[one], &b = spec.buffers[other];
  if (a.kind != BufferPlace::Kind::kArena || a.kind != b.kind) return one == other;
  return a.offset_bytes < b.offset_bytes + b.size_bytes &&
         b.offset_bytes < a.offset_bytes + a.size_bytes;
}

/// Routines check an index, or a length, once; what they write may not change it afterwards.
Status verify_results_lie_apart(const ExecutableSpec& spec, const RoutineStep& step) {
  for (size_t o = 0; o < step.outputs.size(); ++o) {
    const int output = step.outputs[o].buffer;
    for (size_t i = 0; i < step.inputs.size() + o; ++i) {
      const bool is_input = i < step.inputs.size();
      const int other = (is_input ? step.inputs[i] : step.outputs[i - step.inputs.size()]).buffer;
      if (!overlap(spec, output, other)) continue;
      // Results may take the place of the data.
      const bool in_place = i == 0 && is_input && o == 0 &&
                            spec.buffers[output].offset_bytes == spec.buffers[other].offset_bytes;
      if (in_place) continue;
      return invalid("step '{}' writes buffer {} over its buffer {}", step.label, output, other);
    }
  }
  return {};
}

Status verify_step(const ExecutableSpec& spec, const KernelStep& step) {
  if (step.entry < 0 || step.entry >= static_cast<int64_t>(spec.image.entries.size())) {
    return invalid("step '{}' calls kernel {} of {}", step.label, step.entry,
                   spec.image.entries.size());
  }
  if (step.partitions < 0 || step.partitions > int64_t{1} << 40) {
    return invalid("step '{}' has {} partitions", step.label, step.partitions);
  }
  const int64_t num_params = std::ssize(step.params);
  if (step.params_step != 0 && (step.params_step < 0 || step.partitions > num_params ||
                                step.params_step * step.partitions != num_params)) {
    return invalid("step '{}' has {} parameters in steps of {} for {} partitions", step.label,
                   num_params, step.params_step, step.partitions);
  }
  for (const int buffer : step.buffers) {
    CORF_RETURN_IF_ERROR(verify_buffer_number(spec, buffer, step.label));
  }
  return {};
}

Status verify_step(const ExecutableSpec& spec, const RoutineStep& step) {
  const auto verify_tensor = [&](const RoutineTensor& tensor, bool written) -> Status {
    CORF_RETURN_IF_ERROR(verify_buffer_number(spec, tensor.buffer, step.label));
    CORF_ASSIGN(const int64_t bytes, tensor_bytes(tensor.dtype, tensor.shape));
    const BufferPlace& place = spec.buffers[tensor.buffer];
    if (bytes > place.size_bytes) {
      return invalid("step '{}' needs {} bytes of buffer {}, which has {}", step.label, bytes,
                     tensor.buffer, place.size_bytes);
    }
    // The caller aligns an array as its declared elements need it.
    if (const TensorInfo* array = array_of(spec, place);
        array && size_bytes(tensor.dtype) > size_bytes(array->dtype)) {
      return invalid("step '{}' takes elements of type {} from '{}', which has {}", step.label,
                     to_string(tensor.dtype), array->name, to_string(array->dtype));
    }
    if (place.size_bytes % size_bytes(tensor.dtype) != 0) {
      return invalid("step '{}' finds elements of type {} in buffer {} of {} bytes", step.label,
                     to_string(tensor.dtype), tensor.buffer, place.size_bytes);
    }
    if (written &&
        (place.kind == BufferPlace::Kind::kInput || place.kind == BufferPlace::Kind::kConstant)) {
      return invalid("step '{}' writes buffer {}, an input or a constant", step.label,
                     tensor.buffer);
    }
    return {};
  };
  for (const RoutineTensor& input : step.inputs) {
    CORF_RETURN_IF_ERROR(verify_tensor(input, false));
  }
  for (const RoutineTensor& output : step.outputs) {
    CORF_RETURN_IF_ERROR(verify_tensor(output, true));
  }
  return verify_results_lie_apart(spec, step);
}

Status verify_outputs_are_bound(const ExecutableSpec& spec) {
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    const auto bound =
        std::count_if(spec.buffers.begin(), spec.buffers.end(), [&](const BufferPlace& place) {
          return place.kind == BufferPlace::Kind::kOutput && place.position == static_cast<int>(i);
        });
    if (bound != 1) {
      return invalid("output '{}' has {} buffers instead of one", spec.outputs[i].name, bound);
    }
  }
  return {};
}

}  // namespace

Status verify_spec(const ExecutableSpec& spec) {
  if (spec.arena_bytes < 0 || spec.scratch_bytes < 0) {
    return invalid("arena of {} and scratch of {} bytes", spec.arena_bytes, spec.scratch_bytes);
  }
  for (const auto* tensors : {&spec.inputs, &spec.outputs}) {
    for (const TensorInfo& tensor : *tensors) {
      if (auto bytes = tensor_bytes(tensor.dtype, tensor.shape); !bytes.ok()) return bytes.error();
    }
  }
  for (size_t i = 0; i < spec.buffers.size(); ++i) CORF_RETURN_IF_ERROR(verify_buffer(spec, i));
  for (const auto& step : spec.steps) {
    CORF_RETURN_IF_ERROR(std::visit([&](const auto& s) { return verify_step(spec, s); }, step));
  }
  return verify_outputs_are_bound(spec);
}

}  // namespace corf::runtime
