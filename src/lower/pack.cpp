#include "lower/pack.h"

#include <cstring>

#include "support/checked.h"

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
  for (int axis : inner_) inner_size_ *= nest.axes[axis].extent;
  if (!inner_.empty()) lane_steps_ = schedule.lane_steps;
  std::string key = std::to_string(access_.root) + "/" + std::to_string(vector_tile_) + "/" +
                    std::to_string(nest.axes[vector_axis_].extent) + "/" +
                    std::to_string(lane_steps_);
  for (const std::vector<int>* axes : {&outer_, &inner_}) {
    for (int axis : *axes) {
      key += "|" + std::to_string(axis) + ":" + std::to_string(nest.axes[axis].extent);
    }
    key += "|";
  }
  key += index::to_string(access_.address, [](int id) { return "a" + std::to_string(id); });
  const graph::Value& value = buffers.graph().values[access_.value];
  // Views of a constant share its storage: the data is the root's.
  buffer_ = buffers.packed(key, value.name + "/packed",
                           [&] { return pack(buffers.constant(access_.root)); });
}

Expr PackedOperand::address(const std::vector<Expr>& point, const Expr& tile_base,
                            int64_t tile_extent) const {
  Expr lane = point[vector_axis_] - tile_base;
  return panel(point, tile_base) + step(point) * Expr(tile_extent) + lane;
}

Expr PackedOperand::panel(const std::vector<Expr>& point, const Expr& tile_base) const {
  Expr outer(0);
  for (int axis : outer_) outer = outer * Expr(nest_.axes[axis].extent) + point[axis];
  return outer * Expr(lanes_ * inner_size_) + tile_base * Expr(inner_size_);
}

Expr PackedOperand::step(const std::vector<Expr>& point) const {
  Expr inner(0);
  for (int axis : inner_) inner = inner * Expr(nest_.axes[axis].extent) + point[axis];
  return inner;
}

Tensor PackedOperand::pack(const Tensor& source) const {
  const int64_t held = nest_.axes[vector_axis_].extent;
  int64_t outer_size = 1;
  for (int axis : outer_) outer_size *= nest_.axes[axis].extent;
  Tensor result(source.dtype(), {outer_size * lanes_ * inner_size_});
  const int64_t elem = size_bytes(source.dtype());
  std::vector<int64_t> point(nest_.axes.size(), 0);
  auto set_digits = [&](const std::vector<int>& axes, int64_t number) {
    for (size_t i = axes.size(); i-- > 0;) {
      point[axes[i]] = number % nest_.axes[axes[i]].extent;
      number /= nest_.axes[axes[i]].extent;
    }
  };
  const index::Linear linear = index::to_linear(access_.address);
  const int64_t lane_step = linear.is_affine() ? linear.coefficient(vector_axis_) : 0;
  std::byte* out = result.bytes();
  for (int64_t o = 0; o < outer_size; ++o) {
    set_digits(outer_, o);
    for (int64_t base = 0; base < lanes_; base += vector_tile_) {
      const int64_t width = std::min(vector_tile_, lanes_ - base);
      for (int64_t i = 0; i < inner_size_; ++i) {
        set_digits(inner_, i);
        point[vector_axis_] = base;
        int64_t at = index::evaluate(access_.address, point);
        std::byte* to = out + (i - i % lane_steps_) * width * elem + i % lane_steps_ * elem;
        for (int64_t lane = 0; lane < std::min(width, held - base); ++lane) {
          if (!linear.is_affine()) {
            point[vector_axis_] = base + lane;
            at = index::evaluate(access_.address, point);
          }
          std::memcpy(to, source.bytes() + at * elem, elem);
          to += lane_steps_ * elem;
          at += lane_step;
        }
      }
      out += inner_size_ * width * elem;
    }
  }
  return result;
}

}  // namespace corf::lower
