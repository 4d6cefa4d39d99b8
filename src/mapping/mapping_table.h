#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace corf::mapping {

/// How the elements of an intermediate tensor and those of its consumer's output belong together:
/// X-to-Y, X being the intermediate elements that one output element reads and Y the output
/// elements that one intermediate element feeds. Reorganising is one-to-one in another order.
enum class MappingKind : uint8_t {
  kOneToOne,
  kOneToMany,
  kManyToOne,
  kManyToMany,
  kReorganising,
};
std::string_view to_string(MappingKind kind);

/// Coordinates begin, ..., end - 1.
struct Range {
  int64_t begin = 0, end = 0;
  bool operator==(const Range&) const = default;
};

/// How the consumer walks one dimension of the intermediate, which is the producer's parallel axis
/// of that number: it reads coordinate
///   stride * floor((p + phase) / divisor) + dilation * r + offset,
/// p along its parallel axis consumer_axis, r in [0, window) along its reduction axis window_axis.
struct DimMapping {
  int64_t extent = 1;      // of the intermediate
  bool regular = true;     // false: another form; only consumer_axes and window_axes hold
  int consumer_axis = -1;  // axis of the consumer; -1: none moves along this dimension
  int window_axis = -1;    // axis of the consumer; -1: no reduction runs along this dimension
  int64_t stride = 0;
  int64_t divisor = 1;
  int64_t phase = 0;
  int64_t dilation = 0;
  int64_t offset = 0;
  int64_t window = 1;      // taps
  int64_t span = 1;        // intermediate coordinates from the first tap to the last
  int64_t halo = 0;        // of them read by the next consumer coordinate too
  int64_t pad_before = 0;  // coordinates read outside of the intermediate
  int64_t pad_after = 0;
  std::vector<int> consumer_axes;  // all parallel axes of the consumer that the coordinate needs
  std::vector<int> window_axes;    // all its reduction axes
};

/// One producer and one consumer, both compute nodes, with nothing but views between them.
struct PairMapping {
  graph::NodeId producer = -1;
  graph::NodeId consumer = -1;
  int operand = 0;                   // of the consumer
  graph::ValueId intermediate = -1;  // the producer's output
  std::vector<graph::NodeId> views;  // from the producer to the consumer
  std::string producer_name, consumer_name;
  index::IterationSpace producer_space, consumer_space;
  /// Coordinates of the intermediate over the consumer's axes (and the integers that its operands
  /// hold, as in graph::Operand).
  index::IndexMap map;
  /// Coordinates outside of the intermediate are padding, or another part of a concatenation.
  bool guarded = false;

  // What follows is derived from the above.

  MappingKind forward = MappingKind::kOneToOne;   // from the intermediate to the output
  MappingKind backward = MappingKind::kOneToOne;  // from the output to the intermediate
  int64_t reads_per_output = 1;                   // intermediate elements, at most
  int64_t outputs_per_element = 1;                // output elements that one feeds, at most
  std::vector<DimMapping> dims;                   // one for each dimension of the intermediate
  /// In the way: the consumer's parallel axes along which every element feeds all outputs, its
  /// reduction axes that run along the intermediate, and the producer's reduction axes, which must
  /// end before an element is there.
  std::vector<int> spread_axes, contracted_axes, producer_reduction_axes;
};

/// All pairs of a graph, ordered by consumer, operand, producer.
struct MappingTable {
  std::vector<PairMapping> pairs;
};

/// The coordinates of the intermediate, from the first to the last, that the consumer's coordinates
/// `outputs` read along a regular dimension, without those in the padding; of an irregular one,
/// all.
Range footprint(const DimMapping& dim, Range outputs);

/// Consumer coordinates 0, 1, ... along a regular dimension whose last contribution has arrived
/// once the intermediate's coordinates [0, produced) have been scattered; of an irregular one, none
/// before the end. `output_extent` is the extent of the consumer's axis.
int64_t retired_outputs(const DimMapping& dim, int64_t produced, int64_t output_extent);

/// The table as text, and back. Lines that begin with // say what follows from the others and are
/// skipped by parse, which derives it anew. Errors: kInvalidArgument with the line.
std::string to_string(const MappingTable& table);
Result<MappingTable> parse(std::string_view text);

}  // namespace corf::mapping
