#include <memory>
#include <span>

#include "runtime/routines/operands.h"

namespace corf::runtime {
namespace {

enum class Combine : uint8_t { kReplace, kAdd, kMul, kMin, kMax };

Result<Combine> combine_attribute(const RoutineCall& call) {
  CORF_ASSIGN(const std::string name, attribute_or<std::string>(call, "reduction", "none"));
  if (name == "none") return Combine::kReplace;
  const bool of_truths = call.inputs[0].dtype == DType::kBool;  // sums are "or", products "and"
  if (name == "add") return of_truths ? Combine::kMax : Combine::kAdd;
  if (name == "mul") return of_truths ? Combine::kMin : Combine::kMul;
  if (name == "min") return Combine::kMin;
  if (name == "max") return Combine::kMax;
  return make_error(ErrorCode::kInvalidModel,
                    "reduction '{}' is not one of none, add, mul, min, max", name);
}

/// Sums and products of integers wrap; minimum and maximum propagate NaN.
template <Combine kHow, typename T>
T combined(T old, T update) {
  if constexpr (kHow == Combine::kReplace) {
    return update;
  } else if constexpr (kHow == Combine::kMin) {
    return update < old || update != update ? update : old;
  } else if constexpr (kHow == Combine::kMax) {
    return update > old || update != update ? update : old;
  } else if constexpr (std::is_integral_v<T>) {
    const auto a = static_cast<uint64_t>(old), b = static_cast<uint64_t>(update);
    return static_cast<T>(kHow == Combine::kAdd ? a + b : a * b);
  } else {
    return kHow == Combine::kAdd ? T(old + update) : T(old * update);
  }
}

/// out[i] = combined(out[i], updates[i])
template <typename T>
void combine_run(Combine how, T* out, const T* updates, int64_t count) {
  const auto each = [&]<Combine kHow>(std::integral_constant<Combine, kHow>) {
    for (int64_t i = 0; i < count; ++i) out[i] = combined<kHow>(out[i], updates[i]);
  };
  switch (how) {
    case Combine::kReplace:
      return each(std::integral_constant<Combine, Combine::kReplace>());
    case Combine::kAdd:
      return each(std::integral_constant<Combine, Combine::kAdd>());
    case Combine::kMul:
      return each(std::integral_constant<Combine, Combine::kMul>());
    case Combine::kMin:
      return each(std::integral_constant<Combine, Combine::kMin>());
    case Combine::kMax:
      return each(std::integral_constant<Combine, Combine::kMax>());
  }
}

Status check_scatter(const RoutineCall& call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 3, 3, 1, 1));
  CORF_RETURN_IF_ERROR(check_index_dtype(call.inputs[1], "input indices"));
  CORF_RETURN_IF_ERROR(check_dtype(call.inputs[2], call.inputs[0].dtype, "input updates"));
  CORF_RETURN_IF_ERROR(check_dtype(call.outputs[0], call.inputs[0].dtype, "the output"));
  return check_shape(call.outputs[0], call.inputs[0].shape, "the output");
}

/// Numbers [first, end) of something that workers share out.
struct Share {
  int64_t first = 0, end = 0;
  Share(int64_t count, const Worker& worker)
      : first(count * worker.number / worker.count),
        end(count * (worker.number + 1) / worker.count) {}
  bool holds(int64_t number) const { return first <= number && number < end; }
};

/// Runs of so many elements, for each worker, are shared out element by element.
constexpr int64_t kLongRun = 16;
/// Fewer updates than this are not worth a barrier.
constexpr int64_t kMinShared = 1 << 12;

/// What a scatter has to do. No target is written by two workers, and each takes its updates in
/// their order: workers share out the elements of long runs, else the targets.
struct Scatter {
  Combine combine = Combine::kReplace;
  DType dtype = DType::kF32, index_dtype = DType::kI64;
  int64_t data_elems = 0;
  int64_t run = 1;            // elements that lie side by side in data and in updates
  std::vector<int64_t> rows;  // where the rows behind the axis begin in data
};

/// One worker's share of a run.
struct Run {
  const void* indices;
  const void* updates;
  void* out;
  const Worker& worker;
};

/// Kind: a Scatter with share<T>(Run), which does what is one worker's and returns the position of
/// the first index that is outside, or FirstOutside::kNone, and extent_at(position), which that
/// index is held against.
template <typename Kind>
PreparedRoutine as_routine(const Kind& scatter, int64_t num_updates) {
  auto outside = std::make_shared<FirstOutside>();
  auto run = [=](std::span<const void* const> inputs, std::span<void* const> outputs,
                 const Worker& worker) -> Status {
    const int64_t elem = size_bytes(scatter.dtype);
    const Share copied(scatter.data_elems * elem, worker);
    if (worker.number == 0) outside->reset();
    if (inputs[0] != outputs[0] && copied.end > copied.first) {
      std::memcpy(static_cast<std::byte*>(outputs[0]) + copied.first,
                  static_cast<const std::byte*>(inputs[0]) + copied.first,
                  static_cast<size_t>(copied.end - copied.first));
    }
    worker.barrier();
    const Run share{inputs[1], inputs[2], outputs[0], worker};
    outside->lower_to(visit_dtype(scatter.dtype, [&]<typename T>(std::type_identity<T>) {
      return scatter.template share<T>(share);
    }));
    worker.barrier();
    const int64_t position = outside->get();
    if (position == FirstOutside::kNone) return {};
    return index_out_of_range(IndexReader(scatter.index_dtype, inputs[1])[position],
                              scatter.extent_at(position));
  };
  if (num_updates >= kMinShared) return PreparedRoutine(std::move(run));
  return PreparedRoutine([run = std::move(run)](std::span<const void* const> inputs,
                                                std::span<void* const> outputs) -> Status {
    return run(inputs, outputs, Worker());
  });
}

/// Whether all of them are the same, as those that were expanded from one.
template <typename Index>
bool are_equal(const Index* indices, int64_t count) {
  Index differences = 0;
  for (int64_t i = 0; i < count; ++i) differences |= indices[i] ^ indices[0];
  return differences == 0;
}
bool are_equal(DType dtype, const void* indices, int64_t first, int64_t count) {
  return dtype == DType::kI64 ? are_equal(static_cast<const int64_t*>(indices) + first, count)
                              : are_equal(static_cast<const int32_t*>(indices) + first, count);
}

/// Along one axis: updates [outer, steps, rows, run] into data.
struct ScatterAlongAxis : Scatter {
  int64_t outer = 1, steps = 0;
  int64_t extent = 0, stride = 1;  // of data along the axis
  Shape outer_shape;
  std::vector<int64_t> outer_strides;  // of data

  int64_t extent_at(int64_t) const { return extent; }
  int64_t outer_offset(int64_t number) const {
    int64_t offset = 0;
    for (size_t d = outer_shape.size(); d-- > 0; number /= outer_shape[d]) {
      offset += number % outer_shape[d] * outer_strides[d];
    }
    return offset;
  }

  template <typename T>
  int64_t share(const Run& at) const {
    const bool by_element = run >= kLongRun * at.worker.count;
    const Share own(by_element ? run : extent, at.worker);
    const IndexReader index(index_dtype, at.indices);
    const auto* updates = static_cast<const T*>(at.updates);
    int64_t next = 0;
    for (int64_t o = 0; o < outer; ++o) {
      T* const block = static_cast<T*>(at.out) + outer_offset(o);
      for (int64_t step = 0; step < steps; ++step) {
        for (const int64_t row : rows) {
          const int64_t from = by_element ? own.first : 0, end = by_element ? own.end : run;
          const bool together =
              by_element && are_equal(index_dtype, at.indices, next + from, end - from);
          const int64_t count = together ? end - from : 1;
          for (int64_t i = from; i < end; i += count) {
            const auto target = wrap_index(index[next + i], extent);
            if (!target) return next + i;
            if (!by_element && !own.holds(*target)) continue;
            combine_run(combine, block + row + *target * stride + i, updates + next + i, count);
          }
          next += run;
        }
      }
    }
    return FirstOutside::kNone;
  }
};

/// Slices of `run` elements at points that `extents.size()` coordinates name.
struct ScatterSlices : Scatter {
  int64_t points = 0;
  Shape extents;
  std::vector<int64_t> strides;  // of these coordinates, in slices

  int64_t extent_at(int64_t position) const {
    return extents[position % static_cast<int64_t>(extents.size())];
  }

  template <typename T>
  int64_t share(const Run& at) const {
    const bool by_element = run >= kLongRun * at.worker.count;
    const Share own(by_element || run == 0 ? run : data_elems / run, at.worker);
    const IndexReader index(index_dtype, at.indices);
    const auto* updates = static_cast<const T*>(at.updates);
    const auto depth = static_cast<int64_t>(extents.size());
    for (int64_t p = 0; p < points; ++p) {
      int64_t slice = 0;
      for (int64_t d = 0; d < depth; ++d) {
        const auto coordinate = wrap_index(index[p * depth + d], extents[d]);
        if (!coordinate) return p * depth + d;
        slice += *coordinate * strides[d];
      }
      if (!by_element && !own.holds(slice)) continue;
      const int64_t first = by_element ? own.first : 0, end = by_element ? own.end : run;
      combine_run(combine, static_cast<T*>(at.out) + slice * run + first, updates + p * run + first,
                  end - first);
    }
    return FirstOutside::kNone;
  }
};

/// The elements that lie side by side in both from some dimension on, and where the rows in front
/// of them, behind the axis, begin in data.
void find_runs(const Shape& data, const Shape& indices, int64_t axis, Scatter& scatter) {
  const std::vector<int64_t> strides = row_major_strides(data);
  size_t d = data.size();
  const auto behind = static_cast<size_t>(axis) + 1;
  while (d > behind) {
    --d;
    scatter.run *= indices[d];
    if (indices[d] != data[d]) break;
  }
  scatter.rows = {0};
  for (size_t dim = d; dim-- > behind;) {
    std::vector<int64_t> all;
    for (int64_t i = 0; i < indices[dim]; ++i) {
      for (const int64_t row : scatter.rows) all.push_back(i * strides[dim] + row);
    }
    scatter.rows = std::move(all);
  }
}

/// What both have in common.
Status read_scatter(const RoutineCall& call, Scatter& scatter) {
  CORF_RETURN_IF_ERROR(check_scatter(call));
  CORF_ASSIGN(scatter.combine, combine_attribute(call));
  scatter.dtype = call.inputs[0].dtype;
  scatter.index_dtype = call.inputs[1].dtype;
  scatter.data_elems = num_elems(call.inputs[0].shape);
  return {};
}

}  // namespace

/// Inputs: data, indices (i32 or i64), updates (of indices' shape). Output: data with
/// out[.., indices[p], ..] = updates[p] along `axis`. Attributes: axis, reduction.
Result<PreparedRoutine> prepare_scatter_elements(RoutineCall call) {
  ScatterAlongAxis scatter;
  CORF_RETURN_IF_ERROR(read_scatter(call, scatter));
  const RoutineOperand &data = call.inputs[0], &indices = call.inputs[1];
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
  const std::vector<int64_t> strides = row_major_strides(data.shape);
  scatter.outer_shape = Shape(indices.shape.begin(), indices.shape.begin() + axis);
  scatter.outer_strides.assign(strides.begin(), strides.begin() + axis);
  scatter.outer = num_elems(scatter.outer_shape);
  scatter.steps = indices.shape[axis];
  scatter.extent = data.shape[axis];
  scatter.stride = strides[axis];
  const int64_t updates = num_elems(indices.shape);
  if (updates > 0) find_runs(data.shape, indices.shape, axis, scatter);
  return as_routine(scatter, updates);
}

/// Inputs: data, indices (i32 or i64; the last dimension holds coordinates), updates. Output: data
/// with the elements or slices at those coordinates replaced. Attribute: reduction.
Result<PreparedRoutine> prepare_scatter_nd(RoutineCall call) {
  ScatterSlices scatter;
  CORF_RETURN_IF_ERROR(read_scatter(call, scatter));
  const RoutineOperand &data = call.inputs[0], &indices = call.inputs[1];
  const auto rank = static_cast<int64_t>(data.shape.size());
  const int64_t depth = indices.shape.empty() ? -1 : indices.shape.back();
  if (depth < 0 || depth > rank) {
    return make_error(ErrorCode::kInvalidModel, "indices {} do not fit data {}",
                      to_string(indices.shape), to_string(data.shape));
  }
  Shape expected(indices.shape.begin(), indices.shape.end() - 1);
  scatter.points = num_elems(expected);
  expected.insert(expected.end(), data.shape.begin() + depth, data.shape.end());
  CORF_RETURN_IF_ERROR(check_shape(call.inputs[2], expected, "input updates"));
  scatter.extents = Shape(data.shape.begin(), data.shape.begin() + depth);
  scatter.strides = row_major_strides(scatter.extents);
  scatter.run = num_elems(Shape(data.shape.begin() + depth, data.shape.end()));
  return as_routine(scatter, num_elems(expected));
}

}  // namespace corf::runtime
