#pragma once
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "fusion/walk.h"

namespace corf::fusion {

/// Strip t makes rows [prev, done) of a stage; a partition's first strip begins at `begin`.
struct StageRows {
  int64_t begin = 0, prev = 0, done = 0;
  /// The same, of a stage with partial results, as if there were rows before its first and behind
  /// its last; and where the partition's last strip ends.
  int64_t free_prev = 0, free_done = 0, end = 0;
};

/// Rows of all stages in one strip of one partition, as numbers.
/// `stages` of the result are those of the walk; its rings need not be complete.
std::vector<StageRows> rows_at(const Walk& walk, int64_t partition, int64_t strip);

/// To which rows a strip adds a tap of a stage with partial results: [first, second).
std::pair<int64_t, int64_t> rows_of_tap(const WalkStage& stage, const StageRows& rows, int64_t tap);

/// Strips of a partition.
int64_t num_strips(const Walk& walk, int64_t partition);

/// Goes through the strips of all partitions; `is_last`: the partition has no other behind it.
void for_each_strip(
    const Walk& walk,
    const std::function<void(const std::vector<StageRows>& rows, bool is_last)>& visit);

/// Of the rows of a ring: the least that a strip reads or its makers begin with, in this strip and
/// in the next; the greatest that the strip reads; and behind the last that is made, if any is.
struct RingRows {
  int64_t first = 0, next_first = 0, last = 0;
  std::optional<int64_t> made;
};
RingRows ring_rows(const Walk& walk, const WalkRing& ring, const std::vector<StageRows>& rows);

/// Variables of the expressions below.
constexpr int kPartitionVariable = 0;  // 0 <= partition < StripSchedule::partitions
constexpr int kStripVariable = 1;      // 0 <= strip < num_strips

/// The same as expressions, for code.
struct RowExpressions {
  Expr num_strips;  // of a partition
  struct Stage {
    Expr begin, prev, done;
    Expr end;  // where the rows begin that only the partitions behind this one store
    Expr free_prev, free_done, partition_end;  // as StageRows has them
  };
  std::vector<Stage> stages;
  struct Ring {
    Expr first;   // of the rows that the ring holds during the strip
    Expr needed;  // rows before this are read in the strip; beyond the value's end: zeros
  };
  std::vector<Ring> rings;
};
RowExpressions row_expressions(const Walk& walk);
std::pair<Expr, Expr> rows_of_tap(const WalkStage& stage, const RowExpressions::Stage& rows,
                                  const Expr& tap);

}  // namespace corf::fusion
