#pragma once
#include <functional>
#include <string>
#include <vector>

#include "onnx/node_import.h"

namespace corf::onnx {

/// Pieces that the operators' decompositions are made of. Names are those of the new nodes.

/// Gets the body and the ids of the inputs in it, returns the id of the result.
using Body = std::function<int(ScalarBody&, const std::vector<int>&)>;

/// Element-wise with broadcasting. Known inputs of one element become constants of the body.
/// Errors: kInvalidModel if the shapes do not broadcast.
Result<ValueId> map_elements(NodeImport& node, std::string name, std::vector<ValueId> inputs,
                             const Body& body);
/// The same on shapes that are known to broadcast.
ValueId per_element(graph::Graph& graph, std::string name, std::vector<ValueId> inputs,
                    const Body& body);
ValueId unary(graph::Graph& graph, std::string name, ScalarOp op, ValueId x);
ValueId binary(graph::Graph& graph, std::string name, ScalarOp op, ValueId a, ValueId b);
ValueId multiply(graph::Graph& graph, std::string name, ValueId x, double factor);
/// x itself if it has the type already. To bool: whether it differs from zero.
ValueId cast(graph::Graph& graph, std::string name, ValueId x, DType dtype);
/// The same elements, computed into a value of their own.
ValueId copy(graph::Graph& graph, std::string name, ValueId x);

/// Views; x itself where nothing changes. Constants keep their bytes when reshaped.
ValueId reshape(graph::Graph& graph, std::string name, ValueId x, Shape shape);
ValueId transpose(graph::Graph& graph, std::string name, ValueId x, std::vector<int> permutation);
/// The permutation of `rank` dimensions that moves the one at `from` to `to`.
std::vector<int> moved(int rank, int from, int to);
/// What `operate` makes of an image whose channels come last: it gets that with its channels
/// first, and its result is turned back. Errors: kInvalidModel for fewer than 3 dimensions.
Result<ValueId> with_channels_first(NodeImport& node, ValueId image,
                                    const std::function<Result<ValueId>(ValueId)>& operate);
/// [begin, end) along one axis.
ValueId slice(graph::Graph& graph, std::string name, ValueId x, int axis, int64_t begin,
              int64_t end);
ValueId broadcast(graph::Graph& graph, std::string name, ValueId x, Shape shape);
ValueId concat(graph::Graph& graph, std::string name, const std::vector<ValueId>& inputs, int axis);

/// Along `axis`, the sum of each element and of all before it.
ValueId running_sum(NodeImport& node, const std::string& name, ValueId x, int axis);
/// sum / count over `axes`, kept as extents of 1.
ValueId mean(graph::Graph& graph, std::string name, ValueId x, const std::vector<int>& axes);
/// exp(x - max) / sum(exp(x - max)) over `axes`, in steps; its logarithm if `logarithm`.
ValueId softmax(graph::Graph& graph, const std::string& name, ValueId x,
                const std::vector<int>& axes, bool logarithm = false);

/// A constant of an element type, integer or float; what an integer type cannot hold saturates.
int number(ScalarBody& body, double value, DType dtype);
/// A constant tensor of the given element type.
Tensor filled(DType dtype, const Shape& shape, const std::function<double(int64_t)>& element);

/// nullopt if the shapes do not broadcast.
std::optional<Shape> broadcast_shape(const Shape& a, const Shape& b);
std::string join_shapes(const NodeImport& node, const std::vector<ValueId>& values);

/// An axis in [-rank, rank) made non-negative. Errors: kInvalidModel if outside.
Result<int> normal_axis(const NodeImport& node, int64_t axis, int rank);
/// Sorted, non-negative. Errors: kInvalidModel if outside or repeated.
Result<std::vector<int>> normal_axes(const NodeImport& node, const std::vector<int64_t>& axes,
                                     int rank);
/// Errors: kInvalidModel if the values' element types differ.
Status require_same_type(const NodeImport& node, const std::vector<ValueId>& values);
/// Errors: kInvalidModel if the value is no float.
Status require_float(const NodeImport& node, ValueId value);

}  // namespace corf::onnx
