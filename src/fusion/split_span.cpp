#include "fusion/split_span.h"

#include <algorithm>
#include <cstdlib>

namespace corf::fusion {
namespace {

/// The axis of the stage's nest that the workers share out, or -1.
int split_axis(const GroupPlan& group, size_t stage) {
  const ScheduledNest& scheduled = group.nests[stage];
  if (!group.walk) return scheduled.schedule.partition_axis;
  // The loop of chunks, which nothing else names, lies between the outer loops and the stream.
  const StripSchedule& strips = group.walk->schedule;
  const int loop = strips.splits_stream() ? group.walk->stream_loop() : strips.partition_loop;
  const auto& axes = scheduled.nest->axes;
  const auto at =
      std::find_if(axes.begin(), axes.end(), [&](const NestAxis& a) { return a.shared == loop; });
  return at == axes.end() ? -1 : static_cast<int>(at - axes.begin());
}

}  // namespace

int64_t split_span(const GroupPlan& group, size_t stage, const Access& access) {
  const int axis = split_axis(group, stage);
  if (axis < 0) return 0;
  const int64_t step = std::abs(index::to_linear(access.address).coefficient(axis));
  return step * group.nests[stage].nest->axes[axis].extent;
}

std::map<int, int64_t> written_spans(const GroupPlan& group) {
  std::map<int, int64_t> spans;
  for (size_t s = 0; s < group.nests.size(); ++s) {
    for (const auto& store : group.nests[s].nest->stores) {
      const WalkRing* ring = group.walk ? group.walk->ring_of(store.access.value) : nullptr;
      const int root = ring ? ring->memory_root : store.access.root;
      spans[root] = split_span(group, s, store.access);
    }
  }
  return spans;
}

bool runs_on_one_worker(const GroupPlan& group) {
  if (group.nests.empty()) return false;  // a routine
  if (group.walk) return group.walk->schedule.partitions == 1;
  return std::all_of(group.nests.begin(), group.nests.end(), [](const ScheduledNest& scheduled) {
    return scheduled.schedule.partitions == 1;
  });
}

void DoneSoFar::add(const GroupPlan& group) {
  for (const auto& [root, span] : written_spans(group)) spans_[root] = span;
  on_one_worker_ = runs_on_one_worker(group);
}

Before DoneSoFar::before_next() const {
  return {[this](int root) {
            const auto at = spans_.find(root);
            return at == spans_.end() ? std::nullopt : std::optional(at->second);
          },
          on_one_worker_};
}

bool same_split(int64_t written_span, int64_t read_span) {
  constexpr int64_t kShareApart = 4;  // a stride does not divide the extent, padding is beside it
  const auto [less, more] = std::minmax(written_span, read_span);
  return less > 0 && more - less <= more / kShareApart;
}

}  // namespace corf::fusion
