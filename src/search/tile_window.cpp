#include "search/tile_window.h"

#include <algorithm>

#include "search/schedule_step.h"

namespace corf::search {
namespace {

class WindowTiler : ScheduleStep {
 public:
  using ScheduleStep::ScheduleStep;

  /// Depthwise convolutions and pools: the window's columns are unrolled, and its rows too as long
  /// as the weights fit the registers; neighbouring outputs share what they load.
  void run() {
    const int v = schedule_.vector_axis;
    if (v < 0) return;
    const int registers = machine_.num_vector_registers();
    std::vector<int> windows;
    for (int axis = 0; axis < num_axes(); ++axis) {
      if (nest_.axes[axis].in_parts()) continue;
      if (nest_.axes[axis].reduction && extent(axis) <= 7 && !is_arg_reduction()) {
        windows.push_back(axis);
      }
    }
    auto step = [&](int axis) {
      return std::abs(index::to_linear(nest_.loads[0].address).coefficient(axis));
    };
    std::sort(windows.begin(), windows.end(), [&](int a, int b) { return step(a) < step(b); });
    int64_t taps = 1;
    const auto rows = rows_at_once(windows);
    if (rows) {
      schedule_.byte_steps = rows->steps;
      schedule_.unrolled_reductions = rows->unrolled;
      taps = rows->taps;
    }
    for (int axis : windows) {
      if (rows) break;
      if (taps * extent(axis) > registers - 12 && taps > 1) break;
      if (taps * extent(axis) > 16) break;
      taps *= extent(axis);
      schedule_.unrolled_reductions.push_back(axis);
    }
    if (windows.empty()) {
      run_long();
      return;
    }
    schedule_.vector_tile = std::min<int64_t>(extent(v), lanes_);
    int64_t room = std::max<int64_t>(1, registers - 4 - taps);
    int p = best_tile_axis([&](int axis) { return depends(nest_.loads[0], axis); });
    int64_t sums = 1;
    if (p >= 0) {
      sums = fitting(p, even_tile(extent(p), std::min<int64_t>(room, 8)));
      schedule_.register_tile.push_back({p, sums});
    }
    // A step of the window's loop adds to each sum several times, one waiting for the other: sums
    // of a second vector fill the gaps.
    const bool has_loop = schedule_.unrolled_reductions.size() < windows.size();
    if (has_loop && 2 * sums + taps + 4 <= registers && extent(v) >= 2 * lanes_ &&
        fits(v, 2 * lanes_)) {
      schedule_.vector_tile = 2 * lanes_;
    }
  }

  /// A window too long to be unrolled: neighbouring outputs share each weight, and some steps of
  /// the window's loop what neighbours load.
  void run_long() {
    // Eight sums hide the latency of a multiply-add at two a cycle. Four steps, a choice, load 11
    // vectors for 32 multiply-adds.
    constexpr int64_t kOutputs = 8, kSteps = 4;
    const int p = nest_.contraction ? best_tile_axis([&](int axis) {
      return depends(nest_.loads[0], axis) && extent(axis) > 1;
    })
                                    : -1;
    const int64_t outputs = p < 0 ? 1 : fitting(p, even_tile(extent(p), kOutputs));
    if (outputs == 1) {
      schedule_.vector_tile = std::min<int64_t>(extent(schedule_.vector_axis), 4 * lanes_);
      return;
    }
    schedule_.vector_tile = std::min(extent(schedule_.vector_axis), lanes_);
    schedule_.register_tile.push_back({p, outputs});
    schedule_.reduction_unroll = kSteps;
  }
};

}  // namespace

void tile_window(const fusion::Nest& nest, const fusion::StorageView& storage,
                 const Machine& machine, const std::vector<int64_t>& granules,
                 fusion::NestSchedule& schedule) {
  WindowTiler(nest, storage, machine, granules, schedule).run();
}

}  // namespace corf::search
