#pragma once
#include <optional>
#include <span>

#include "index/expr.h"

namespace corf::mapping {

using index::Expr;

/// How the rows of an intermediate and those of its consumer follow each other, derived from one
/// coordinate of the intermediate over the consumer's axes. `extents` are those of the axes; rows
/// are points of the consumer's axis `stream`.

/// What is pulled: the least and the greatest row that the consumer's row reads, nondecreasing in
/// it. nullopt if rows are not read in growing order, or a run-time value decides.
std::optional<Expr> least_row(const Expr& coordinate, std::span<const int64_t> extents, int stream,
                              const Expr& row);
std::optional<Expr> greatest_row(const Expr& coordinate, std::span<const int64_t> extents,
                                 int stream, const Expr& row);

/// What is pushed: which of the consumer's rows a row of the intermediate feeds, where the
/// coordinate is rate * row + step * tap + constant. Taps are numbered in the order in which the
/// intermediate's rows, growing, come to one row of the consumer: backwards, if step is negative.
///
/// Once all is there that rows before x read, as their last tap or an earlier one, tap j can have
/// been added to the rows before x + lag(j).
struct RowTaps {
  int64_t rate = 1;  // rows of the intermediate from one row of the consumer to the next
  int64_t step = 1;  // from one tap to the next
  int64_t count = 1;
  bool backwards = false;

  int64_t lag(int64_t tap) const;
  Expr lag(const Expr& tap) const;
  /// Where the tap lies along the window's axis.
  Expr position(const Expr& tap) const;

  bool operator==(const RowTaps&) const = default;
};

/// The taps along axis `window`; nullopt if the coordinate has another form.
std::optional<RowTaps> row_taps(const Expr& coordinate, std::span<const int64_t> extents,
                                int stream, int window);

}  // namespace corf::mapping
