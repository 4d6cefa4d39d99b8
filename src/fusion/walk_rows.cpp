#include "fusion/walk_rows.h"

#include <algorithm>
#include <optional>

#include "support/checked.h"

namespace corf::fusion {
namespace {

using graph::ValueId;

/// A partition's first strip has no predecessor: as if every stage's had ended so many rows
/// earlier. That is taken off each stage's own rows: a map of rows to rows that goes no lower than
/// 0 (the edges of Resize) would lose it.
constexpr int64_t kLongBefore = int64_t{1} << 40;

constexpr ValueId kAnyValue = -1;

/// The least or greatest row of stage s, or of one of its values, that is read when its consumers
/// are at row(c).
template <typename Row>
int64_t extreme_row(const Walk& walk, int s, ValueId value, Row row, bool upper) {
  std::optional<int64_t> result;
  for (const WalkRead& read : walk.reads) {
    if (read.producer != s || (value != kAnyValue && read.value != value)) continue;
    const int64_t of_consumer[] = {row(read.consumer)};
    const int64_t at = index::evaluate(upper ? read.greatest : read.least, of_consumer);
    result = !result ? at : upper ? std::max(*result, at) : std::min(*result, at);
  }
  return *result;
}

/// The same as an expression.
template <typename Row>
Expr extreme(const Walk& walk, int s, ValueId value, Row row, bool upper) {
  std::optional<Expr> result;
  for (const WalkRead& read : walk.reads) {
    if (read.producer != s || (value != kAnyValue && read.value != value)) continue;
    const Expr at =
        index::substitute(upper ? read.greatest : read.least,
                          [&](int) -> std::optional<Expr> { return row(read.consumer); });
    result = !result ? at : upper ? max(*result, at) : min(*result, at);
  }
  return *result;
}

Expr rounded_up(const Expr& rows, int64_t unit) {
  return unit == 1 ? rows : ceil_div(rows, unit) * Expr(unit);
}
Expr rounded_down(const Expr& rows, int64_t unit) {
  return unit == 1 ? rows : floor_div(rows, Expr(unit)) * Expr(unit);
}

int64_t all_strips(const Walk& walk) {
  return corf::ceil_div(walk.stages.back().rows, walk.schedule.strip);
}

int64_t stream_parts(const Walk& walk) {
  return walk.schedule.splits_stream() ? walk.schedule.partitions : 1;
}

/// The first strip of a partition.
int64_t first_strip(const Walk& walk, int64_t partition) {
  return walk.schedule.splits_stream() ? partition * all_strips(walk) / stream_parts(walk) : 0;
}

int producer_of(const Walk& walk, ValueId value) {
  return std::find_if(walk.reads.begin(), walk.reads.end(),
                      [&](const WalkRead& read) { return read.value == value; })
      ->producer;
}

}  // namespace

int64_t num_strips(const Walk& walk, int64_t partition) {
  if (!walk.schedule.splits_stream()) return all_strips(walk);
  return first_strip(walk, partition + 1) - first_strip(walk, partition);
}

std::vector<StageRows> rows_at(const Walk& walk, int64_t partition, int64_t strip) {
  const int last = static_cast<int>(walk.stages.size()) - 1;
  std::vector<StageRows> rows(walk.stages.size());
  StageRows& end = rows[last];
  end.begin = first_strip(walk, partition) * walk.schedule.strip;
  end.prev = end.begin + strip * walk.schedule.strip;
  end.done = std::min(walk.stages[last].rows, end.prev + walk.schedule.strip);
  // Before a partition's begin is taken into account.
  std::vector<int64_t> raw_prev(rows.size()), raw_done(rows.size());
  raw_prev[last] = end.prev;
  raw_done[last] = end.done;
  for (int s = last - 1; s >= 0; --s) {
    const WalkStage& stage = walk.stages[s];
    const int64_t begin =
        extreme_row(walk, s, kAnyValue, [&](int c) { return rows[c].begin; }, /*upper=*/false);
    rows[s].begin =
        corf::floor_div(std::max<int64_t>(0, std::min(begin, stage.rows - 1)), stage.unit) *
        stage.unit;
    auto behind = [&](const std::vector<int64_t>& raw) {
      const int64_t row =
          extreme_row(walk, s, kAnyValue, [&](int c) { return raw[c] - 1; }, /*upper=*/true);
      return std::min(stage.rows, round_up(row + 1, stage.unit));
    };
    raw_done[s] = behind(raw_done);
    raw_prev[s] = behind(raw_prev);
    rows[s].prev = std::max(rows[s].begin, raw_prev[s] - (strip == 0 ? kLongBefore : 0));
    rows[s].done = std::max(rows[s].begin, raw_done[s]);
  }
  return rows;
}

int64_t least_read(const Walk& walk, ValueId value, const std::vector<StageRows>& rows,
                   int64_t StageRows::* at) {
  return extreme_row(
      walk, producer_of(walk, value), value, [&](int c) { return rows[c].*at; }, /*upper=*/false);
}

int64_t greatest_read(const Walk& walk, ValueId value, const std::vector<StageRows>& rows) {
  return extreme_row(
      walk, producer_of(walk, value), value, [&](int c) { return rows[c].done - 1; },
      /*upper=*/true);
}

RowExpressions row_expressions(const Walk& walk) {
  const int last = static_cast<int>(walk.stages.size()) - 1;
  const Expr part = Expr::variable(kPartitionVariable), strip = Expr::variable(kStripVariable);
  const Expr length(walk.schedule.strip), rows(walk.stages[last].rows);
  const bool split = walk.schedule.splits_stream();
  const Expr parts(stream_parts(walk)), strips(all_strips(walk));
  const Expr from = split ? floor_div(part * strips, parts) : Expr(0);
  const Expr to = split ? floor_div((part + Expr(1)) * strips, parts) : strips;
  RowExpressions result;
  result.num_strips = to - from;
  result.stages.resize(walk.stages.size());
  const Expr before_first = Expr(kLongBefore) * (Expr(1) - min(strip, Expr(1)));
  std::vector<Expr> raw_prev(walk.stages.size()), raw_done(walk.stages.size());
  RowExpressions::Stage& end = result.stages[last];
  end.begin = from * length;
  end.prev = end.begin + strip * length;
  end.done = min(rows, end.prev + length);
  raw_prev[last] = end.prev;
  raw_done[last] = end.done;
  for (int s = last - 1; s >= 0; --s) {
    const WalkStage& stage = walk.stages[s];
    RowExpressions::Stage& own = result.stages[s];
    const Expr begin =
        extreme(walk, s, kAnyValue, [&](int c) { return result.stages[c].begin; }, /*upper=*/false);
    auto behind = [&](const std::vector<Expr>& raw) {
      const Expr row =
          extreme(walk, s, kAnyValue, [&](int c) { return raw[c] - Expr(1); }, /*upper=*/true);
      return min(Expr(stage.rows), rounded_up(row + Expr(1), stage.unit));
    };
    own.begin = rounded_down(max(Expr(0), min(begin, Expr(stage.rows - 1))), stage.unit);
    raw_done[s] = behind(raw_done);
    raw_prev[s] = behind(raw_prev);
    own.prev = max(own.begin, raw_prev[s] - before_first);
    own.done = max(own.begin, raw_done[s]);
  }
  for (const WalkRing& ring : walk.rings) {
    auto prev = [&](int c) { return result.stages[c].prev; };
    auto done = [&](int c) { return result.stages[c].done - Expr(1); };
    result.rings.push_back({min(extreme(walk, ring.stage, ring.value, prev, /*upper=*/false),
                                result.stages[ring.stage].prev),
                            extreme(walk, ring.stage, ring.value, done, /*upper=*/true) + Expr(1)});
  }
  return result;
}

}  // namespace corf::fusion
