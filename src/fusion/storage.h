#pragma once
#include <vector>

#include "graph/graph.h"

namespace corf::fusion {

/// Where a value's elements lie: element (i0, i1, ...) is at offset + sum(strides[d] * id) of the
/// buffer that `root` owns. Margins are elements around the value along a dimension that hold one
/// number, zero but for bytes, so that consumers with padding need no guard.
struct Storage {
  int root = -1;
  int64_t offset = 0;
  std::vector<int64_t> strides;
  std::vector<int64_t> margin_before, margin_after;
  int64_t margin_value = 0;
  /// Of a ring whose rows stay where they are while it turns: coordinate i along turning_dim counts
  /// as i mod turning_rows. -1: no dimension does.
  int turning_dim = -1;
  int64_t turning_rows = 0;

  bool assigned() const { return root >= 0; }
  bool has_margins() const;
};

/// One buffer of the program.
struct Root {
  /// kRing: a few rows of the value, in the scratch memory of the worker that makes them.
  enum class Kind : uint8_t { kInput, kOutput, kConstant, kArena, kRing } kind = Kind::kArena;
  graph::ValueId value = -1;  // the value that it was made for
  DType dtype = DType::kF32;
  int64_t size_elems = 0;
  int position = -1;  // number of the graph's input or output
};

/// Layouts of all values. Views that are mere other looks at their input's storage (transposes,
/// slices, most reshapes, concatenations whose parts are written in place) cost nothing; the others
/// are copied.
struct StoragePlan {
  std::vector<Root> roots;
  std::vector<Storage> values;              // by ValueId
  std::vector<graph::NodeId> copied_views;  // in graph order
  /// For a concatenation among copied_views: the inputs that need copying; the others are in place.
  std::vector<std::vector<int>> copied_parts;  // by position in copied_views
  /// Graph outputs (numbers) that are copied from their value's storage at the end.
  std::vector<int> copied_outputs;
  std::vector<int> output_roots;  // by output number
  int64_t constant_bytes = 0;     // of all kConstant roots
};

/// Activations are channels-last where convolutions and pools read or write them: the dimension
/// that a kernel's vectors run along becomes the innermost. Everything else is row-major.
/// Source: design section 3 "Layout", "Views".
StoragePlan plan_storage(const graph::Graph& graph);

/// Whether margins can hold what an operand of that type reads around a value.
bool fills_margins(double padding, DType dtype);

/// Strides that look at the same elements under another shape, or nullopt if that takes a copy.
std::optional<std::vector<int64_t>> reshape_strides(const Shape& from,
                                                    const std::vector<int64_t>& strides,
                                                    const Shape& to);

}  // namespace corf::fusion
