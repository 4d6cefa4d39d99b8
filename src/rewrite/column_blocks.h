#pragma once
#include <map>
#include <optional>
#include <utility>

#include "rewrite/rebuild.h"

namespace corf::rewrite {

/// The dimension of the map that is the axis itself, if no other one depends on it; else -1.
int dimension_of(const index::IndexMap& map, int axis);

/// Makes values anew by blocks of one of their dimensions, the columns: [.., columns, ..] becomes
/// [blocks, .., columns of a block, ..], and so does what makes it, back to where columns begin.
class ColumnBlocks {
 public:
  /// Out of nodes of the rebuilt graph. `block` divides `columns`.
  ColumnBlocks(Rebuild& rebuild, int64_t columns, int64_t block)
      : rebuild_(rebuild), graph_(rebuild.graph()), num_blocks_(columns / block), block_(block) {}

  /// Stands for a value of the rebuilt graph, by blocks; its columns are dimension `column`.
  graph::ValueId value(graph::ValueId value, int column);

  /// The node's result with an axis of blocks in front, where `axis` runs over columns: a parallel
  /// one, which is a block's then, or the reduction's, which then runs over a block. The node reads
  /// the rebuilt graph and need not be part of it.
  graph::ValueId cut(const graph::Node& node, int axis);

  /// `in_blocks` is read where `value` was. `column`: -1 where the value has no columns, but a
  /// dimension of blocks in front.
  void stands_for(graph::ValueId value, int column, graph::ValueId in_blocks) {
    in_blocks_[value] = {column, in_blocks};
  }

  index::Axis block_axis(index::AxisKind kind) const { return {"block", num_blocks_, kind}; }

 private:
  std::optional<graph::ValueId> known_as(graph::ValueId value, int column) const;
  bool is_made_for_this(graph::ValueId input) const;
  index::Expr moved(const index::Expr& expr, int axis) const;
  void cut_operand(graph::Operand& operand, graph::ValueId& input, int axis, bool elementwise);
  graph::ValueId cut_dimension(graph::ValueId value, int column);
  graph::ValueId in_front(graph::ValueId value, int column);

  Rebuild& rebuild_;
  graph::Graph& graph_;
  int64_t num_blocks_, block_;
  std::map<graph::ValueId, std::pair<int, graph::ValueId>>
      in_blocks_;  // with the columns' dimension
};

}  // namespace corf::rewrite
