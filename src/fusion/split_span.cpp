#include "fusion/split_span.h"

#include <algorithm>
#include <cstdlib>

namespace corf::fusion {
namespace {

/// The axis of the stage's nest that the workers share out, or -1.
int split_axis(const FusionGroup& group, const StripAnalysis* strips, size_t stage) {
  const ScheduledNest& scheduled = group.nests[stage];
  if (!strips) return scheduled.schedule.partition_axis;
  // The loop of chunks, which nothing else names, lies between the outer loops and the stream.
  const bool along_stream =
      group.strips->partition_loop == static_cast<int>(group.strips->outer.size());
  const int loop = along_stream ? static_cast<int>(strips->stages[stage].outer_dims.size())
                                : group.strips->partition_loop;
  const auto& axes = scheduled.nest.axes;
  const auto at =
      std::find_if(axes.begin(), axes.end(), [&](const NestAxis& a) { return a.shared == loop; });
  return at == axes.end() ? -1 : static_cast<int>(at - axes.begin());
}

}  // namespace

int64_t split_span(const FusionGroup& group, const StripAnalysis* strips, size_t stage,
                   const Access& access) {
  const int axis = split_axis(group, strips, stage);
  if (axis < 0) return 0;
  const int64_t step = std::abs(index::to_linear(access.address).coefficient(axis));
  return step * group.nests[stage].nest.axes[axis].extent;
}

std::map<int, int64_t> written_spans(const FusionGroup& group, const StripAnalysis* strips) {
  std::map<int, int64_t> spans;
  for (size_t s = 0; s < group.nests.size(); ++s) {
    for (const auto& store : group.nests[s].nest.stores) {
      spans[store.access.root] = split_span(group, strips, s, store.access);
    }
  }
  return spans;
}

void SpansSoFar::add(const FusionGroup& group, const StripAnalysis* strips) {
  for (const auto& [root, span] : written_spans(group, strips)) spans_[root] = span;
}

std::optional<int64_t> SpansSoFar::operator()(int root) const {
  const auto at = spans_.find(root);
  return at == spans_.end() ? std::nullopt : std::optional(at->second);
}

bool same_split(int64_t written_span, int64_t read_span) {
  constexpr int64_t kShareApart = 4;  // a stride does not divide the extent, padding is beside it
  const auto [less, more] = std::minmax(written_span, read_span);
  return less > 0 && more - less <= more / kShareApart;
}

}  // namespace corf::fusion
