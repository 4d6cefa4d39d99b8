#pragma once
#include <vector>

#include "graph/graph.h"

namespace corf::fusion {

/// Constants of up to so many elements can be part of a kernel's code.
constexpr int64_t kMaxTableElems = 64;

/// A value's dimensions from the outermost to the innermost in memory.
using DimOrder = std::vector<int>;

/// Sums over fewer elements than that gain nothing from having them side by side.
constexpr int64_t kManyChannels = 16;

/// The dimension of the operand that is a long reduction axis, or -1; of several, as heads and what
/// each of them has, the innermost.
int summed_dimension(const graph::Compute& compute, const graph::Operand& operand);

/// The dimension order of every value: a weighted sum's result has the axis innermost that its
/// kernel's vectors will run along; what has several operands, a concatenation or an element-wise
/// operator, takes the order that most elements are read in as they lie, by itself and by those
/// behind it; views keep their input's.
std::vector<DimOrder> choose_orders(const graph::Graph& graph);

/// The parallel axis that a contraction or windowed reduction is vectorised along, or -1 if nothing
/// but its operands' layout decides.
int natural_vector_axis(const graph::Graph& graph, const graph::Node& node);

DimOrder row_major_order(int rank);
/// Strides of a dense array in that order; `extents` may include margins.
std::vector<int64_t> dense_strides(const Shape& extents, const DimOrder& order);
DimOrder order_of_strides(const std::vector<int64_t>& strides);

/// Neighbouring points (pixels, rows) a multiple of 512 bytes apart share few sets of the first
/// cache level, which a register tile's points, or the rows of a depthwise window, then overflow:
/// one line more between them spreads them.
void spread_over_cache_sets(Shape& extents, const DimOrder& order, DType dtype);

}  // namespace corf::fusion
