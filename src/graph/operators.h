#pragma once
#include <functional>
#include <vector>

#include "graph/graph.h"

namespace corf::graph {

/// Named constructors of compute operators. Shapes are checked by the caller (the importer), which
/// can name the ONNX node; here they are asserted.

struct Window {
  std::vector<int64_t> kernel, strides, dilations, pads_begin, pads_end;  // per spatial dimension
};

/// Convolution without bias. x [N, C, spatial...], w [M, C/groups, kernel...] -> [N, M,
/// spatial...]. Axes: n, m (or g, m when grouped are one axis m), out spatial..., then c, kernel...
/// For depthwise (groups == C == M) the reduction has the kernel axes only.
ValueId conv(Graph& graph, std::string name, ValueId x, ValueId w, const Window& window,
             int64_t groups);

/// Transposed convolution without bias, as phases: parallel axes n, m, then for each spatial
/// dimension (quotient, remainder by stride); followed by a reshape and a slice to the output's
/// extents. w [C, M/groups, kernel...].
ValueId conv_transpose(Graph& graph, std::string name, ValueId x, ValueId w, const Window& window,
                       int64_t groups, const std::vector<int64_t>& output_extents);

/// [..., M, K] x [..., K, N] with ONNX's (numpy's) batch broadcasting and rank-1 promotion.
ValueId matmul(Graph& graph, std::string name, ValueId a, ValueId b, bool transpose_a = false,
               bool transpose_b = false);

/// combine over `axes` of body(x) (identity if empty); keep_dims keeps extents of 1.
ValueId reduce(Graph& graph, std::string name, ValueId x, Combiner combiner,
               const std::vector<int>& axes, bool keep_dims,
               const std::function<int(ScalarBody&, int)>& body = nullptr,
               bool select_last = false);

/// Max or sum over windows; x [N, C, spatial...]. Padding is the combiner's identity.
ValueId pool(Graph& graph, std::string name, ValueId x, Combiner combiner, const Window& window,
             const std::vector<int64_t>& output_extents);

/// Element-wise with numpy broadcasting of all inputs; `body` gets the operand nodes' ids and
/// returns the result's id.
ValueId elementwise(Graph& graph, std::string name, std::vector<ValueId> inputs,
                    const std::function<int(ScalarBody&, const std::vector<int>&)>& body,
                    std::string origin = "");

/// out[i.., j.., k..] = data[i.., indices[j..], k..]; negative indices count from the end.
ValueId gather(Graph& graph, std::string name, ValueId data, ValueId indices, int axis);

}  // namespace corf::graph
