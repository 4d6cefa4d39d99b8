#pragma once
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

/// The least row of the value that stages at rows [prev, ...) read; the greatest that stages at
/// rows [..., done) read. `at`: prev or done.
int64_t least_read(const Walk& walk, graph::ValueId value, const std::vector<StageRows>& rows,
                   int64_t StageRows::* at);
int64_t greatest_read(const Walk& walk, graph::ValueId value, const std::vector<StageRows>& rows);

/// Variables of the expressions below.
constexpr int kPartitionVariable = 0;  // 0 <= partition < StripSchedule::partitions
constexpr int kStripVariable = 1;      // 0 <= strip < num_strips

/// The same as expressions, for code.
struct RowExpressions {
  Expr num_strips;  // of a partition
  struct Stage {
    Expr begin, prev, done;
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
