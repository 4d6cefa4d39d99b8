#pragma once
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "graph/scalar.h"
#include "index/iteration_space.h"
#include "support/result.h"
#include "tensor/tensor.h"

namespace corf::graph {

using ValueId = int32_t;
using NodeId = int32_t;

/// How a compute operator reads one of its operands.
struct Operand {
  /// One expression for each dimension of the operand. Variable i is axis i; variable
  /// num_axes + j is the integer that operand j holds at its own map's coordinates (gather).
  index::IndexMap map;
  /// If set, coordinates outside of the operand read as `padding`; if not, none may lie outside.
  bool guarded = false;
  double padding = 0;
};

/// How the body's values along the reduction axes become one output element.
enum class Combiner : uint8_t {
  kNone,  // no reduction axes
  kSum,
  kProduct,
  kMin,
  kMax,
  kArgMin,  // output is the reduction axis' coordinate (i64) of the first smallest value
  kArgMax,
};
std::string_view to_string(Combiner combiner);

/// An operator described once: output[parallel axes] = combine over the reduction axes of
/// body(operands at their maps). The output's dimensions are the parallel axes in order.
struct Compute {
  index::IterationSpace space;
  std::vector<Operand> operands;  // one for each input of the node
  ScalarBody body;
  Combiner combiner = Combiner::kNone;
  /// kArgMin and kArgMax: the last of equal values wins, instead of the first.
  bool select_last = false;
};

/// Views: index maps without arithmetic. See index_map().
struct Reshape {};  // same elements in row-major order
struct Transpose {
  std::vector<int> permutation;
};  // output dim i is input dim permutation[i]
struct Slice {
  std::vector<int64_t> starts, steps;
};  // one of each per dimension; steps may be < 0
struct Concat {
  int axis = 0;
};  // of all inputs
struct Pad {
  std::vector<int64_t> before;
  double value = 0;
};  // output shape gives the rest
struct Broadcast {};  // trailing dimensions aligned; extents of 1 repeat
using View = std::variant<Reshape, Transpose, Slice, Concat, Pad, Broadcast>;

using Attribute =
    std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

/// A runtime routine for what has no compute description (TopK, sort, recurrences).
struct Opaque {
  std::string routine;
  std::map<std::string, Attribute> attributes;
};

struct Constant {
  Tensor tensor;
};
struct Input {};

using Op = std::variant<Compute, View, Opaque, Constant, Input>;

struct Node {
  std::string name;  // the ONNX node's name where it comes from one
  Op op;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  /// The ONNX operator that it comes from, for messages and tables: "Conv".
  std::string origin;
  /// Floating-point operations of what the node stands for, where that is not what it does: the
  /// direct convolution's at one of the operators of a method that saves some, 0 at the others.
  std::optional<int64_t> work_flops;
};

struct Value {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  NodeId producer = -1;
};

/// A network in topological order: a node's inputs are outputs of earlier nodes. Shapes are
/// concrete; symbolic dimensions are bound when the model is imported.
struct Graph {
  std::vector<Node> nodes;
  std::vector<Value> values;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::vector<std::string> output_names;  // of outputs, as the model names them

  const Node& producer(ValueId value) const { return nodes[values[value].producer]; }

  ValueId add_input(std::string name, DType dtype, Shape shape);
  ValueId add_constant(std::string name, Tensor tensor);
  /// The output's shape is the extents of the parallel axes; its type the body's result (i64 for
  /// arg-min and arg-max).
  ValueId add_compute(std::string name, Compute compute, std::vector<ValueId> inputs,
                      std::string origin = "");
  ValueId add_view(std::string name, View view, std::vector<ValueId> inputs, Shape shape,
                   std::string origin = "");
  std::vector<ValueId> add_opaque(std::string name, Opaque opaque, std::vector<ValueId> inputs,
                                  std::vector<std::pair<DType, Shape>> outputs,
                                  std::string origin = "");
};

/// Coordinates in the input that output coordinate variables 0..rank-1 read. Not for Concat.
index::IndexMap index_map(const View& view, const Shape& input, const Shape& output);

/// Nodes that read each value, in order.
std::vector<std::vector<NodeId>> consumers(const Graph& graph);

}  // namespace corf::graph
