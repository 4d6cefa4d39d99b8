#pragma once
#include <map>
#include <utility>
#include <vector>

#include "fusion/plan.h"

namespace corf::fusion {

/// Variables of the expressions below.
constexpr int kPartitionVariable = 0;  // 0 <= partition < StripSchedule::partitions
constexpr int kStripVariable = 1;      // 0 <= strip < StripAnalysis::num_strips

/// How one stage takes part in the strips. Rows are coordinates of its stream dimension.
struct StripStage {
  /// By outer loop, the loop of chunks being the last: dimension of its points (of the last stage,
  /// the scattered axis), and points of a block.
  std::vector<int> outer_dims;
  std::vector<int64_t> outer_blocks;
  int stream_dim = -1;
  int64_t rows = 0;  // extent of the stream dimension
  int64_t unit = 1;  // rows that its nest makes at once
  /// Strip t makes rows [prev, done); a partition's first strip begins at `begin`.
  Expr begin, prev, done;
  bool overlaps = false;      // some rows are made by two partitions
  int64_t granule = 0;        // divides all prev and done but the last row; 0: one strip has all
  int64_t rows_made = 0;      // by all partitions
  int64_t rows_in_strip = 0;  // the most that one strip makes
};

/// A value that only stages of the group read: the rows that a strip's consumers need.
struct StripRing {
  graph::ValueId value = -1;
  int stage = -1;         // the producer
  Expr first;             // of the rows that the ring holds during the strip
  Expr needed;            // rows before this are read in the strip; beyond the value's end: zeros
  int64_t rows = 0;       // of the ring
  int64_t kept_rows = 0;  // the most that the next strip reads too
};

struct StripAnalysis {
  std::vector<StripStage> stages;
  std::vector<StripRing> rings;
  Expr num_strips;         // of a partition
  int64_t num_chunks = 1;  // of the scattered axis
};

/// What the analyses of one graph's groups have in common. Only for one graph and one plan of its
/// storage, whose rings may come and go.
struct StripCache {
  StripCache(const graph::Graph& graph, const StoragePlan& storage);
  /// The stage's nest as build_nest makes it, before any ring is in place.
  const Nest& nest_of(const graph::Graph& graph, const StoragePlan& storage, const Stage& stage);

  /// By value: the nodes that read it; whether the graph returns it; values that share its root.
  std::vector<std::vector<graph::NodeId>> readers;
  std::vector<bool> is_output;
  std::vector<int> sharers;
  /// By a stage's first node.
  std::map<graph::NodeId, Nest> nests;
  /// Units of the nest's shared axes, where these dimensions are walked.
  std::map<std::pair<graph::NodeId, std::vector<int>>, std::vector<int64_t>> units;
};

/// Follows the strips of the last stage's output back through the group's index maps.
/// `storage` may already hold the group's rings or not.
/// Errors: kUnsupported with the stage and the reason if a stage does not walk in step: it is read
/// as a whole, its rows come in an order that does not grow, what another group reads would be
/// written twice, or a tile does not fit the strips.
Result<StripAnalysis> analyze_strips(const graph::Graph& graph, const StoragePlan& storage,
                                     const FusionGroup& group);

/// The same for a search, which asks for many: legality and numbers, without the expressions that
/// lowering needs of all stages but the last (begin, prev, done) and of rings (first, needed).
Result<StripAnalysis> measure_strips(const graph::Graph& graph, const StoragePlan& storage,
                                     const FusionGroup& group, StripCache& cache);

/// Says which axes of the stage's nest, as build_nest made it, the shared loops walk.
void mark_shared_axes(const StripStage& stage, Nest& nest);

/// Steps of a nest's axis that one strip of one block covers, at most.
int64_t extent_in_strip(const StripStage& stage, const NestAxis& axis);

/// Memory of all rings; `storage` holds them.
int64_t ring_bytes(const StripAnalysis& strips, const StoragePlan& storage);

/// Puts the group's rings in place of the storage of its intermediate values.
void place_rings(const graph::Graph& graph, const StripAnalysis& strips, StoragePlan& storage);

/// The same while the object lives; then the storage is as it was.
class RingsInPlace {
 public:
  RingsInPlace(const graph::Graph& graph, const StripAnalysis& strips, StoragePlan& storage);
  ~RingsInPlace();
  RingsInPlace(const RingsInPlace&) = delete;
  RingsInPlace& operator=(const RingsInPlace&) = delete;

 private:
  struct Before {
    graph::ValueId value;
    Storage place;
    Root root;
  };
  StoragePlan& storage_;
  std::vector<Before> before_;
};

/// Tiles of the stages' schedules begin and end where strips and blocks do.
/// Errors: kInvalidArgument.
Status check_strip_tiles(const FusionGroup& group, const StripAnalysis& strips);

}  // namespace corf::fusion
