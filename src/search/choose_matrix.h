#pragma once
#include <optional>
#include <vector>

#include "fusion/plan.h"
#include "target/machine.h"

namespace corf::search {

/// A schedule for the matrix unit, for a contraction that the vector schedule is given of; nullopt
/// where there is no unit, the nest has no such form, or vectors are predicted to be as fast.
/// `granules`: of each axis, what the extent of a tile must divide, or 0. `split_axis`: as in
/// choose_loops.
std::optional<fusion::NestSchedule> choose_matrix(const fusion::Nest& nest,
                                                  const fusion::StorageView& storage,
                                                  const Machine& machine,
                                                  const std::vector<int64_t>& granules,
                                                  std::optional<int> split_axis,
                                                  const fusion::NestSchedule& vectors);

}  // namespace corf::search
