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

/// Whether one worker does all of the group's work. No barrier stands between two such groups.
bool runs_on_one_worker(const GroupPlan& group);

/// What a group finds when it begins.
struct Before {
  /// By buffer: the span with which it was written, 0 by one worker; nullopt where that is not
  /// known. Empty: nowhere.
  std::function<std::optional<int64_t>(int root)> span_of;
  bool on_one_worker = false;  // the group before ran so
  /// Each worker has written all that it reads: nothing that comes before a group makes it faster.
  bool own_results = false;
};

/// What the groups of a plan have done so far, each added when it has run.
class DoneSoFar {
 public:
  void add(const GroupPlan& group);
  /// For the next group; as long as the object lives.
  Before before_next() const;

 private:
  std::map<int, int64_t> spans_;
  bool on_one_worker_ = false;
};

}  // namespace corf::fusion
