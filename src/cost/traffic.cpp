#include "cost/traffic.h"

#include <algorithm>

#include "fusion/matrix.h"
#include "support/checked.h"

namespace corf::cost {

using fusion::Access;
using fusion::Nest;
using fusion::NestSchedule;

double bytes_of(const graph::Graph& graph, graph::ValueId value) {
  const graph::Value& info = graph.values[value];
  return double(num_elems(info.shape) * size_bytes(info.dtype));
}

bool is_far(double bytes, const Model& model) { return bytes > double(model.machine.l3_bytes) / 2; }

namespace {

/// Places that a tile reads or writes at the same time, each on pages of its own.
double streams_of(const Access& access, const fusion::ScheduledNest& scheduled) {
  constexpr double kPageBytes = 4096;
  const index::Linear address = index::to_linear(access.address);
  double streams = 1;
  auto add = [&](int axis, int64_t extent) {
    const auto step = double(std::abs(address.coefficient(axis)));
    if (sizeof(float) * step >= kPageBytes) streams *= double(extent);
  };
  for (const auto& tiled : scheduled.schedule.register_tile) add(tiled.axis, tiled.extent);
  for (const int axis : scheduled.schedule.unrolled_reductions) {
    add(axis, scheduled.nest->axes[axis].extent);
  }
  return streams;
}

}  // namespace

double passes_to_read(const Access& load, const fusion::ScheduledNest& scheduled, double bytes,
                      const Model& model) {
  if (!is_far(bytes, model)) return 1;
  const double factors = scheduled.nest->contraction ? model.k.far_factors : 1;
  return std::max(factors, streams_of(load, scheduled) / model.k.streams_ahead);
}

double passes_to_write(const Access& store, const fusion::ScheduledNest& scheduled, double bytes,
                       const Model& model) {
  if (!is_far(bytes, model)) return 1;
  return std::max(1.0, streams_of(store, scheduled) / model.k.streams_ahead);
}

double gone(double bytes, double sure, const Model& model) {
  const auto level = double(model.machine.l2_bytes);
  return std::clamp((bytes / level - sure) / (1 - model.k.near_share), 0.0, 1.0);
}

double broken_runs(const Access& access, const Nest& nest, int stream,
                   const fusion::WalkStage& stage, const Model& model) {
  constexpr double kLine = 64;
  double run = 0;  // elements
  for (size_t axis = 0; axis < nest.axes.size(); ++axis) {
    if (nest.axes[axis].shared != stream) continue;
    const int64_t step = std::abs(index::to_linear(access.address).coefficient(int(axis)));
    run = std::max(run, double(step * fusion::extent_in_strip(stage, nest.axes[axis])));
  }
  return run > 0 ? 1 + model.k.lines_not_ahead * kLine / (sizeof(float) * run) : 1;
}

double split_runs(const Access& access, const fusion::ScheduledNest& scheduled,
                  const Model& model) {
  constexpr double kLine = 64;
  const NestSchedule& schedule = scheduled.schedule;
  if (schedule.partitions <= 1 || schedule.partition_axis < 0) return 1;
  const int64_t step =
      std::abs(index::to_linear(access.address).coefficient(schedule.partition_axis));
  if (step == 0) return 1;
  const int64_t steps =
      ceil_div(scheduled.nest->axes[schedule.partition_axis].extent, schedule.partitions);
  return 1 + model.k.lines_not_ahead * kLine / (sizeof(float) * double(step * steps));
}

double panel_runs(const fusion::StorageView& storage, const Nest& nest,
                  const NestSchedule& schedule, const Model& model) {
  constexpr double kLine = 64;
  if (schedule.matrix == 0) return 1;
  const auto shape = fusion::matrix_shape(nest, storage, schedule);
  if (!shape || !shape->packs) return 1;
  return 1 + model.k.panel_lines_not_ahead * kLine / (sizeof(float) * double(schedule.vector_tile));
}

void Reading::add(double passes, double bytes, int root, int64_t read_span, GroupCost& cost) const {
  const std::optional<int64_t> span = before_.span_of ? before_.span_of(root) : std::nullopt;
  const bool is_known = before_.own_results || span;
  const double mine = read_span == 0 ? bytes : share_ * bytes;
  const Rates& rates = model_.rates;
  if (!is_known || is_far(bytes, model_)) {
    cost.memory += passes * mine * passing_.read_cycles(bytes);
    return;
  }
  const bool own =
      before_.own_results || (on_one_worker_ && *span == 0) || fusion::same_split(*span, read_span);
  const double near = own || model_.machine.threads == 1 ? mine : mine / model_.machine.threads;
  const double lost = passing_.gone_part();
  cost.memory += passes * ((1 - lost) * near / rates.l2 + lost * mine / rates.l3);
  cost.remote += (1 - lost) * (mine - near) / rates.remote;
}

}  // namespace corf::cost
