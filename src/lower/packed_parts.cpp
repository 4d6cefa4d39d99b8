#include "lower/packed_parts.h"

#include <cstring>
#include <fmt/format.h>

#include "support/checked.h"

namespace corf::lower {

using fusion::kMatrixChannels;
using fusion::kMatrixLanes;
using fusion::kParts;
using index::Expr;
using loop::Stmt;

namespace {

/// Channels that a tile packs.
constexpr int64_t kChannelsOfTile = 8;

/// The upper half of a number, and what it leaves.
uint16_t upper_half(float& value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t upper = bits & 0xffff0000;
  float part = 0;
  std::memcpy(&part, &upper, sizeof part);
  value -= part;
  return static_cast<uint16_t>(upper >> 16);
}

}  // namespace

int64_t PackedParts::lanes_of(int64_t extent) { return round_up(extent, kMatrixLanes); }

/// Of all panels.
int64_t PackedParts::all_lanes() const {
  const int64_t extent = nest_->axes[vector_axis_].extent;
  return extent / vector_tile_ * lanes_of(vector_tile_) + lanes_of(extent % vector_tile_);
}

PackedParts::PackedParts(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                         const fusion::MatrixShape& shape, KernelBuilder& builder)
    : nest_(&nest),
      access_(&nest.loads[shape.along]),
      builder_(&builder),
      channels_(shape.channels),
      channel_blocks_(shape.channel_blocks()),
      channel_axis_(shape.channel_axis),
      vector_axis_(schedule.vector_axis),
      vector_tile_(schedule.vector_tile),
      outer_(fusion::packed_axes(nest, schedule, shape)) {
  for (int axis : schedule.reduction_order) {
    if (axis == channel_axis_) continue;
    step_axes_.push_back(axis);
    num_steps_ *= nest.axes[axis].extent;
  }
  num_steps_ *= channel_blocks_;
  if (fusion::is_packed(nest, builder.storage(), shape.along, vector_axis_)) {
    buffer_ = bind_constant();
    return;
  }
  holds_ = Holds::kPanel;
  buffer_ = builder.new_scratch("panel", DType::kBF16, panel_elems(lanes_of(vector_tile_)));
}

PackedParts::PackedParts(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
                         const fusion::MatrixShape& shape, const std::map<int, AxisRange>& ranges,
                         KernelBuilder& builder)
    : PackedParts(nest, schedule, shape, builder) {
  holds_ = Holds::kAll;
  int64_t size = panel_elems(all_lanes());
  for (int axis : outer_) {
    const auto range = ranges.find(axis);
    const int64_t extent = nest.axes[axis].extent;
    ranges_[axis] =
        range == ranges.end() ? AxisRange{Expr(0), Expr(extent), extent} : range->second;
    size *= ranges_[axis].most;
  }
  builder.resize_scratch(buffer_, size);
}

int PackedParts::bind_constant() const {
  std::string order = fmt::format("parts/{}/{}:{}/{}:{}", vector_tile_, vector_axis_,
                                  nest_->axes[vector_axis_].extent, channel_axis_, channels_);
  for (const std::vector<int>* axes : {&outer_, &step_axes_}) {
    order += "|";
    for (int axis : *axes) order += fmt::format("{}:{},", axis, nest_->axes[axis].extent);
  }
  order += index::to_string(access_->address, [](int id) { return "a" + std::to_string(id); });
  ProgramBuffers& buffers = builder_->buffers();
  const std::string name = buffers.graph().values[access_->value].name + "/parts";
  const auto pack = [&](const Tensor& source) { return packed(source); };
  return builder_->bind(buffers.packed(access_->root, order, name, pack), false);
}

Expr PackedParts::panel(const std::vector<Expr>& point, const Expr& tile_base) const {
  if (holds_ == Holds::kPanel) return Expr(0);
  Expr outer(0);
  for (int axis : outer_) {
    const auto range = ranges_.find(axis);
    outer = range == ranges_.end()
                ? outer * Expr(nest_->axes[axis].extent) + point[axis]
                : outer * Expr(range->second.most) + point[axis] - range->second.begin;
  }
  // All panels but the last have whole tiles.
  return outer * Expr(panel_elems(all_lanes())) + tile_base * Expr(panel_elems(1));
}

Tensor PackedParts::packed(const Tensor& source) const {
  const int64_t extent = nest_->axes[vector_axis_].extent;
  int64_t outer_size = 1;
  for (int axis : outer_) outer_size *= nest_->axes[axis].extent;
  const index::Linear address = index::to_linear(access_->address);
  const int64_t channel_step = address.coefficient(channel_axis_),
                lane_step = address.coefficient(vector_axis_);
  std::vector<int64_t> point(nest_->axes.size(), 0);
  auto set_digits = [&](const std::vector<int>& axes, int64_t number) {
    for (size_t i = axes.size(); i-- > 0;) {
      point[axes[i]] = number % nest_->axes[axes[i]].extent;
      number /= nest_->axes[axes[i]].extent;
    }
  };
  Tensor result(DType::kBF16, {outer_size * panel_elems(all_lanes())});
  std::memset(result.bytes(), 0, static_cast<size_t>(result.num_elems()) * sizeof(uint16_t));
  auto* out = reinterpret_cast<uint16_t*>(result.bytes());
  const float* data = source.data<float>();
  for (int64_t o = 0; o < outer_size; ++o) {
    set_digits(outer_, o);
    for (int64_t base = 0; base < extent; base += vector_tile_) {
      const int64_t width = std::min(vector_tile_, extent - base);
      const int64_t lanes = lanes_of(width), part_elems = kMatrixChannels * lanes;
      for (int64_t step = 0; step < num_steps_; ++step) {
        set_digits(step_axes_, step / channel_blocks_);
        const int64_t first = step % channel_blocks_ * kMatrixChannels;
        point[channel_axis_] = first;
        point[vector_axis_] = base;
        const float* from = data + index::evaluate(access_->address, point);
        for (int64_t k = 0; k < std::min(kMatrixChannels, channels_ - first); ++k) {
          for (int64_t lane = 0; lane < width; ++lane) {
            float value = from[k * channel_step + lane * lane_step];
            uint16_t* at = out + k / 2 * lanes * 2 + lane * 2 + k % 2;
            for (int part = 0; part < kParts; ++part) at[part * part_elems] = upper_half(value);
          }
        }
        out += kParts * part_elems;
      }
    }
  }
  return result;
}

/// Some channels of a block: `group` counts by kChannelsOfTile. `channels`: that the block has.
loop::Tile PackedParts::pack_tile(const std::vector<Expr>& point, int64_t width, const Expr& step,
                                  const Expr& block, const Expr& group, int64_t channels) const {
  const int64_t lanes = lanes_of(width);
  loop::Tile tile;
  auto axis = [&](const char* name, int64_t extent, bool vector) {
    const int var = builder_->new_variable(name);
    tile.axes.push_back({var, extent, vector});
    return Expr::variable(var);
  };
  const Expr pair = axis("pair", kChannelsOfTile / 2, false), half = axis("half", 2, false),
             lane = axis("lane", lanes, true);
  const Expr channel = group * Expr(kChannelsOfTile) + pair * Expr(2) + half;
  std::vector<Expr> at = point;
  at[channel_axis_] = block * Expr(kMatrixChannels) + channel;
  at[vector_axis_] = point[vector_axis_] + lane;
  const KernelBuilder::Place place = builder_->place(access_->root, false);
  loop::TileLoad load{
      place.buffer,
      index::substitute(access_->address, [&](int id) -> std::optional<Expr> { return at[id]; }) -
          place.shift,
      {},
      0};
  if (width < lanes) load.guards.push_back({lane, 0, width});
  if (channels < kMatrixChannels) load.guards.push_back({channel, 0, channels});
  auto let = [&](DType dtype, decltype(loop::TileLet::value) value) {
    const loop::Register reg = builder_->new_register();
    tile.body.push_back(loop::TileLet{reg, dtype, std::move(value)});
    return reg;
  };
  loop::Register rest = let(DType::kF32, std::move(load));
  const Expr panel_at = panel(point, point[vector_axis_]);
  for (int part = 0; part < kParts; ++part) {
    const loop::Register upper =
        let(DType::kBF16, loop::TileApply{graph::ScalarOp::kTruncate, {rest}});
    const Expr rows = (step * Expr(kParts) + Expr(part)) * Expr(kMatrixChannels) +
                      group * Expr(kChannelsOfTile) + pair * Expr(2);
    tile.body.push_back(
        loop::TileStore{buffer_, panel_at + rows * Expr(lanes) + lane * Expr(2) + half, {}, upper});
    if (part + 1 == kParts) break;
    const loop::Register wide = let(DType::kF32, loop::TileApply{graph::ScalarOp::kCast, {upper}});
    rest = let(DType::kF32, loop::TileApply{graph::ScalarOp::kSub, {rest, wide}});
  }
  return tile;
}

std::vector<Stmt> PackedParts::pack(const std::vector<Expr>& point, int64_t width,
                                    const Expr& first, const Expr& end) const {
  std::vector<loop::For> steps;
  std::vector<Expr> at = point;
  Expr step(0);
  for (int axis : step_axes_) {
    const Expr extent(nest_->axes[axis].extent);
    steps.push_back(new_loop(builder_->new_variable(nest_->axes[axis].name), Expr(0), extent));
    at[axis] = Expr::variable(steps.back().var);
    step = step * extent + at[axis];
  }
  std::vector<Stmt> body;
  auto add = [&](const Expr& lo, const Expr& hi, int64_t channels) {
    loop::For blocks = new_loop(builder_->new_variable("channels"), lo, hi);
    loop::For groups =
        new_loop(builder_->new_variable("group"), Expr(0), Expr(kMatrixChannels / kChannelsOfTile));
    const Expr block = Expr::variable(blocks.var);
    groups.body.push_back(pack_tile(at, width, step * Expr(channel_blocks_) + block, block,
                                    Expr::variable(groups.var), channels));
    blocks.body.push_back(std::move(groups));
    body.push_back(std::move(blocks));
  };
  const int64_t whole = channels_ / kMatrixChannels, rest = channels_ % kMatrixChannels;
  if (whole > 0) add(first, min(end, Expr(whole)), kMatrixChannels);
  if (rest > 0) add(max(first, Expr(whole)), end, rest);
  for (auto loop = steps.rbegin(); loop != steps.rend(); ++loop) {
    loop->body = std::move(body);
    body.clear();
    body.push_back(std::move(*loop));
  }
  return body;
}

std::vector<Stmt> PackedParts::pack_all() const {
  std::vector<loop::For> loops;
  std::vector<Expr> point(nest_->axes.size(), Expr(0));
  for (int axis : outer_) {
    const AxisRange& range = ranges_.at(axis);
    loops.push_back(
        new_loop(builder_->new_variable(nest_->axes[axis].name), range.begin, range.end));
    point[axis] = Expr::variable(loops.back().var);
  }
  const int64_t extent = nest_->axes[vector_axis_].extent;
  const int64_t whole = extent / vector_tile_, rest = extent % vector_tile_;
  const Expr blocks(channel_blocks_);
  std::vector<Stmt> body;
  if (whole > 0) {
    loop::For panels = new_loop(builder_->new_variable("panel"), Expr(0), Expr(whole));
    point[vector_axis_] = Expr::variable(panels.var) * Expr(vector_tile_);
    panels.body = pack(point, vector_tile_, Expr(0), blocks);
    body.push_back(std::move(panels));
  }
  if (rest > 0) {
    point[vector_axis_] = Expr(whole * vector_tile_);
    for (Stmt& stmt : pack(point, rest, Expr(0), blocks)) body.push_back(std::move(stmt));
  }
  for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop) {
    loop->body = std::move(body);
    body.clear();
    body.push_back(std::move(*loop));
  }
  return body;
}

}  // namespace corf::lower
