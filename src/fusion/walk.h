#pragma once
#include <optional>
#include <utility>
#include <vector>

#include "fusion/storage.h"
#include "index/expr.h"
#include "mapping/rows.h"

namespace corf::fusion {

using index::Expr;

/// How the stages of a group share their outer loops. The last stage's dimensions are named; those
/// of the others follow from the index maps between them.
///
///   for block of the outer dimensions:
///     for chunk of the scattered reduction axis, if there is one:
///       for strip of the stream dimension:
///         each stage in turn: those of its rows that the strip needs and that are not yet there
///
/// Values between the stages live in rings of a few rows, in the worker's scratch memory. Without
/// a scattered axis these are rows of all channels ("rows outermost" of design section 1). With
/// one, only a chunk of the intermediate's channels is alive ("channel chunks outermost"): each
/// chunk is added to partial sums of the last stage, which finishes them in the last chunk.
///
/// A stage whose window moves over the rows of the stages before it can wait until all rows of a
/// window are there (they are *gathered*, the ring keeps them), or take each row as it comes and
/// add it to partial results of all rows that it feeds (they are *scattered*: the ring keeps
/// nothing, partial results of the rows that have begun wait instead).
struct StripSchedule {
  struct Outer {
    int dim = 0;        // of the last stage's output; every stage walks it in step
    int64_t block = 1;  // points
  };
  std::vector<Outer> outer;  // outermost first
  struct Scatter {
    int axis = 0;       // a reduction axis of the last stage's nest, as build_nest numbers it
    int64_t chunk = 1;  // its steps
  };
  std::optional<Scatter> scatter;
  struct RowScatter {
    int stage = 0;
    int axis = 0;  // its window's rows: a reduction axis of its nest, as build_nest numbers it
  };
  std::vector<RowScatter> row_scatters;  // at most one for a stage
  int stream_dim = 0;                    // of the last stage's output
  int64_t strip = 1;                     // its rows
  /// The loop that is split among workers: a position in `outer`, or outer.size() for the stream,
  /// whose seams are computed on both sides.
  int partition_loop = 0;
  int64_t partitions = 1;

  bool splits_stream() const { return partition_loop == static_cast<int>(outer.size()); }
};

/// How one stage takes part in the strips. Rows are coordinates of its stream dimension.
struct WalkStage {
  /// By outer loop, the loop of chunks being the last: dimension of its points (of the last stage,
  /// the scattered axis), and points of a block.
  std::vector<int> outer_dims;
  std::vector<int64_t> outer_blocks;
  int stream_dim = -1;
  bool is_sink = false;   // no later stage reads it: its rows keep step with the last stage's
  int64_t rows = 0;       // extent of the stream dimension
  int64_t unit = 1;       // rows that its nest makes at once
  bool overlaps = false;  // some rows are made by two partitions
  int64_t granule = 0;    // divides where strips begin and end, but the last row; 0: one strip
  int64_t rows_made = 0;  // by all partitions
  /// Rows that each partition makes, of those that have a strip. Some make none: of a concatenation
  /// that is streamed along its parts, a part belongs to those in whose rows it lies.
  std::vector<int64_t> partition_rows;
  int64_t rows_in_strip = 0;  // the most that one strip makes, or adds one tap to
  /// Reduction axis of its nest, as build_nest numbers it, along which its window moves over rows
  /// of the group: these can be scattered; -1 if there is none, or not one alone.
  int window_axis = -1;
  /// Of a stage that takes the rows of others as they come.
  struct Partial {
    int axis = 0;           // of its nest, as build_nest numbers it
    mapping::RowTaps taps;  // along it
    int64_t rows = 0;       // that have begun and are not finished, at most
  };
  std::optional<Partial> partial;
};

/// One read of a stage's result by a later stage, itself or through a view (a concatenation, a
/// slice).
struct WalkRead {
  int producer = -1, consumer = -1;
  graph::ValueId value = -1;  // the result
  /// Rows of the producer that the consumer's row, variable 0, reads.
  Expr least, greatest;
  bool scattered = false;  // it is added to the consumer's partial results as it comes
};

/// The rows of a buffer that a strip's consumers need: of a value between stages of the group, or
/// of a concatenation whose parts are such values.
struct WalkRing {
  graph::ValueId value = -1;             // the buffer's
  std::vector<int> stages;               // that make it or its parts, in order
  std::vector<graph::ValueId> produced;  // by these
  /// Others read the value too: each worker copies the rows that are its own to memory.
  bool stored = false;
  int memory_root = -1;   // in the place of which it stands, or beside
  int64_t rows = 0;       // of the ring
  int64_t kept_rows = 0;  // the most that the next strip reads too
  /// Where its rows lie, in the place of what the plan of the storage has for the value, and the
  /// same for the value's parts and slices.
  Storage place;
  std::vector<std::pair<graph::ValueId, Storage>> views;
  Root root;

  const Storage* place_of(graph::ValueId id) const;
};

/// The way of a group through its strips: all that cost, lowering, checks and explanations need to
/// know of how its stages run together. What a strip makes is derived (fusion/walk_rows.h).
struct Walk {
  StripSchedule schedule;
  std::vector<WalkStage> stages;
  std::vector<WalkRead> reads;
  std::vector<WalkRing> rings;
  int64_t num_chunks = 1;  // of the scattered axis
  /// Strips in front of the one in which the last stage's first rows are finished: meanwhile rows
  /// that are scattered begin them.
  int64_t lead_strips = 0;

  /// The ring that holds the value, nullptr if none does.
  const WalkRing* ring_of(graph::ValueId value) const;
  /// Number of the loop over strips among the loops that the stages share.
  int stream_loop() const { return static_cast<int>(stages.back().outer_dims.size()); }
};

/// The storage of all values as the kernel of a group sees it: the plan's, with the group's rings
/// in the place of the values between its stages. Only as long as both live.
class StorageView {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): every plan is a view without rings.
  StorageView(const StoragePlan& plan) : plan_(&plan) {}
  StorageView(const StoragePlan& plan, const std::optional<Walk>& walk)
      : plan_(&plan), walk_(walk ? &*walk : nullptr) {}
  StorageView(const StoragePlan& plan, const Walk& walk) : plan_(&plan), walk_(&walk) {}

  const Storage& place(graph::ValueId value) const;
  const Root& root(int number) const;
  bool is_constant(int root_number) const {
    return root(root_number).kind == Root::Kind::kConstant;
  }
  const StoragePlan& plan() const { return *plan_; }

 private:
  const StoragePlan* plan_;
  const Walk* walk_ = nullptr;
};

/// Memory of all rings.
int64_t ring_bytes(const Walk& walk);

}  // namespace corf::fusion
