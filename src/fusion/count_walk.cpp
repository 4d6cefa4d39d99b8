#include "fusion/count_walk.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "fusion/place_walk.h"
#include "fusion/rings.h"
#include "fusion/walk_rows.h"
#include "support/checked.h"

namespace corf::fusion {
namespace {

class WalkCounter {
 public:
  WalkCounter(const GroupReads& group, Walk placed) : group_(group), result_(std::move(placed)) {}

  Result<Walk> run(int64_t strip) {
    if (strip < 1 || strip > kMostStripPoints) {
      return fault(num_stages() - 1, "a strip takes a positive number of rows");
    }
    result_.schedule.strip = strip;
    find_lead();
    CORF_RETURN_IF_ERROR(count());
    CORF_RETURN_IF_ERROR(settle_rings(group_, result_));
    return std::move(result_);
  }

 private:
  int num_stages() const { return group_.num_stages(); }
  const Shape& points(int s) const { return group_.points(s); }
  Error fault(int s, std::string_view what) const { return group_.fault(s, what); }

  /// As many strips as the last stage's rows wait for those that they read. Any number is right;
  /// with this one rings need not hold more in a partition's first strip than in others.
  void find_lead() {
    int64_t rows = 0;
    const int64_t all = result_.stages.back().rows;
    for (const WalkStage& stage : result_.stages) {
      if (!stage.partial) continue;
      rows += corf::ceil_div(stage.partial->taps.lag(int64_t{0}) * all, stage.rows);
    }
    result_.lead_strips = corf::ceil_div(rows, result_.schedule.strip);
  }

  /// Whether the loops over blocks reach all points of the stage.
  bool covers_outer_dims(const WalkStage& stage, const Shape& points) const {
    const std::vector<NestAxis>& axes = group_.nests.back()->axes;
    const WalkStage& last = result_.stages.back();
    for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
      const int64_t blocks = corf::ceil_div(axes[last.outer_dims[i]].extent, last.outer_blocks[i]);
      if (blocks * stage.outer_blocks[i] < points[stage.outer_dims[i]]) return false;
    }
    return true;
  }

  /// Goes through all strips: rows made twice, granules of strips, rows of rings, and whether all
  /// rows are there that other groups read.
  Status count() {
    std::vector<int64_t> covered(num_stages(), 0);
    std::vector<bool> skips(num_stages(), false);
    bool is_first = true;  // of a partition
    for_each_strip(result_, [&](const std::vector<StageRows>& rows, bool is_last) {
      for (int s = 0; s < num_stages(); ++s) {
        if (rows[s].prev > covered[s]) skips[s] = true;
        std::vector<int64_t>& made = result_.stages[s].partition_rows;
        if (is_first) made.push_back(0);
        made.back() += rows[s].done - rows[s].prev;
        count_stage(rows[s], covered[s], result_.stages[s]);
      }
      for (WalkRing& ring : result_.rings) count_ring(result_, rows, is_last, ring);
      is_first = is_last;
    });
    for (int s = 0; s < num_stages(); ++s) {
      if (group_.leaves[s] && skips[s]) return fault(s, "rows that other groups read are skipped");
      const bool whole = covered[s] == result_.stages[s].rows &&
                         (s + 1 == num_stages() || covers_outer_dims(result_.stages[s], points(s)));
      if (group_.leaves[s] && !whole) return fault(s, "rows that other groups read are not made");
    }
    return {};
  }

  /// `covered`: rows of the stage that strips before this one have made.
  static void count_stage(const StageRows& rows, int64_t& covered, WalkStage& stage) {
    stage.rows_made += rows.done - rows.prev;
    stage.rows_in_strip = std::max(stage.rows_in_strip, rows.done - rows.prev);
    auto cut = [&](int64_t row) {
      if (row != stage.rows) stage.granule = std::gcd(stage.granule, row);
    };
    cut(rows.prev);
    cut(rows.done);
    if (rows.prev < covered) stage.overlaps = true;
    covered = std::max(covered, rows.done);
    if (!stage.partial) return;
    for (int64_t tap = 0; tap < stage.partial->taps.count; ++tap) {
      const auto [begin, end] = rows_of_tap(stage, rows, tap);
      if (begin >= end) continue;
      cut(begin);
      cut(end);
      stage.rows_in_strip = std::max(stage.rows_in_strip, end - begin);
      stage.partial->rows = std::max(stage.partial->rows, end - rows.prev);
    }
  }

  const GroupReads& group_;
  Walk result_;
};

}  // namespace

Result<Walk> count_walk(const GroupReads& group, Walk placed, int64_t strip) {
  return WalkCounter(group, std::move(placed)).run(strip);
}

}  // namespace corf::fusion
