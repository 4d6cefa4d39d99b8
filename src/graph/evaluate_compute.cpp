#include "graph/evaluate_compute.h"

#include <cmath>
#include <limits>

#include "graph/identity_of.h"
#include "graph/parallel.h"
#include "graph/saturated.h"
#include "graph/scalar_block.h"
#include "support/assert.h"
#include "support/budget.h"
#include "support/checked.h"

namespace corf::graph {
namespace {

// A part below this many scalar operations is not worth a thread.
constexpr int64_t kMinThreadWork = 1 << 18;

template <typename T>
void read_floats(const Tensor& tensor, int64_t offset, int64_t stride, int64_t count, Lane* out) {
  const T* data = tensor.data<T>() + offset;
  for (int64_t i = 0; i < count; ++i) out[i].f = data[i * stride];
}
template <typename T>
void read_integers(const Tensor& tensor, int64_t offset, int64_t stride, int64_t count, Lane* out) {
  const T* data = tensor.data<T>() + offset;
  for (int64_t i = 0; i < count; ++i) out[i].i = static_cast<int64_t>(data[i * stride]);
}

void read_line(const Tensor& tensor, int64_t offset, int64_t stride, int64_t count, Lane* out) {
  switch (tensor.dtype()) {
    case DType::kBool:
    case DType::kU8:
      return read_integers<uint8_t>(tensor, offset, stride, count, out);
    case DType::kI8:
      return read_integers<int8_t>(tensor, offset, stride, count, out);
    case DType::kI16:
      return read_integers<int16_t>(tensor, offset, stride, count, out);
    case DType::kU16:
      return read_integers<uint16_t>(tensor, offset, stride, count, out);
    case DType::kI32:
      return read_integers<int32_t>(tensor, offset, stride, count, out);
    case DType::kU32:
      return read_integers<uint32_t>(tensor, offset, stride, count, out);
    case DType::kI64:
    case DType::kU64:
      return read_integers<int64_t>(tensor, offset, stride, count, out);
    case DType::kF32:
      return read_floats<float>(tensor, offset, stride, count, out);
    case DType::kF64:
      return read_floats<double>(tensor, offset, stride, count, out);
    default:
      for (int64_t i = 0; i < count; ++i) out[i].f = tensor.at_f64(offset + i * stride);
  }
}

/// One thread's walk over the operator's points, a line of up to kBlockElems along the plan's axis
/// `line_axis` at a time.
class Walk {
 public:
  Walk(const Compute& compute, const ComputePlan& plan, int line_axis, bool absolute,
       const EvaluateOptions& options, Tensor& output)
      : compute_(compute),
        plan_(plan),
        line_axis_(line_axis),
        absolute_(absolute),
        output_(output),
        body_(compute.body, options.round_to_dtype,
              options.round_operations && compute.combiner == Combiner::kNone),
        at_(plan.axes.size()),
        values_(plan.num_axes + plan.operands.size()),
        columns_(plan.operands.size(), BlockColumn(kBlockElems)) {
    for (size_t i = 0; i < plan.axes.size(); ++i) {
      if (static_cast<int>(i) == line_axis) continue;
      (plan.axes[i].reduction ? reduction_ : parallel_).push_back(static_cast<int>(i));
    }
    line_extent_ = line_axis >= 0 ? plan.axes[line_axis].extent : 1;
    line_reduces_ = line_axis >= 0 && plan.axes[line_axis].reduction;
    acc_.resize(line_reduces_ ? 1 : std::min(line_extent_, kBlockElems));
    best_.resize(acc_.size());
    for (size_t k = 0; k < plan.operands.size(); ++k) {
      bool in_body = false;
      for (const ScalarNode& node : compute.body.nodes) {
        in_body |= node.op == ScalarOp::kOperand && node.index == static_cast<int>(k);
      }
      needed_.push_back(in_body || plan.operands[k].is_index);
    }
  }

  int64_t num_outer() const {
    int64_t count = 1;
    for (int axis : parallel_) count *= plan_.axes[axis].extent;
    return count;
  }

  /// The outer parallel points [begin, end) in row-major order.
  void run(int64_t begin, int64_t end) {
    if (begin >= end) return;
    int64_t rest = begin;
    for (size_t i = parallel_.size(); i-- > 0;) {
      int64_t extent = plan_.axes[parallel_[i]].extent;
      at_[parallel_[i]] = rest % extent;
      rest /= extent;
    }
    for (int64_t point = begin; point < end; ++point) {
      if (line_reduces_) {
        reduce_point();
      } else {
        for (int64_t start = 0; start < line_extent_; start += kBlockElems) {
          line_of_outputs(start, std::min(kBlockElems, line_extent_ - start));
        }
      }
      next_point(plan_, parallel_, at_);
    }
  }

 private:
  bool is_float_body() const { return is_float(compute_.body.result_dtype()); }
  bool selects() const {
    return compute_.combiner == Combiner::kArgMin || compute_.combiner == Combiner::kArgMax;
  }

  void reduce_point() {
    start_accumulators(1);
    do {
      for (int64_t start = 0; start < line_extent_; start += kBlockElems) {
        int64_t count = std::min(kBlockElems, line_extent_ - start);
        evaluate_line(start, count);
        const Lane* result = body_.result();
        for (int64_t i = 0; i < count; ++i) combine(0, result[i], start + i);
      }
    } while (next_point(plan_, reduction_, at_));
    store(0, 1);
  }

  void line_of_outputs(int64_t start, int64_t count) {
    if (compute_.combiner == Combiner::kNone) {
      evaluate_line(start, count);
      const Lane* result = body_.result();
      std::copy(result, result + count, acc_.begin());
    } else {
      start_accumulators(count);
      do {
        evaluate_line(start, count);
        const Lane* result = body_.result();
        int64_t coordinate = reduction_.empty() ? 0 : at_[reduction_[0]];
        for (int64_t i = 0; i < count; ++i) combine(i, result[i], coordinate);
      } while (next_point(plan_, reduction_, at_));
    }
    store(start, count);
  }

  void start_accumulators(int64_t count) {
    Lane start{};
    if (is_float_body()) {
      start.f = compute_.combiner == Combiner::kProduct ? 1 : 0;
    } else {
      start.i = compute_.combiner == Combiner::kProduct;
    }
    std::fill_n(acc_.begin(), count, start);
    std::fill_n(best_.begin(), count, -1);
  }

  bool less(Lane a, Lane b) const {
    DType dtype = compute_.body.result_dtype();
    if (is_float(dtype)) return a.f < b.f;
    if (dtype == DType::kU64) return static_cast<uint64_t>(a.i) < static_cast<uint64_t>(b.i);
    return a.i < b.i;
  }

  void combine(int64_t i, Lane value, int64_t coordinate) {
    Lane& acc = acc_[i];
    bool floating = is_float_body();
    switch (compute_.combiner) {
      case Combiner::kNone:
      case Combiner::kSum:
        if (floating) {
          acc.f += absolute_ ? std::fabs(value.f) : value.f;
        } else {
          acc.i =
              static_cast<int64_t>(static_cast<uint64_t>(acc.i) + static_cast<uint64_t>(value.i));
        }
        return;
      case Combiner::kProduct:
        if (floating) {
          acc.f *= value.f;
        } else {
          acc.i =
              static_cast<int64_t>(static_cast<uint64_t>(acc.i) * static_cast<uint64_t>(value.i));
        }
        return;
      case Combiner::kMin:
      case Combiner::kMax: {
        bool better = compute_.combiner == Combiner::kMin ? less(value, acc) : less(acc, value);
        // The first value is taken as it is; NaN, once there, stays.
        if (best_[i] < 0 || better || (floating && std::isnan(value.f))) {
          if (!(best_[i] >= 0 && floating && std::isnan(acc.f))) acc = value;
        }
        best_[i] = 0;
        return;
      }
      case Combiner::kArgMin:
      case Combiner::kArgMax: {
        bool is_min = compute_.combiner == Combiner::kArgMin;
        bool better = is_min ? less(value, acc) : less(acc, value);
        bool equal = !less(value, acc) && !less(acc, value);
        // NaN counts as the largest and as the smallest.
        if (floating && (std::isnan(value.f) || std::isnan(acc.f))) {
          better = std::isnan(value.f) && !std::isnan(acc.f);
          equal = std::isnan(value.f) && std::isnan(acc.f);
        }
        if (best_[i] < 0 || better || (compute_.select_last && equal)) {
          acc = value;
          best_[i] = coordinate;
        }
      }
    }
  }

  void store(int64_t start, int64_t count) {
    int64_t offset = 0, stride = 0;
    for (int axis : parallel_) offset += at_[axis] * plan_.axes[axis].out_stride;
    if (line_axis_ >= 0 && !line_reduces_) {
      stride = plan_.axes[line_axis_].out_stride;
      offset += start * stride;
    }
    // A Lane has the size and place of its members.
    if (selects()) {
      store_integers(output_, offset, stride, best_.data(), count);
    } else if (is_float_body()) {
      store_floats(output_, offset, stride, &acc_[0].f, count);
    } else {
      store_integers(output_, offset, stride, &acc_[0].i, count);
    }
  }

  /// Runs the body for the points start.. along the line axis, the others being at `at_`.
  void evaluate_line(int64_t start, int64_t count) {
    look_at_budget();
    if (line_axis_ >= 0) at_[line_axis_] = start;
    for (size_t i = 0; i < plan_.axes.size(); ++i) values_[plan_.axes[i].axis] = at_[i];
    // An operand is indexed by later ones only.
    for (size_t k = plan_.operands.size(); k-- > 0;) {
      if (needed_[k]) load(static_cast<int>(k), count);
    }
    for (size_t i = 0; i < compute_.body.nodes.size(); ++i) {
      const ScalarNode& node = compute_.body.nodes[i];
      Lane* column = body_.column(static_cast<int>(i));
      if (node.op == ScalarOp::kOperand) {
        std::copy_n(columns_[node.index].data(), count, column);
      } else if (node.op == ScalarOp::kIndex) {
        bool along = line_axis_ >= 0 && plan_.axes[line_axis_].axis == node.index;
        int64_t first = coordinate_of(node.index);
        for (int64_t p = 0; p < count; ++p) column[p].i = along ? first + p : first;
      }
    }
    body_.run(count);
    if (line_axis_ >= 0) at_[line_axis_] = 0;
  }

  int64_t coordinate_of(int axis) const {
    for (size_t i = 0; i < plan_.axes.size(); ++i) {
      if (plan_.axes[i].axis == axis) return at_[i];
    }
    return 0;  // an axis of extent 1
  }

  Lane padding_of(const PlanOperand& operand) const {
    Lane lane;
    DType dtype = operand.tensor.dtype();
    if (is_float(dtype)) {
      lane.f = operand.padding;
    } else {
      lane.i = saturated(operand.padding, dtype);
    }
    return lane;
  }

  void load(int k, int64_t count) {
    const PlanOperand& operand = plan_.operands[k];
    Lane* out = columns_[k].data();
    int64_t offset = operand.base, begin = 0, end = count;
    for (size_t i = 0; i < at_.size(); ++i) offset += at_[i] * operand.strides[i];
    for (const CheckedCoordinate& checked : operand.checked) {
      int64_t first = checked.constant;
      for (size_t i = 0; i < at_.size(); ++i) first += at_[i] * checked.coefficients[i];
      int64_t step = line_axis_ >= 0 ? checked.coefficients[line_axis_] : 0;
      clip_line(first, step, checked.extent, begin, end);
    }
    int64_t stride = line_axis_ >= 0 ? operand.strides[line_axis_] : 0;
    bool varies = line_axis_ >= 0 && operand.varies[line_axis_];
    if (!operand.general.empty() && varies && end > begin) {
      load_points(operand, offset, stride, begin, end, out);
    } else {
      set_held(0);
      for (const GeneralCoordinate& general : operand.general) {
        int64_t coordinate = evaluate(general.expr, values_);
        if (coordinate < 0 || coordinate >= general.extent) end = begin;
        offset += coordinate * general.stride;
      }
      if (end > begin) {
        read_line(operand.tensor, offset + begin * stride, stride, end - begin, out + begin);
      }
    }
    if (begin > 0 || end < count) {
      Lane padding = padding_of(operand);
      std::fill(out, out + begin, padding);
      std::fill(out + end, out + count, padding);
    }
  }

  /// Makes what the index operands hold at point `p` of the line the value of their variables.
  void set_held(int64_t p) {
    for (size_t j = 0; j < plan_.operands.size(); ++j) {
      if (plan_.operands[j].is_index) values_[plan_.num_axes + j] = columns_[j][p].i;
    }
  }

  void load_points(const PlanOperand& operand, int64_t offset, int64_t stride, int64_t begin,
                   int64_t end, Lane* out) {
    int64_t& line_value = values_[plan_.axes[line_axis_].axis];
    int64_t start = line_value;
    for (int64_t p = begin; p < end; ++p) {
      line_value = start + p;
      set_held(p);
      int64_t point = offset + p * stride;
      bool inside = true;
      for (const GeneralCoordinate& general : operand.general) {
        int64_t coordinate = evaluate(general.expr, values_);
        inside &= coordinate >= 0 && coordinate < general.extent;
        point += coordinate * general.stride;
      }
      if (inside) {
        read_line(operand.tensor, point, 0, 1, out + p);
      } else {
        out[p] = padding_of(operand);
      }
    }
    line_value = start;
  }

  const Compute& compute_;
  const ComputePlan& plan_;
  int line_axis_;
  bool absolute_;
  Tensor& output_;
  ScalarBlock body_;
  std::vector<int64_t> at_;
  std::vector<int64_t> values_;  // of the operator's axes, then of what its operands hold
  std::vector<BlockColumn> columns_;
  std::vector<int> parallel_, reduction_;  // plan axes besides the line axis
  int64_t line_extent_ = 1;
  bool line_reduces_ = false;
  std::vector<Lane> acc_;
  std::vector<int64_t> best_;
  std::vector<bool> needed_;
};

/// The axis along which lines are cheapest: long, with operands that step by 0 or 1.
int choose_line_axis(const ComputePlan& plan) {
  int best = -1;
  double best_cost = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < plan.axes.size(); ++i) {
    double cost = 50.0 / static_cast<double>(std::min(plan.axes[i].extent, kBlockElems));
    for (const PlanOperand& operand : plan.operands) {
      bool per_point = !operand.general.empty() && operand.varies[i];
      cost += per_point ? 20 : std::abs(operand.strides[i]) <= 1 ? 1 : 2;
    }
    if (cost <= best_cost) {
      best_cost = cost;
      best = static_cast<int>(i);
    }
  }
  return best;
}

/// Outputs of a reduction over no points: the combiner's neutral element.
void fill_empty_reduction(const Compute& compute, Tensor& output) {
  const ScalarNode value = identity_of(compute.combiner, output.dtype());
  for (int64_t i = 0; i < output.num_elems(); ++i) {
    if (is_float(output.dtype())) {
      output.set_f64(i, value.f64);
    } else {
      output.set_i64(i, value.i64);
    }
  }
}

}  // namespace

void store_floats(Tensor& output, int64_t offset, int64_t stride, const double* values,
                  int64_t count) {
  if (output.dtype() == DType::kF64) {
    double* data = output.data<double>() + offset;
    for (int64_t i = 0; i < count; ++i) data[i * stride] = values[i];
  } else if (output.dtype() == DType::kF32) {
    float* data = output.data<float>() + offset;
    for (int64_t i = 0; i < count; ++i) data[i * stride] = static_cast<float>(values[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) output.set_f64(offset + i * stride, values[i]);
  }
}

void store_integers(Tensor& output, int64_t offset, int64_t stride, const int64_t* values,
                    int64_t count) {
  if (output.dtype() == DType::kI64) {
    int64_t* data = output.data<int64_t>() + offset;
    for (int64_t i = 0; i < count; ++i) data[i * stride] = values[i];
  } else {
    for (int64_t i = 0; i < count; ++i) output.set_i64(offset + i * stride, values[i]);
  }
}

void evaluate_compute(const Compute& compute, const std::vector<Tensor>& inputs, bool absolute,
                      const EvaluateOptions& options, Tensor& output) {
  if (output.num_elems() == 0) return;
  ComputePlan plan = plan_compute(compute, inputs, output.shape());
  if (!plan.has_points) {
    fill_empty_reduction(compute, output);
    return;
  }
  if (is_contraction(compute, plan)) {
    evaluate_contraction(plan, absolute, options.threads, output);
    return;
  }
  int line_axis = choose_line_axis(plan);
  int64_t work = static_cast<int64_t>(compute.body.nodes.size());
  for (const PlanAxis& axis : plan.axes) work *= axis.extent;
  int64_t outer = Walk(compute, plan, line_axis, absolute, options, output).num_outer();
  int threads =
      static_cast<int>(std::clamp<int64_t>(work / kMinThreadWork, 1, std::max(options.threads, 1)));
  parallel_for(threads, outer, [&](int64_t begin, int64_t end) {
    Walk(compute, plan, line_axis, absolute, options, output).run(begin, end);
  });
}

}  // namespace corf::graph
