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

/// Strips without those in front.
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

/// Rows of a stage in one strip.
template <typename Number>
struct Rows {
  Number begin = Number(0), prev = Number(0), done = Number(0);
  Number free_prev = Number(0), free_done = Number(0);
  Number raw_prev = Number(0), raw_done = Number(0);  // before `begin` is taken into account
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
/// to their producers. `stages`: receives the rows, by stage.
template <typename Number>
void find_rows(const Walk& walk, const Number& partition, const Number& strip,
               std::vector<Rows<Number>>& stages) {
  using std::max, std::min;
  const int last = static_cast<int>(walk.stages.size()) - 1;
  const Number length(walk.schedule.strip);
  stages.resize(walk.stages.size());
  Rows<Number>& end = stages[last];
  end.begin = first_strip(walk, partition) * length;
  end.raw_prev = end.begin + (strip - Number(walk.lead_strips)) * length;
  end.raw_done = min(Number(walk.stages[last].rows), Number(end.raw_prev + length));
  // Only strips in front lie before a partition's begin.
  const bool leads = walk.lead_strips > 0;
  end.prev = leads ? max(end.begin, end.raw_prev) : end.raw_prev;
  end.done = leads ? max(end.begin, end.raw_done) : end.raw_done;
  for (int s = last - 1; s >= 0; --s) {
    const WalkStage& stage = walk.stages[s];
    Rows<Number>& own = stages[s];
    if (stage.is_sink) {
      own.begin = in_step(walk, stage, end.begin);
      own.prev = own.raw_prev = in_step(walk, stage, end.prev);
      own.done = own.raw_done = in_step(walk, stage, end.done);
      continue;
    }
    auto takes = [&](const WalkRead& read) { return read.producer == s; };
    const Number begin =
        extreme<Number>(walk, takes, [&](int c) { return stages[c].begin; }, /*upper=*/false);
    auto behind = [&](Number Rows<Number>::* raw) {
      const Number row = extreme<Number>(
          walk, takes, [&](int c) { return stages[c].*raw - Number(1); }, /*upper=*/true);
      return Number(min(Number(stage.rows), rounded_up(Number(row + Number(1)), stage.unit)));
    };
    own.begin =
        rounded_down(Number(max(Number(0), min(begin, Number(stage.rows - 1)))), stage.unit);
    own.raw_done = behind(&Rows<Number>::raw_done);
    own.raw_prev = behind(&Rows<Number>::raw_prev);
    own.prev = max(own.begin, Number(own.raw_prev - before_first(strip)));
    own.done = max(own.begin, own.raw_done);
  }
  for (int s = 0; s <= last; ++s) {
    if (!walk.stages[s].partial) continue;
    stages[s].free_prev = stages[s].raw_prev - before_first(strip);
    stages[s].free_done = stages[s].raw_done;
  }
}

template <typename Number>
std::vector<Rows<Number>> rows_of(const Walk& walk, const Number& partition, const Number& strip) {
  std::vector<Rows<Number>> stages;
  find_rows(walk, partition, strip, stages);
  return stages;
}

/// The least row of the ring that is read where its consumers go on at rows prev(c), or scattered
/// ones at free_prev(c), or that its makers go on with.
template <typename Number, typename Stage, typename Prev, typename FreePrev>
Number first_held(const Walk& walk, const WalkRing& ring, const std::vector<Stage>& stages,
                  Prev prev, FreePrev free_prev) {
  using std::max, std::min;
  std::optional<Number> least;
  for (const WalkRead& read : walk.reads) {
    if (!is_of(ring, read)) continue;
    const Stage& consumer = stages[read.consumer];
    Number at = row_at(read.least, read.scattered ? consumer.begin : Number(prev(consumer)));
    if (read.scattered) {
      const Number behind = row_at(read.greatest, Number(free_prev(consumer) - Number(1)));
      at = max(at, Number(behind + Number(1)));
    }
    least = !least ? at : min(*least, at);
  }
  for (const int s : ring.stages) least = min(*least, Number(prev(stages[s])));
  return *least;
}

template <typename Number, typename Stage>
Number first_held(const Walk& walk, const WalkRing& ring, const std::vector<Stage>& stages) {
  return first_held<Number>(
      walk, ring, stages, [](const auto& stage) { return stage.prev; },
      [](const auto& stage) { return stage.free_prev; });
}

/// The greatest row of the ring that is read.
template <typename Number, typename Stage>
Number last_read(const Walk& walk, const WalkRing& ring, const std::vector<Stage>& stages) {
  auto takes = [&](const WalkRead& read) { return is_of(ring, read); };
  auto row = [&](int c) {
    const Stage& stage = stages[c];
    return Number((walk.stages[c].partial ? stage.free_done : stage.done) - Number(1));
  };
  return extreme<Number>(walk, takes, row, /*upper=*/true);
}

/// A partition of no rows has no strips in front either.
template <typename Number>
Number strips_of(const Walk& walk, const Number& partition) {
  using std::min;
  const Number lead(walk.lead_strips);
  if (!walk.schedule.splits_stream()) return Number(all_strips(walk)) + lead;
  const Number count =
      first_strip(walk, Number(partition + Number(1))) - first_strip(walk, partition);
  return walk.lead_strips > 0 ? Number(count + min(count, Number(1)) * lead) : count;
}

/// Where a stage's rows end in the partition's last strip.
template <typename Number>
std::vector<Number> partition_ends(const Walk& walk, const Number& partition) {
  const Number last = strips_of(walk, partition) - Number(1);
  std::vector<Number> ends;
  for (const auto& stage : rows_of(walk, partition, last)) ends.push_back(stage.done);
  return ends;
}

bool has_partial_results(const Walk& walk) {
  return std::any_of(walk.stages.begin(), walk.stages.end(),
                     [](const WalkStage& stage) { return stage.partial.has_value(); });
}

template <typename Number, typename Stage>
std::pair<Number, Number> tap_rows(const WalkStage& stage, const Stage& rows, const Number& end,
                                   const Number& tap) {
  using std::max, std::min;
  const Number lag = stage.partial->taps.lag(tap);
  return {max(rows.begin, Number(rows.free_prev + lag)), min(end, Number(rows.free_done + lag))};
}

}  // namespace

int64_t num_strips(const Walk& walk, int64_t partition) { return strips_of(walk, partition); }

std::pair<int64_t, int64_t> rows_of_tap(const WalkStage& stage, const StageRows& rows,
                                        int64_t tap) {
  return tap_rows<int64_t>(stage, rows, rows.end, tap);
}

std::pair<Expr, Expr> rows_of_tap(const WalkStage& stage, const RowExpressions::Stage& rows,
                                  const Expr& tap) {
  return tap_rows<Expr>(stage, rows, rows.partition_end, tap);
}

namespace {

void copy_rows(const std::vector<Rows<int64_t>>& rows, const std::vector<int64_t>& ends,
               std::vector<StageRows>& result) {
  result.resize(rows.size());
  for (size_t s = 0; s < rows.size(); ++s) {
    const auto& [begin, prev, done, free_prev, free_done, raw_prev, raw_done] = rows[s];
    result[s] = {begin, prev, done, free_prev, free_done, ends.empty() ? 0 : ends[s]};
  }
}

std::vector<int64_t> ends_of(const Walk& walk, int64_t partition) {
  return has_partial_results(walk) ? partition_ends(walk, partition) : std::vector<int64_t>{};
}

}  // namespace

std::vector<StageRows> rows_at(const Walk& walk, int64_t partition, int64_t strip) {
  std::vector<StageRows> result;
  copy_rows(rows_of(walk, partition, strip), ends_of(walk, partition), result);
  return result;
}

void for_each_strip(
    const Walk& walk,
    const std::function<void(const std::vector<StageRows>& rows, bool is_last)>& visit) {
  std::vector<Rows<int64_t>> rows;
  std::vector<StageRows> result;
  for (int64_t part = 0; part < stream_parts(walk); ++part) {
    const int64_t count = num_strips(walk, part);
    const std::vector<int64_t> ends = ends_of(walk, part);
    for (int64_t strip = 0; strip < count; ++strip) {
      find_rows(walk, part, strip, rows);
      copy_rows(rows, ends, result);
      visit(result, strip + 1 == count);
    }
  }
}

RingRows ring_rows(const Walk& walk, const WalkRing& ring, const std::vector<StageRows>& stages) {
  RingRows result;
  result.first = first_held<int64_t>(walk, ring, stages);
  result.next_first = first_held<int64_t>(
      walk, ring, stages, [](const auto& stage) { return stage.done; },
      [](const auto& stage) { return stage.free_done; });
  result.last = last_read<int64_t>(walk, ring, stages);
  for (const int s : ring.stages) {
    const bool waits = walk.lead_strips > 0 && stages[s].done == stages[s].begin;
    if (!waits) result.made = std::max(result.made.value_or(stages[s].done), stages[s].done);
  }
  return result;
}

RowExpressions row_expressions(const Walk& walk) {
  const Expr part = Expr::variable(kPartitionVariable), strip = Expr::variable(kStripVariable);
  const std::vector<Rows<Expr>> rows = rows_of(walk, part, strip);
  RowExpressions result;
  result.num_strips = strips_of(walk, part);
  // Behind the last partition there is no other.
  const Expr is_last = max(Expr(0), part + Expr(2 - stream_parts(walk)));
  const std::vector<Rows<Expr>> next = rows_of(walk, part + Expr(1), Expr(0));
  const std::vector<Expr> ends =
      has_partial_results(walk) ? partition_ends(walk, part) : std::vector<Expr>{};
  for (size_t s = 0; s < walk.stages.size(); ++s) {
    const auto& [begin, prev, done, free_prev, free_done, raw_prev, raw_done] = rows[s];
    const Expr all(walk.stages[s].rows);
    const bool split = stream_parts(walk) > 1;
    result.stages.push_back({begin, prev, done,
                             split ? min(all, next[s].begin + is_last * all) : all, free_prev,
                             free_done, ends.empty() ? all : ends[s]});
  }
  for (const WalkRing& ring : walk.rings) {
    result.rings.push_back(
        {first_held<Expr>(walk, ring, rows), last_read<Expr>(walk, ring, rows) + Expr(1)});
  }
  return result;
}

}  // namespace corf::fusion
