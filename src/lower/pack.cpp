#include "lower/pack.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "support/checked.h"
#include "support/tasks.h"

namespace corf::lower {

using index::Expr;

PackedOperand::PackedOperand(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                             int load, ProgramBuffers& buffers)
    : nest_(nest),
      access_(nest.loads[load]),
      vector_axis_(schedule.vector_axis),
      vector_tile_(schedule.vector_tile),
      lanes_(nest.axes[vector_axis_].extent) {
  auto has = [&](int axis) { return index::depends_on(access_.address, axis); };
  for (int axis : schedule.parallel_order) {
    if (axis != vector_axis_ && has(axis)) outer_.push_back(axis);
  }
  for (int axis : schedule.reduction_order) {
    if (axis != vector_axis_ && has(axis)) inner_.push_back(axis);
  }
  // Lanes that are summed up are whole vectors, zeros at the end.
  if (nest.axes[vector_axis_].reduction) lanes_ = round_up(lanes_, vector_tile_);
  for (int axis : schedule.unrolled_reductions) {
    if (!has(axis)) continue;
    inner_.push_back(axis);
    unrolled_steps_ *= nest.axes[axis].extent;
  }
  if (!inner_.empty()) steps_side_by_side_ = std::max(schedule.lane_steps, schedule.byte_steps);
  for (int axis : inner_) inner_size_ *= num_steps(axis);
  takes_steps_ = schedule.lane_steps > 1;
  std::string order = fmt::format("{}/{}:{}/{}/{}", vector_tile_, vector_axis_,
                                  nest.axes[vector_axis_].extent, lanes_, steps_side_by_side_);
  for (const std::vector<int>* axes : {&outer_, &inner_}) {
    for (int axis : *axes) {
      order += fmt::format("|{}:{}", axis, nest.axes[axis].extent);
    }
    order += "|";
  }
  order += index::to_string(access_.address, [](int id) { return "a" + std::to_string(id); });
  const graph::Value& value = buffers.graph().values[access_.value];
  // Views of a constant share its storage: the data is the root's.
  buffer_ = buffers.packed(access_.root, order, value.name + "/packed",
                           [&](const Tensor& source) { return pack(source, buffers.threads()); });
}

int64_t PackedOperand::num_steps(int axis) const {
  const int64_t extent = nest_.axes[axis].extent;
  return axis == inner_.back() ? round_up(extent, steps_side_by_side_) : extent;
}

Expr PackedOperand::address(const std::vector<Expr>& point, const Expr& tile_base,
                            int64_t tile_extent) const {
  const Expr lane = point[vector_axis_] - tile_base;
  if (steps_side_by_side_ == 1 || takes_steps_) {
    return panel(point, tile_base) + step(point) * Expr(tile_extent) + lane;
  }
  const Expr beside = mod(point[inner_.back()], Expr(steps_side_by_side_));
  return panel(point, tile_base) + (step(point) - beside) * Expr(tile_extent) +
         lane * Expr(steps_side_by_side_) + beside;
}

Expr PackedOperand::panel(const std::vector<Expr>& point, const Expr& tile_base) const {
  Expr outer(0);
  for (int axis : outer_) outer = outer * Expr(nest_.axes[axis].extent) + point[axis];
  return outer * Expr(lanes_ * inner_size_) + tile_base * Expr(inner_size_);
}

Expr PackedOperand::step(const std::vector<Expr>& point) const {
  Expr inner(0);
  for (int axis : inner_) inner = inner * Expr(num_steps(axis)) + point[axis];
  return inner;
}

namespace {

/// to[step * to_step + lane * to_lane] = from[step * from_step + lane * from_lane], elements of T.
/// In blocks: where neighbouring lanes are far apart in memory, but neighbouring steps are not,
/// each cache line is read once.
template <typename T>
void copy_panel(const std::byte* from, int64_t from_step, int64_t from_lane, std::byte* to,
                int64_t to_step, int64_t to_lane, int64_t steps, int64_t lanes) {
  constexpr int64_t kBlock = 64 / sizeof(T);
  const T* const source = reinterpret_cast<const T*>(from);
  T* const target = reinterpret_cast<T*>(to);
  for (int64_t begin = 0; begin < steps; begin += kBlock) {
    const int64_t end = std::min(steps, begin + kBlock);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      for (int64_t step = begin; step < end; ++step) {
        target[step * to_step + lane * to_lane] = source[step * from_step + lane * from_lane];
      }
    }
  }
}

}  // namespace

/// One panel: a tile of the vector axis from `base` on, for all steps. `point`: of the axes in
/// front of the tile.
void PackedOperand::pack_panel(const Tensor& source, const index::Linear& linear,
                               std::vector<int64_t>& point, int64_t base, std::byte* out) const {
  const int64_t elem = size_bytes(source.dtype());
  const int64_t held = nest_.axes[vector_axis_].extent;
  const int64_t width = std::min(vector_tile_, lanes_ - base);
  const int64_t lanes = std::min(width, held - base);
  auto set_digits = [&](int64_t number) {
    for (size_t i = inner_.size(); i-- > 0;) {
      point[inner_[i]] = number % num_steps(inner_[i]);
      number /= num_steps(inner_[i]);
    }
  };
  // Runs of steps along the innermost axis, whose elements are equally far apart.
  const bool affine = linear.is_affine();
  const bool in_runs =
      affine && steps_side_by_side_ == 1 && !inner_.empty() && elem == sizeof(float);
  const int64_t run = in_runs ? nest_.axes[inner_.back()].extent : 1;
  const int64_t lane_step = affine ? linear.coefficient(vector_axis_) : 0;
  for (int64_t i = 0; i < inner_size_; i += run) {
    set_digits(i);
    if (!inner_.empty() && point[inner_.back()] >= nest_.axes[inner_.back()].extent) continue;
    point[vector_axis_] = base;
    int64_t at = index::evaluate(access_.address, point);
    if (in_runs) {
      copy_panel<float>(source.bytes() + at * elem, linear.coefficient(inner_.back()), lane_step,
                        out + i * width * elem, width, 1, run, lanes);
      continue;
    }
    std::byte* to =
        out + (i - i % steps_side_by_side_) * width * elem + i % steps_side_by_side_ * elem;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      if (!affine) {
        point[vector_axis_] = base + lane;
        at = index::evaluate(access_.address, point);
      }
      std::memcpy(to, source.bytes() + at * elem, elem);
      to += steps_side_by_side_ * elem;
      at += lane_step;
    }
  }
}

Tensor PackedOperand::pack(const Tensor& source, int threads) const {
  int64_t outer_size = 1;
  for (int axis : outer_) outer_size *= nest_.axes[axis].extent;
  Tensor result(source.dtype(), {outer_size * lanes_ * inner_size_});
  const int64_t elem = size_bytes(source.dtype());
  const index::Linear linear = index::to_linear(access_.address);
  const int64_t panels = ceil_div(lanes_, vector_tile_);  // of each point of the outer axes
  auto pack_one = [&](int64_t number, std::vector<int64_t>& point) {
    const int64_t outer = number / panels, base = number % panels * vector_tile_;
    for (int64_t i = static_cast<int64_t>(outer_.size()), rest = outer; i-- > 0;) {
      point[outer_[i]] = rest % nest_.axes[outer_[i]].extent;
      rest /= nest_.axes[outer_[i]].extent;
    }
    std::byte* const out = result.bytes() + (outer * lanes_ + base) * inner_size_ * elem;
    pack_panel(source, linear, point, base, out);
  };
  // A thread is begun for no less than it copies in some hundred microseconds.
  constexpr int64_t kElemsOfTask = int64_t{1} << 17;
  const int64_t in_task = ceil_div(kElemsOfTask, vector_tile_ * inner_size_);
  const int64_t all = outer_size * panels;
  for_each_task(threads, ceil_div(all, in_task), [&](size_t task, size_t) {
    std::vector<int64_t> point(nest_.axes.size(), 0);
    const int64_t first = static_cast<int64_t>(task) * in_task;
    for (int64_t i = first; i < std::min(all, first + in_task); ++i) pack_one(i, point);
  });
  return result;
}

}  // namespace corf::lower
