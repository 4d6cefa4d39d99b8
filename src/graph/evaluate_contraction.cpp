#include <cmath>
#include <limits>

#include "graph/evaluate_compute.h"
#include "graph/parallel.h"

namespace corf::graph {
namespace {

// Accumulators of a line stay within the first cache level.
constexpr int64_t kLineElems = 2048;
constexpr int64_t kMinThreadWork = 1 << 20;

template <bool kAbsolute>
double term(double a, double b) {
  return kAbsolute ? std::fabs(a * b) : a * b;
}

/// acc[i] += sum over r of scalar[r] * line[r][i], four r at a time.
template <bool kAbsolute, bool kUnit, typename S, typename L>
void add_scaled_lines(double* acc, const S* scalar, int64_t scalar_step, const L* line,
                      int64_t line_step, int64_t line_stride, int64_t count, int64_t steps) {
  const int64_t stride = kUnit ? 1 : line_stride;
  int64_t r = 0;
  for (; r + 4 <= steps; r += 4) {
    const double s0 = scalar[r * scalar_step], s1 = scalar[(r + 1) * scalar_step],
                 s2 = scalar[(r + 2) * scalar_step], s3 = scalar[(r + 3) * scalar_step];
    const L *l0 = line + r * line_step, *l1 = l0 + line_step, *l2 = l1 + line_step,
            *l3 = l2 + line_step;
    for (int64_t i = 0; i < count; ++i) {
      acc[i] += (term<kAbsolute>(s0, l0[i * stride]) + term<kAbsolute>(s1, l1[i * stride])) +
                (term<kAbsolute>(s2, l2[i * stride]) + term<kAbsolute>(s3, l3[i * stride]));
    }
  }
  for (; r < steps; ++r) {
    const double s = scalar[r * scalar_step];
    const L* l = line + r * line_step;
    for (int64_t i = 0; i < count; ++i) acc[i] += term<kAbsolute>(s, l[i * stride]);
  }
}

/// acc[i] += sum over r of a[r][i] * b[r][i].
template <bool kAbsolute, typename A, typename B>
void add_products(double* acc, const A* a, int64_t a_step, int64_t a_stride, const B* b,
                  int64_t b_step, int64_t b_stride, int64_t count, int64_t steps) {
  for (int64_t r = 0; r < steps; ++r) {
    const A* x = a + r * a_step;
    const B* y = b + r * b_step;
    for (int64_t i = 0; i < count; ++i) {
      acc[i] += term<kAbsolute>(x[i * a_stride], y[i * b_stride]);
    }
  }
}

template <bool kAbsolute, bool kUnit, typename A, typename B>
double dot(const A* a, int64_t a_stride, const B* b, int64_t b_stride, int64_t count) {
  if (kUnit) a_stride = b_stride = 1;
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int j = 0; j < 8; ++j) {
      sums[j] += term<kAbsolute>(a[(i + j) * a_stride], b[(i + j) * b_stride]);
    }
  }
  for (; i < count; ++i) sums[0] += term<kAbsolute>(a[i * a_stride], b[i * b_stride]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// How the loops are nested: outer parallel axes, other reduction axes, `inner` reduction axis
/// (perhaps none), `line` axis.
struct Nest {
  int line = -1;
  int inner = -1;
  bool line_reduces = false;
  std::vector<int> parallel, reduction;
};

bool clips(const ComputePlan& plan, int axis) {
  for (const PlanOperand& operand : plan.operands) {
    for (const auto& checked : operand.checked) {
      if (checked.coefficients[axis] != 0) return true;
    }
  }
  return false;
}

Nest choose_nest(const ComputePlan& plan) {
  Nest nest;
  double best_cost = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < plan.axes.size(); ++i) {
    int64_t a = std::abs(plan.operands[0].strides[i]), b = std::abs(plan.operands[1].strides[i]);
    double cost = 10.0 / static_cast<double>(plan.axes[i].extent);
    if (plan.axes[i].reduction) {
      cost += a == 1 && b == 1 ? 1 : 4;
    } else {
      cost += a != 0 && b != 0 ? 4 : std::max(a, b) == 1 ? 1 : 3;
    }
    if (cost < best_cost) {
      best_cost = cost;
      nest.line = static_cast<int>(i);
    }
  }
  nest.line_reduces = nest.line >= 0 && plan.axes[nest.line].reduction;
  for (size_t i = 0; i < plan.axes.size(); ++i) {
    int axis = static_cast<int>(i);
    if (axis == nest.line || !plan.axes[i].reduction || clips(plan, axis)) continue;
    if (nest.inner < 0 || plan.axes[i].extent > plan.axes[nest.inner].extent) nest.inner = axis;
  }
  for (size_t i = 0; i < plan.axes.size(); ++i) {
    int axis = static_cast<int>(i);
    if (axis == nest.line || axis == nest.inner) continue;
    (plan.axes[i].reduction ? nest.reduction : nest.parallel).push_back(axis);
  }
  return nest;
}

template <bool kAbsolute, typename A, typename B>
class Contraction {
 public:
  Contraction(const ComputePlan& plan, const Nest& nest, Tensor& output)
      : plan_(plan), nest_(nest), output_(output), at_(plan.axes.size()) {
    extent_ = nest.line >= 0 ? plan.axes[nest.line].extent : 1;
    steps_ = nest.inner >= 0 ? plan.axes[nest.inner].extent : 1;
    acc_.resize(nest.line_reduces ? 1 : std::min(extent_, kLineElems));
    for (int k = 0; k < 2; ++k) {
      stride_[k] = nest.line >= 0 ? plan.operands[k].strides[nest.line] : 0;
      step_[k] = nest.inner >= 0 ? plan.operands[k].strides[nest.inner] : 0;
    }
  }

  /// Outer points: pieces of the line first, so that a piece stays in the cache for all others.
  int64_t num_outer() const {
    int64_t count = num_pieces();
    for (int axis : nest_.parallel) count *= plan_.axes[axis].extent;
    return count;
  }

  void run(int64_t begin, int64_t end) {
    for (int64_t point = begin; point < end; ++point) {
      int64_t rest = point;
      for (size_t i = nest_.parallel.size(); i-- > 0;) {
        int64_t extent = plan_.axes[nest_.parallel[i]].extent;
        at_[nest_.parallel[i]] = rest % extent;
        rest /= extent;
      }
      run_piece(rest * kLineElems);
    }
  }

 private:
  int64_t num_pieces() const {
    return nest_.line_reduces ? 1 : (extent_ + kLineElems - 1) / kLineElems;
  }

  void run_piece(int64_t start) {
    int64_t count = nest_.line_reduces ? extent_ : std::min(kLineElems, extent_ - start);
    std::fill(acc_.begin(), acc_.end(), 0.0);
    if (nest_.line >= 0) at_[nest_.line] = start;
    do {
      add_lines(count);
    } while (next_point(plan_, nest_.reduction, at_));
    int64_t offset = 0, stride = 0;
    for (int axis : nest_.parallel) offset += at_[axis] * plan_.axes[axis].out_stride;
    if (nest_.line >= 0 && !nest_.line_reduces) {
      stride = plan_.axes[nest_.line].out_stride;
      offset += start * stride;
    }
    store_floats(output_, offset, stride, acc_.data(), nest_.line_reduces ? 1 : count);
  }

  void add_lines(int64_t count) {
    int64_t begin = 0, end = count, offset[2];
    for (int k = 0; k < 2; ++k) {
      const PlanOperand& operand = plan_.operands[k];
      offset[k] = operand.base;
      for (size_t i = 0; i < at_.size(); ++i) offset[k] += at_[i] * operand.strides[i];
      for (const CheckedCoordinate& checked : operand.checked) {
        int64_t first = checked.constant;
        for (size_t i = 0; i < at_.size(); ++i) first += at_[i] * checked.coefficients[i];
        int64_t step = nest_.line >= 0 ? checked.coefficients[nest_.line] : 0;
        clip_line(first, step, checked.extent, begin, end);
      }
    }
    if (end <= begin) return;
    const A* a = plan_.operands[0].tensor.template data<A>() + offset[0] + begin * stride_[0];
    const B* b = plan_.operands[1].tensor.template data<B>() + offset[1] + begin * stride_[1];
    count = end - begin;
    if (nest_.line_reduces) {
      bool unit = stride_[0] == 1 && stride_[1] == 1;
      for (int64_t r = 0; r < steps_; ++r) {
        const A* x = a + r * step_[0];
        const B* y = b + r * step_[1];
        acc_[0] += unit ? dot<kAbsolute, true>(x, 1, y, 1, count)
                        : dot<kAbsolute, false>(x, stride_[0], y, stride_[1], count);
      }
    } else if (stride_[0] == 0) {
      add_scaled(acc_.data() + begin, a, step_[0], b, step_[1], stride_[1], count);
    } else if (stride_[1] == 0) {
      add_scaled(acc_.data() + begin, b, step_[1], a, step_[0], stride_[0], count);
    } else {
      add_products<kAbsolute>(acc_.data() + begin, a, step_[0], stride_[0], b, step_[1], stride_[1],
                              count, steps_);
    }
  }

  template <typename S, typename L>
  void add_scaled(double* acc, const S* scalar, int64_t scalar_step, const L* line,
                  int64_t line_step, int64_t stride, int64_t count) {
    if (stride == 1) {
      add_scaled_lines<kAbsolute, true>(acc, scalar, scalar_step, line, line_step, stride, count,
                                        steps_);
    } else {
      add_scaled_lines<kAbsolute, false>(acc, scalar, scalar_step, line, line_step, stride, count,
                                         steps_);
    }
  }

  const ComputePlan& plan_;
  const Nest& nest_;
  Tensor& output_;
  std::vector<int64_t> at_;
  int64_t extent_ = 1, steps_ = 1;
  int64_t stride_[2], step_[2];  // along the line axis and the inner reduction axis
  std::vector<double> acc_;
};

template <bool kAbsolute, typename A, typename B>
void contract(const ComputePlan& plan, const Nest& nest, int threads, Tensor& output) {
  int64_t work = 1;
  for (const PlanAxis& axis : plan.axes) work *= axis.extent;
  int64_t parts = std::clamp<int64_t>(work / kMinThreadWork, 1, std::max(threads, 1));
  int64_t outer = Contraction<kAbsolute, A, B>(plan, nest, output).num_outer();
  parallel_for(static_cast<int>(parts), outer, [&](int64_t begin, int64_t end) {
    Contraction<kAbsolute, A, B>(plan, nest, output).run(begin, end);
  });
}

template <bool kAbsolute>
void contract_typed(const ComputePlan& plan, const Nest& nest, int threads, Tensor& output) {
  bool wide_a = plan.operands[0].tensor.dtype() == DType::kF64;
  bool wide_b = plan.operands[1].tensor.dtype() == DType::kF64;
  if (wide_a && wide_b) return contract<kAbsolute, double, double>(plan, nest, threads, output);
  if (wide_a) return contract<kAbsolute, double, float>(plan, nest, threads, output);
  if (wide_b) return contract<kAbsolute, float, double>(plan, nest, threads, output);
  contract<kAbsolute, float, float>(plan, nest, threads, output);
}

}  // namespace

bool is_contraction(const Compute& compute, const ComputePlan& plan) {
  const auto& nodes = compute.body.nodes;
  if (compute.combiner != Combiner::kSum || plan.operands.size() != 2 || nodes.size() != 3) {
    return false;
  }
  if (nodes[0].op != ScalarOp::kOperand || nodes[1].op != ScalarOp::kOperand ||
      nodes[2].op != ScalarOp::kMul || nodes[0].index == nodes[1].index ||
      nodes[2].args[0] == nodes[2].args[1]) {
    return false;
  }
  for (const PlanOperand& operand : plan.operands) {
    DType dtype = operand.tensor.dtype();
    if (dtype != DType::kF32 && dtype != DType::kF64) return false;
    if (!operand.general.empty() || (!operand.checked.empty() && operand.padding != 0)) {
      return false;
    }
  }
  return true;
}

void evaluate_contraction(const ComputePlan& plan, bool absolute, int threads, Tensor& output) {
  Nest nest = choose_nest(plan);
  if (absolute) {
    contract_typed<true>(plan, nest, threads, output);
  } else {
    contract_typed<false>(plan, nest, threads, output);
  }
}

}  // namespace corf::graph
