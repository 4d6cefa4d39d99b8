#pragma once
#include <map>
#include <optional>
#include <utility>

#include "graph/graph.h"

namespace corf::rewrite {

/// Bytes as products of integers read them. Shares what it makes.
class ByteOperands {
 public:
  /// As u8: i8 ones 128 larger.
  graph::ValueId as_u8(graph::Graph& graph, graph::ValueId value);
  /// With more channels, along dimension `dim`, of any value; nullopt where that would be work of
  /// its own at every run.
  std::optional<graph::ValueId> with_channels(graph::Graph& graph, graph::ValueId value, int dim,
                                              int64_t channels);

 private:
  std::map<std::pair<graph::ValueId, int64_t>, graph::ValueId> made_;  // by channels; 0: as u8
};

/// x itself, or what views make of another value as one of its own, where steps of the axis, over
/// which `read` reads x, are no neighbours in that value (a shuffle of channels).
graph::ValueId side_by_side(graph::Graph& graph, graph::ValueId x, const index::IndexMap& read,
                            const index::IterationSpace& space, int axis);

/// x with its margins as elements of their own, of a zero point that only a run knows: the operand
/// is guarded no longer. For the axes of `space`.
graph::ValueId with_margins(graph::Graph& graph, graph::ValueId x, graph::Operand& read,
                            const index::IterationSpace& space, graph::ValueId zero_point);

/// Sums of bytes over a product's reduction axes, in i32, by the parallel axes that the bytes have.
struct ByteSums {
  std::vector<int> axes;
  graph::ValueId value = -1;
};
/// Of x as `read`; `channels`: one of the reduction axes, which is summed over first where it is
/// one of x's dimensions.
ByteSums sums_of_bytes(graph::Graph& graph, graph::ValueId x, const graph::Operand& read,
                       const index::IterationSpace& space, int channels, const std::string& name);

}  // namespace corf::rewrite
