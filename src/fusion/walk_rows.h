#pragma once
#include <functional>
#include <vector>

#include "fusion/walk.h"

namespace corf::fusion {

/// Strip t makes rows [prev, done) of a stage; a partition's first strip begins at `begin`.
struct StageRows {
  int64_t begin = 0, prev = 0, done = 0;
};

/// Rows of all stages in one strip of one partition, as numbers.
/// `stages` of the result are those of the walk; its rings need not be complete.
std::vector<StageRows> rows_at(const Walk& walk, int64_t partition, int64_t strip);

/// Strips of a partition.
int64_t num_strips(const Walk& walk, int64_t partition);

/// Goes through the strips of all partitions; `is_last`: the partition has no other behind it.
void for_each_strip(
    const Walk& walk,
    const std::function<void(const std::vector<StageRows>& rows, bool is_last)>& visit);

/// The least row of the ring that stages at rows [prev, ...) read or that its makers' strips begin
/// with, `at`: prev or done; the greatest that stages at rows [..., done) read.
int64_t least_read(const Walk& walk, const WalkRing& ring, const std::vector<StageRows>& rows,
                   int64_t StageRows::* at);
int64_t greatest_read(const Walk& walk, const WalkRing& ring, const std::vector<StageRows>& rows);

/// Variables of the expressions below.
constexpr int kPartitionVariable = 0;  // 0 <= partition < StripSchedule::partitions
constexpr int kStripVariable = 1;      // 0 <= strip < num_strips

/// The same as expressions, for code.
struct RowExpressions {
  Expr num_strips;  // of a partition
  struct Stage {
    Expr begin, prev, done;
    Expr end;  // where the rows begin that only the partitions behind this one store
  };
  std::vector<Stage> stages;
  struct Ring {
    Expr first;   // of the rows that the ring holds during the strip
    Expr needed;  // rows before this are read in the strip; beyond the value's end: zeros
  };
  std::vector<Ring> rings;
};
RowExpressions row_expressions(const Walk& walk);

}  // namespace corf::fusion
