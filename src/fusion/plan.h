#pragma once
#include <optional>
#include <string>
#include <vector>

#include "fusion/nest.h"
#include "fusion/storage.h"
#include "graph/graph.h"

namespace corf::fusion {

/// How a value gets from its producer to a consumer. Source: design section 1.
enum class LinkStrategy : uint8_t { kInline, kScatter, kStream, kRecompute, kMaterialise };
std::string_view to_string(LinkStrategy strategy);

struct Link {
  graph::ValueId value = -1;
  graph::NodeId producer = -1;
  graph::NodeId consumer = -1;
  LinkStrategy strategy = LinkStrategy::kMaterialise;
  std::string why;
};

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

  /// Points of a tile along a parallel axis.
  int64_t tile_extent(int axis) const;
  Prefetch prefetch = Prefetch::kNone;  // of the packed operand of a contraction
};

/// kInvalidArgument saying what is wrong if the schedule cannot be carried out on the nest.
Status check_schedule(const Nest& nest, const NestSchedule& schedule);

/// A canonical nest with the schedule that was chosen for it.
struct ScheduledNest {
  Nest nest;
  NestSchedule schedule;
};

enum class GroupKind : uint8_t { kCompute, kViewCopy, kOutputCopy, kRoutine };

/// One nest of a group: a complex operator with the element-wise operators inlined into it.
struct Stage {
  std::vector<graph::NodeId> nodes;    // in graph order
  std::vector<graph::ValueId> stored;  // values that other stages or groups read
};

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
  int stream_dim = 0;  // of the last stage's output
  int64_t strip = 1;   // its rows
  /// The loop that is split among workers: a position in `outer`, or outer.size() for the stream,
  /// whose seams are computed on both sides.
  int partition_loop = 0;
  int64_t partitions = 1;
};

/// Operators that run as one kernel (or one routine).
struct FusionGroup {
  GroupKind kind = GroupKind::kCompute;
  std::vector<Stage> stages;            // in order of execution; copies and routines have one
  int output = -1;                      // kOutputCopy: number of the graph's output
  std::vector<Link> links;              // inside of the group and at its entries
  std::optional<StripSchedule> strips;  // of a group with several stages
  /// One for each stage; of a copy, one for each kernel call.
  std::vector<ScheduledNest> nests;

  std::vector<graph::NodeId> nodes() const;
};

/// The decisions from which lowering makes the program: which operators run together, in which
/// order, and where each value lies.
struct FusionPlan {
  std::vector<FusionGroup> groups;  // in order of execution
  StoragePlan storage;
};

/// Every complex operator in a group of its own, with the element-wise operators around it inlined.
/// Nests and schedules are left to the search.
FusionPlan plan_unfused(const graph::Graph& graph);

}  // namespace corf::fusion
