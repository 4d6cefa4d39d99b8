#pragma once
#include <optional>
#include <vector>

#include "graph/graph.h"

/// Questions that several passes ask about a graph's nodes.
namespace corf::rewrite {

/// The tensor that a constant value holds; null for any other value.
const Tensor* constant_tensor(const graph::Graph& graph, graph::ValueId value);
/// The compute description of a value's producer; null if it has none.
const graph::Compute* producing_compute(const graph::Graph& graph, graph::ValueId value);
/// The view of a value's producer; null if it has none.
const graph::View* producing_view(const graph::Graph& graph, graph::ValueId value);

/// The inclusive range of each axis, as the index expressions' variables take them.
std::vector<index::Interval> axis_ranges(const index::IterationSpace& space);

/// Whether each output element depends on its own point only: no reduction axes, and the body does
/// not fetch an operand at coordinates that another operand holds.
bool is_elementwise(const graph::Compute& compute);
/// Whether the map's expressions read axes only, not the integers that operands hold.
bool reads_axes_only(const graph::Operand& operand, const index::IterationSpace& space);
/// Whether all operands are read inside of their bounds, at coordinates that are axes alone.
bool reads_plainly(const graph::Compute& compute);
/// Whether the operand is read at the output's own coordinates: element for element.
bool reads_own_point(const graph::Operand& operand, const Shape& operand_shape,
                     const index::IterationSpace& space);
/// The number of the operand whose value a body returns unchanged; nullopt if it computes.
std::optional<int> returned_operand(const graph::ScalarBody& body);

/// The operands that the body reads, in the order in which it first does; the body's operand
/// numbers become positions in it.
std::vector<int> number_operands_by_use(graph::ScalarBody& body);

}  // namespace corf::rewrite
