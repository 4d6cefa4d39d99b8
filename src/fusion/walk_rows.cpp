#include "fusion/walk_rows.h"

#include <algorithm>
#include <optional>

#include "support/checked.h"

namespace corf::fusion {
namespace {

/// A partition's first strip has no predecessor: as if every stage's had ended so many rows
/// earlier. That is taken off each stage's own rows: a map of rows to rows that goes no lower than
/// 0 (the edges of Resize) would lose it.
constexpr int64_t kLongBefore = int64_t{1} << 40;

/// What the walk needs to know of numbers, and of expressions in their place.
int64_t row_at(const Expr& rows, int64_t row) {
  const int64_t of_consumer[] = {row};
  return index::evaluate(rows, of_consumer);
}
Expr row_at(const Expr& rows, const Expr& row) {
  return index::substitute(rows, [&](int) -> std::optional<Expr> { return row; });
}

int64_t divided(int64_t rows, int64_t by) { return corf::floor_div(rows, by); }
Expr divided(const Expr& rows, int64_t by) { return floor_div(rows, Expr(by)); }

int64_t rounded_up(int64_t rows, int64_t unit) { return round_up(rows, unit); }
Expr rounded_up(const Expr& rows, int64_t unit) {
  return unit == 1 ? rows : ceil_div(rows, unit) * Expr(unit);
}

int64_t rounded_down(int64_t rows, int64_t unit) { return corf::floor_div(rows, unit) * unit; }
Expr rounded_down(const Expr& rows, int64_t unit) {
  return unit == 1 ? rows : floor_div(rows, Expr(unit)) * Expr(unit);
}

int64_t before_first(int64_t strip) { return strip == 0 ? kLongBefore : 0; }
Expr before_first(const Expr& strip) { return Expr(kLongBefore) * (Expr(1) - min(strip, Expr(1))); }

bool is_of(const WalkRing& ring, const WalkRead& read) {
  return std::count(ring.produced.begin(), ring.produced.end(), read.value) > 0;
}

/// The least or greatest row that those reads take whose consumers are at row(c).
template <typename Number, typename Row, typename Takes>
Number extreme(const Walk& walk, Takes takes, Row row, bool upper) {
  using std::max, std::min;
  std::optional<Number> result;
  for (const WalkRead& read : walk.reads) {
    if (!takes(read)) continue;
    const Number at = row_at(upper ? read.greatest : read.least, Number(row(read.consumer)));
    result = !result ? at : upper ? max(*result, at) : min(*result, at);
  }
  return *result;
}

int64_t all_strips(const Walk& walk) {
  return corf::ceil_div(walk.stages.back().rows, walk.schedule.strip);
}

int64_t stream_parts(const Walk& walk) {
  return walk.schedule.splits_stream() ? walk.schedule.partitions : 1;
}

/// The first strip of a partition.
template <typename Number>
Number first_strip(const Walk& walk, const Number& partition) {
  if (!walk.schedule.splits_stream()) return Number(0);
  return divided(partition * Number(all_strips(walk)), stream_parts(walk));
}

/// Rows of all stages in one strip.
template <typename Number>
struct Rows {
  struct Stage {
    Number begin = Number(0), prev = Number(0), done = Number(0);
  };
  std::vector<Stage> stages;
};

/// Where a sink stands when the last stage has made so many rows.
template <typename Number>
Number in_step(const Walk& walk, const WalkStage& sink, const Number& done) {
  using std::min;
  const int64_t all = walk.stages.back().rows;
  const Number rows = sink.rows == all ? done : divided(done * Number(sink.rows), all);
  return min(Number(sink.rows), rounded_up(rows, sink.unit));
}

/// The strips of the last stage, and what the others have to make for them, from the consumers back
/// to their producers.
template <typename Number>
Rows<Number> rows_of(const Walk& walk, const Number& partition, const Number& strip) {
  using std::max, std::min;
  const int last = static_cast<int>(walk.stages.size()) - 1;
  const Number length(walk.schedule.strip);
  Rows<Number> rows;
  rows.stages.resize(walk.stages.size());
  auto& end = rows.stages[last];
  end.begin = first_strip(walk, partition) * length;
  end.prev = end.begin + strip * length;
  end.done = min(Number(walk.stages[last].rows), Number(end.prev + length));
  // Before a partition's begin is taken into account.
  std::vector<Number> raw_prev(rows.stages.size(), Number(0)), raw_done = raw_prev;
  raw_prev[last] = end.prev;
  raw_done[last] = end.done;
  for (int s = last - 1; s >= 0; --s) {
    const WalkStage& stage = walk.stages[s];
    auto& own = rows.stages[s];
    if (stage.is_sink) {
      own.begin = in_step(walk, stage, end.begin);
      own.prev = raw_prev[s] = in_step(walk, stage, end.prev);
      own.done = raw_done[s] = in_step(walk, stage, end.done);
      continue;
    }
    auto takes = [&](const WalkRead& read) { return read.producer == s; };
    const Number begin =
        extreme<Number>(walk, takes, [&](int c) { return rows.stages[c].begin; }, /*upper=*/false);
    auto behind = [&](const std::vector<Number>& raw) {
      const Number row =
          extreme<Number>(walk, takes, [&](int c) { return raw[c] - Number(1); }, /*upper=*/true);
      return Number(min(Number(stage.rows), rounded_up(Number(row + Number(1)), stage.unit)));
    };
    own.begin =
        rounded_down(Number(max(Number(0), min(begin, Number(stage.rows - 1)))), stage.unit);
    raw_done[s] = behind(raw_done);
    raw_prev[s] = behind(raw_prev);
    own.prev = max(own.begin, Number(raw_prev[s] - before_first(strip)));
    own.done = max(own.begin, raw_done[s]);
  }
  return rows;
}

/// The first row that a ring holds where its consumers begin at row(c) and its makers at made(s).
template <typename Number, typename Row>
Number first_held(const Walk& walk, const WalkRing& ring, Row row) {
  using std::min;
  Number least = extreme<Number>(
      walk, [&](const WalkRead& read) { return is_of(ring, read); }, row, /*upper=*/false);
  for (const int s : ring.stages) least = min(least, Number(row(s)));
  return least;
}

}  // namespace

int64_t num_strips(const Walk& walk, int64_t partition) {
  if (!walk.schedule.splits_stream()) return all_strips(walk);
  return first_strip(walk, partition + 1) - first_strip(walk, partition);
}

std::vector<StageRows> rows_at(const Walk& walk, int64_t partition, int64_t strip) {
  std::vector<StageRows> result;
  for (const auto& stage : rows_of(walk, partition, strip).stages) {
    result.push_back({stage.begin, stage.prev, stage.done});
  }
  return result;
}

void for_each_strip(
    const Walk& walk,
    const std::function<void(const std::vector<StageRows>& rows, bool is_last)>& visit) {
  for (int64_t part = 0; part < stream_parts(walk); ++part) {
    const int64_t count = num_strips(walk, part);
    for (int64_t strip = 0; strip < count; ++strip) {
      visit(rows_at(walk, part, strip), strip + 1 == count);
    }
  }
}

int64_t least_read(const Walk& walk, const WalkRing& ring, const std::vector<StageRows>& rows,
                   int64_t StageRows::* at) {
  return first_held<int64_t>(walk, ring, [&](int s) { return rows[s].*at; });
}

int64_t greatest_read(const Walk& walk, const WalkRing& ring, const std::vector<StageRows>& rows) {
  return extreme<int64_t>(
      walk, [&](const WalkRead& read) { return is_of(ring, read); },
      [&](int c) { return rows[c].done - 1; }, /*upper=*/true);
}

RowExpressions row_expressions(const Walk& walk) {
  const Expr part = Expr::variable(kPartitionVariable), strip = Expr::variable(kStripVariable);
  const Rows<Expr> rows = rows_of(walk, part, strip);
  RowExpressions result;
  result.num_strips = walk.schedule.splits_stream()
                          ? first_strip(walk, part + Expr(1)) - first_strip(walk, part)
                          : Expr(all_strips(walk));
  // Behind the last partition there is no other.
  const Expr is_last = max(Expr(0), part + Expr(2 - stream_parts(walk)));
  const Rows<Expr> next = rows_of(walk, part + Expr(1), Expr(0));
  for (size_t s = 0; s < walk.stages.size(); ++s) {
    const auto& [begin, prev, done] = rows.stages[s];
    const Expr all(walk.stages[s].rows);
    const bool split = stream_parts(walk) > 1;
    result.stages.push_back(
        {begin, prev, done, split ? min(all, next.stages[s].begin + is_last * all) : all});
  }
  for (const WalkRing& ring : walk.rings) {
    auto takes = [&](const WalkRead& read) { return is_of(ring, read); };
    auto last = [&](int c) { return rows.stages[c].done - Expr(1); };
    result.rings.push_back(
        {first_held<Expr>(walk, ring, [&](int s) { return rows.stages[s].prev; }),
         extreme<Expr>(walk, takes, last, /*upper=*/true) + Expr(1)});
  }
  return result;
}

}  // namespace corf::fusion
