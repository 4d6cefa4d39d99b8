#pragma once
#include <optional>
#include <vector>

#include "lower/kernel_builder.h"

namespace corf::lower {

/// Coordinates [begin, end) along a dimension; at most `length` of them.
struct BoxRange {
  index::Expr begin, end;
  int64_t length = 0;

  static BoxRange fixed(int64_t begin, int64_t end) { return {begin, end, end - begin}; }
};

/// Elements (i0, i1, ...) of a buffer at offset + sum(strides[d] * id), with id mod turning_rows
/// along turning_dim.
struct Box {
  std::vector<BoxRange> ranges;  // by dimension; fixed along those of stride 1
  std::vector<int64_t> strides;
  int turning_dim = -1;  // not of stride 1
  int64_t turning_rows = 0;
  index::Expr offset;
  int buffer = 0;
  DType dtype = DType::kF32;
};

/// Stores a number, of floats zero, in vectors along the dimension of stride 1. With several
/// partitions each fills its part of the longest other dimension.
loop::Stmt fill_box(const Box& box, int64_t value, int64_t partitions, KernelBuilder& builder);

/// Copies the elements of the box to the same coordinates of another place, whose ranges do not
/// count.
loop::Stmt copy_box(const Box& from, const Box& to, KernelBuilder& builder);

}  // namespace corf::lower
