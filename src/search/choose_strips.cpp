#include "search/choose_strips.h"

#include <algorithm>
#include <set>

#include "fusion/group_nests.h"
#include "fusion/order.h"
#include "search/choose_schedule.h"
#include "support/checked.h"

namespace corf::search {
namespace {

using fusion::FusionGroup;
using fusion::StripAnalysis;
using fusion::StripSchedule;

class StripChooser {
 public:
  StripChooser(const graph::Graph& graph, const fusion::StoragePlan& storage,
               const Machine& machine, FusionGroup group, const GroupTime& time)
      : graph_(graph),
        storage_(storage),
        machine_(machine),
        group_(std::move(group)),
        time_(time) {}

  std::optional<TimedGroup> run() {
    for (const StripSchedule& loops : loop_candidates()) {
      for (int64_t strip : strip_candidates(loops)) {
        StripSchedule schedule = loops;
        schedule.strip = strip;
        try_schedule(schedule);
      }
    }
    return std::move(best_);
  }

 private:
  const Shape& points() const { return graph_.values[group_.stages.back().stored[0]].shape; }

  /// Streams along each dimension that all stages can walk, dimensions that lie further out as
  /// outer loops where they can be.
  std::vector<StripSchedule> loop_candidates() {
    std::vector<StripSchedule> candidates;
    const auto& strides = storage_.values[group_.stages.back().stored[0]].strides;
    std::vector<int> dims;
    for (int d : fusion::order_of_strides(strides)) {
      if (points()[d] > 1) dims.push_back(d);
    }
    if (!dims.empty()) dims.pop_back();  // vectors run along the innermost
    StripSchedule loops;
    for (size_t i = 0; i < dims.size(); ++i) {
      loops.stream_dim = dims[i];
      for (bool along_stream : {true, false}) {
        if (!split(loops, along_stream)) continue;
        if (is_legal(loops)) candidates.push_back(loops);
      }
      StripSchedule deeper = loops;
      deeper.outer.push_back({dims[i], 1});
      if (i + 1 < dims.size()) {
        deeper.stream_dim = dims[i + 1];
        split(deeper, true);
        if (is_legal(deeper)) loops = deeper;
      }
    }
    return candidates;
  }

  /// Gives the workers their parts of the stream, or of the longest outer loop.
  bool split(StripSchedule& loops, bool along_stream) const {
    loops.partition_loop = static_cast<int>(loops.outer.size());
    int64_t extent = points()[loops.stream_dim];
    if (!along_stream) {
      if (loops.outer.empty()) return false;
      extent = 0;
      for (size_t i = 0; i < loops.outer.size(); ++i) {
        if (points()[loops.outer[i].dim] <= extent) continue;
        extent = points()[loops.outer[i].dim];
        loops.partition_loop = static_cast<int>(i);
      }
    }
    loops.partitions = std::min<int64_t>(machine_.threads, extent);
    return true;
  }

  bool is_legal(const StripSchedule& loops) {
    group_.strips = loops;
    return fusion::analyze_strips(graph_, storage_, group_).ok();
  }

  /// Strip lengths that give the workers equal parts, up to what the second cache level holds.
  std::vector<int64_t> strip_candidates(const StripSchedule& loops) {
    const int64_t rows = points()[loops.stream_dim];
    const int64_t parts =
        loops.partition_loop == static_cast<int>(loops.outer.size()) ? loops.partitions : 1;
    std::set<int64_t> lengths;
    for (int64_t per_part : {1, 2, 3, 4, 6, 8, 14, 28, 56, 112}) {
      const int64_t length = ceil_div(rows, parts * per_part);
      for (int64_t multiple : {1, 4, 8}) lengths.insert(round_up(length, multiple));
    }
    std::vector<int64_t> fitting;
    for (int64_t length : lengths) {
      if (length > rows) continue;
      fitting.push_back(length);
    }
    return fitting;
  }

  double ring_bytes(const StripAnalysis& strips, const fusion::StoragePlan& storage) const {
    double bytes = 0;
    for (const fusion::StripRing& ring : strips.rings) {
      const fusion::Root& root = storage.roots[storage.values[ring.value].root];
      bytes += double(root.size_elems * size_bytes(root.dtype));
    }
    return bytes;
  }

  void try_schedule(const StripSchedule& schedule) {
    FusionGroup group = group_;
    group.strips = schedule;
    auto strips = fusion::analyze_strips(graph_, storage_, group);
    if (!strips || strips->rings.empty()) return;
    fusion::StoragePlan storage = storage_;
    fusion::place_rings(graph_, group, *strips, storage);
    // Beyond that the rings are no better than memory.
    if (ring_bytes(*strips, storage) > double(machine_.l2_bytes)) return;
    if (!schedule_stages(graph_, storage, machine_, *strips, group)) return;
    const double time = time_(storage, group, &*strips);
    if (best_ && time >= best_->time) return;
    best_ = TimedGroup{std::move(group), time};
  }

  const graph::Graph& graph_;
  const fusion::StoragePlan& storage_;
  const Machine& machine_;
  FusionGroup group_;
  const GroupTime& time_;
  std::optional<TimedGroup> best_;
};

}  // namespace

bool schedule_stages(const graph::Graph& graph, const fusion::StoragePlan& storage,
                     const Machine& machine, const StripAnalysis& strips, FusionGroup& group) {
  const StripSchedule& schedule = *group.strips;
  group.nests.clear();
  std::vector<fusion::Nest> nests = fusion::group_nests(graph, storage, group, &strips);
  for (size_t s = 0; s < nests.size(); ++s) {
    const fusion::StripStage& stage = strips.stages[s];
    std::vector<int64_t> extents, granules;
    for (const fusion::NestAxis& axis : nests[s].axes) {
      extents.push_back(axis.extent);
      granules.push_back(0);
      if (axis.shared < 0) continue;
      if (axis.shared < static_cast<int>(schedule.outer.size())) {
        const int64_t block = schedule.outer[axis.shared].block;
        if (block >= axis.extent) continue;
        extents.back() = granules.back() = block;
        continue;
      }
      extents.back() = std::max<int64_t>(1, ceil_div(stage.rows_in_strip, stage.unit));
      granules.back() = stage.granule / stage.unit;
    }
    fusion::NestSchedule chosen =
        choose_stage_schedule(nests[s], storage, machine, extents, granules);
    group.nests.push_back({std::move(nests[s]), std::move(chosen)});
  }
  return fusion::check_strip_tiles(group, strips).ok();
}

std::optional<TimedGroup> choose_strips(const graph::Graph& graph,
                                        const fusion::StoragePlan& storage, const Machine& machine,
                                        FusionGroup group, const GroupTime& time) {
  return StripChooser(graph, storage, machine, std::move(group), time).run();
}

}  // namespace corf::search
