#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "fusion/plan.h"

namespace corf::fusion {

/// How far the loop that is shared out among the workers reaches in a buffer, in elements: its
/// points times what a step moves. Two kernels that split a value along the same dimension reach
/// equally far, so that each worker finds in its own caches what it has written; 0 where nothing is
/// shared out, or the loop does not move through the buffer.
int64_t split_span(const GroupPlan& group, size_t stage, const Access& access);

/// Whether workers read what they have written themselves, halos and paddings aside.
bool same_split(int64_t written_span, int64_t read_span);

/// By buffer that the group writes.
std::map<int, int64_t> written_spans(const GroupPlan& group);

/// By buffer: the span with which it was written; nullopt where that is not known.
using WrittenSpans = std::function<std::optional<int64_t>(int root)>;

/// What the groups of a plan have written so far, each added when it has run.
class SpansSoFar {
 public:
  void add(const GroupPlan& group);
  std::optional<int64_t> operator()(int root) const;

 private:
  std::map<int, int64_t> spans_;
};

}  // namespace corf::fusion
