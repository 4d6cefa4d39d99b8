#include "search/choose_schedule.h"

#include "search/choose_loops.h"
#include "search/choose_matrix.h"
#include "search/choose_tile.h"

namespace corf::search {
namespace {

fusion::NestSchedule choose(const fusion::Nest& nest, const fusion::StorageView& storage,
                            const Machine& machine, const std::vector<int64_t>& granules,
                            std::optional<int> split_axis = std::nullopt) {
  fusion::NestSchedule schedule;
  choose_tile(nest, storage, machine, granules, schedule);
  choose_loops(nest, storage, machine, split_axis, schedule);
  if (auto matrix = choose_matrix(nest, storage, machine, granules, split_axis, schedule))
    return *matrix;
  return schedule;
}

}  // namespace

fusion::NestSchedule choose_schedule(const fusion::Nest& nest, const fusion::StorageView& storage,
                                     const Machine& machine, std::optional<int> split_axis) {
  return choose(nest, storage, machine, std::vector<int64_t>(nest.axes.size(), 0), split_axis);
}

fusion::NestSchedule choose_stage_schedule(const fusion::Nest& nest,
                                           const fusion::StorageView& storage,
                                           const Machine& machine,
                                           const std::vector<int64_t>& extents,
                                           const std::vector<int64_t>& granules) {
  fusion::Nest in_strip = nest;
  for (size_t axis = 0; axis < extents.size(); ++axis) in_strip.axes[axis].extent = extents[axis];
  Machine one_worker = machine;
  one_worker.threads = 1;
  one_worker.dram_gbps_all = 0;  // strips read packed operands again and again
  return choose(in_strip, storage, one_worker, granules);
}

}  // namespace corf::search
