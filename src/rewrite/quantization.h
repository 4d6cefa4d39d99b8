#pragma once
#include <optional>
#include <vector>

#include "graph/graph.h"

/// What passes recognise of quantised models, whichever operators wrote it.
namespace corf::rewrite {

/// A number for each point of an iteration space: values[index], index over the space's axes.
struct PointTable {
  std::vector<double> values;
  index::Expr index;

  bool is_single() const { return values.size() == 1; }
};

/// (bytes - zero_point) * scale, element for element: DequantizeLinear, or, without a scale, what a
/// product of integers reads.
struct Dequantization {
  int operand = 0;  // of the node: the bytes
  PointTable zero_point;
  graph::ValueId zero_point_value = -1;  // one number that only a run knows; zero_point is empty
  std::optional<PointTable> scale;       // nullopt: 1, in an integer type
};
/// nullopt where the node is none. Bytes are i8 or u8.
std::optional<Dequantization> match_dequantization(const graph::Graph& graph,
                                                   const graph::Node& node);

/// round(x / scale) + zero_point, saturated, of one operand, wherever it is read: QuantizeLinear
/// with one scale.
struct Quantization {
  double scale = 1;
  int64_t zero_point = 0;
  DType dtype = DType::kU8;
};
std::optional<Quantization> match_quantization(const graph::Node& node);

/// Whether the node dequantises a constant of bytes: of weights, whose products may be ones of
/// integers.
bool dequantizes_constant(const graph::Graph& graph, const graph::Node& node);

}  // namespace corf::rewrite
