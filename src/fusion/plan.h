#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fusion/nest.h"
#include "fusion/walk.h"
#include "graph/graph.h"

namespace corf::fusion {

/// What a kernel asks the memory for ahead of time: nothing; while the tiles of one panel of packed
/// vectors run, the next panel; or what the same loop reads a little later.
enum class Prefetch : uint8_t { kNone, kPanel, kAhead };
std::string_view to_string(Prefetch prefetch);  // "none", "panel", "ahead"

/// How a nest is tiled, ordered and split among workers. Axes are the canonical nest's.
struct NestSchedule {
  int vector_axis = -1;     // lanes run along it; -1: scalar
  int64_t vector_tile = 1;  // elements of a tile along the vector axis
  /// Steps of the innermost reduction loop that a vector takes at once, [lane][step]
  /// (fusion/lane_steps.h): where the vector axis alone leaves lanes empty.
  int64_t lane_steps = 1;
  /// Steps of the innermost reduction loop that one instruction adds up (fusion/byte_steps.h).
  int64_t byte_steps = 1;
  struct TiledAxis {
    int axis = 0;
    int64_t extent = 1;
  };
  std::vector<TiledAxis> register_tile;  // parallel axes unrolled in registers
  std::vector<int> unrolled_reductions;  // reduction axes that are wholly inside of the tile
  std::vector<int> reduction_order;      // the other reduction axes, outermost first
  std::vector<int> parallel_order;       // all parallel axes, outermost first
  int block_axis = -1;  // this axis' tiles are walked in blocks, inside of which the loops between
  int64_t block_tiles = 0;  // the blocks' loop and its own run again
  int partition_axis = -1;
  int64_t partitions = 1;
  int reduction_unroll = 1;  // of the innermost reduction loop
  /// A contraction on the matrix unit (fusion/matrix.h): the axes behind the vector axis in
  /// parallel_order are the rows of a block, of `block_axis` as many tiles as that says. The
  /// number: of channels that are split at a time; 0: not on the matrix unit.
  int64_t matrix = 0;
  /// Register-tiled axes that are longer or shorter in other graphs that are to have the same
  /// kernels: loops stand for both extents of their tiles, also where there are no tiles of one.
  /// Not part of a plan's text: results do not depend on it.
  std::vector<int> varying;

  /// Points of a tile along a parallel axis.
  int64_t tile_extent(int axis) const;
  Prefetch prefetch = Prefetch::kNone;  // of the packed operand of a contraction
};

/// An axis in as few tiles of at most `tile` points as there can be, which differ by a point at
/// most: the longer ones come first.
struct EvenTiles {
  int64_t longer = 1;  // points
  int64_t num_longer = 0, num_shorter = 0;
};
EvenTiles even_tiles(int64_t extent, int64_t tile);

/// kInvalidArgument saying what is wrong if the schedule cannot be carried out on the nest.
Status check_schedule(const Nest& nest, const NestSchedule& schedule);

/// A canonical nest with the schedule that was chosen for it.
struct ScheduledNest {
  SharedNest nest;
  NestSchedule schedule;
};

enum class GroupKind : uint8_t { kCompute, kViewCopy, kOutputCopy, kRoutine };

/// One nest of a group: a complex operator with the element-wise operators inlined into it.
struct Stage {
  std::vector<graph::NodeId> nodes;    // in graph order
  std::vector<graph::ValueId> stored;  // values that other stages or groups read
};

/// How a value gets from its producer to a consumer: computed where it is read; a few rows in a
/// ring of the worker's; such a ring whose rows at seams each worker makes for itself; a ring of
/// some channels, or of the rows that a strip makes, which are added to partial results of all that
/// they feed; or written to memory and read again. Source: design section 1.
struct Inline {};
struct Stream {
  int64_t rows = 0;
  bool stored = false;  // too, for other groups
};
struct Recompute {
  int64_t rows = 0;
  bool stored = false;
};
struct Scatter {
  int64_t rows = 0, channels = 0, chunks = 0;
};
struct ScatterRows {
  int64_t rows = 0, partial_rows = 0, taps = 0;
  bool stored = false;
};
struct Materialise {};
using LinkStrategy = std::variant<Inline, Stream, Recompute, Scatter, ScatterRows, Materialise>;
std::string_view to_string(const LinkStrategy& strategy);  // "inline", "stream", ...
/// The ring that the value goes through, in words; empty if it goes through none.
std::string describe_ring(const LinkStrategy& strategy);

struct Link {
  graph::ValueId value = -1;
  graph::NodeId producer = -1;
  graph::NodeId consumer = -1;
  LinkStrategy strategy = Materialise{};
};

/// Operators that run as one kernel (or one routine).
struct GroupPlan {
  GroupKind kind = GroupKind::kCompute;
  std::vector<Stage> stages;  // in order of execution; copies and routines have one
  int output = -1;            // kOutputCopy: number of the graph's output
  std::optional<Walk> walk;   // of a group with several stages
  /// One for each stage; of a copy, one for each kernel call.
  std::vector<ScheduledNest> nests;

  std::vector<graph::NodeId> nodes() const;
};

/// How the values that the group's nodes read come to them, constants and inputs aside, in the
/// order of the nodes; of a concatenation in a ring, each part. What the group's walk says, for
/// those who want to know: links decide nothing.
std::vector<Link> links_of(const graph::Graph& graph, const GroupPlan& group);

/// What a search knows of running what lies on both sides of a cut as one kernel: why that cannot
/// be, or the best such kernel, from the stage of one node to that of another, with its predicted
/// time and that of what the same operators take at best.
struct Cut {
  std::string refusal;
  graph::NodeId first = -1, last = -1;
  double time = 0, time_apart = 0;
};

/// How far a search went.
struct SearchEffort {
  int64_t num_runs = 0;    // of operators that were looked at as one kernel
  int64_t num_known = 0;   // of these, runs equal to one before
  int64_t num_priced = 0;  // schedules of the others whose time was predicted
  bool exact = true;       // nothing was left out that might have been better
};

/// The decisions from which lowering makes the program: which operators run together, in which
/// order, and where each value lies.
struct FusionPlan {
  std::vector<GroupPlan> groups;  // in order of execution
  StoragePlan storage;
  std::vector<Cut> cuts;  // of a searched plan: behind each group but the last
  SearchEffort search;
};

/// Every complex operator in a group of its own, with the element-wise operators around it inlined.
/// Nests and schedules are left to the search.
FusionPlan plan_unfused(const graph::Graph& graph);

}  // namespace corf::fusion
