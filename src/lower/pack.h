#pragma once
#include <vector>

#include "fusion/plan.h"
#include "lower/kernel_builder.h"

namespace corf::lower {

/// A constant operand rearranged into the order in which its kernel reads it:
/// [other parallel axes][tile of the vector axis][reduction axes][lane], the last tile as long as
/// what is left, or, where lanes are summed up, filled with zeros. With lane steps the last of the
/// reduction axes is cut: [its blocks][lane][step]. So it is with steps of bytes
/// (loop/passes/dot_steps.h), the last block filled with zeros.
class PackedOperand {
 public:
  PackedOperand(const fusion::Nest& nest, const fusion::NestSchedule& schedule, int load,
                ProgramBuffers& buffers);

  int buffer() const { return buffer_; }
  /// Where `point` (of each axis) lies; the tile begins at `tile_base` along the vector axis and
  /// has `tile_extent` lanes. With lane steps, `point` is the first step of its block, and counts
  /// the vector's elements along the vector axis.
  index::Expr address(const std::vector<index::Expr>& point, const index::Expr& tile_base,
                      int64_t tile_extent) const;
  /// Where the panel begins: the elements of the tile at `tile_base` for all reduction steps.
  index::Expr panel(const std::vector<index::Expr>& point, const index::Expr& tile_base) const;
  /// Whether there are panels for each point of axes in front of the vector axis: they follow one
  /// another in the order of the kernel's loops.
  bool has_batches() const { return !outer_.empty(); }
  /// The number of reduction steps in front of `point`, and of all in a panel.
  index::Expr step(const std::vector<index::Expr>& point) const;
  int64_t num_steps() const { return inner_size_; }
  /// Those of them that one iteration of the tile's loops takes.
  int64_t unrolled_steps() const { return unrolled_steps_; }

 private:
  Tensor pack(const Tensor& source, int threads) const;
  int64_t num_steps(int axis) const;  // of a reduction axis, those that are zeros too
  void pack_panel(const Tensor& source, const index::Linear& linear, std::vector<int64_t>& point,
                  int64_t base, std::byte* out) const;

  const fusion::Nest& nest_;
  const fusion::Access& access_;
  int vector_axis_;
  int64_t vector_tile_, lanes_;
  int64_t steps_side_by_side_ = 1;  // of the last reduction axis
  bool takes_steps_ = false;        // lane steps
  std::vector<int> outer_, inner_;  // axes in front of and behind the tile, that the operand has
  int64_t inner_size_ = 1, unrolled_steps_ = 1;
  int buffer_ = -1;
};

}  // namespace corf::lower
