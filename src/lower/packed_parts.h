#pragma once
#include <map>
#include <vector>

#include "fusion/matrix.h"
#include "lower/kernel_builder.h"
#include "lower/tile_emitter.h"

namespace corf::lower {

/// An operand as the matrix unit reads it, split into bfloat16 parts:
/// [axes in front][panel of lanes][step of the reduction][part][pair of channels][lane][2],
/// with zeros for channels and lanes that do not exist. A constant is packed now; another operand
/// by the kernel, into the worker's scratch memory.
class PackedParts {
 public:
  /// If the kernel packs: one panel at a time.
  PackedParts(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
              const fusion::MatrixShape& shape, KernelBuilder& builder);
  /// Room for all panels within `ranges` of the axes in front.
  PackedParts(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
              const fusion::MatrixShape& shape, const std::map<int, AxisRange>& ranges,
              KernelBuilder& builder);

  int buffer() const { return buffer_; }  // of the kernel
  bool is_constant() const { return holds_ == Holds::kConstant; }
  bool has_one_panel() const { return holds_ == Holds::kPanel; }
  /// Lanes of a panel for so many.
  static int64_t lanes_of(int64_t extent);
  /// Where the panel begins.
  index::Expr panel(const std::vector<index::Expr>& point, const index::Expr& tile_base) const;
  int64_t panel_elems(int64_t lanes) const {
    return lanes * num_steps_ * fusion::kParts * fusion::kMatrixChannels;
  }
  /// Reduction axes in the order of steps, blocks of channels apart, which turn fastest.
  const std::vector<int>& step_axes() const { return step_axes_; }

  /// Packs blocks [first, end) of the channels of the panel with `width` lanes that begins at
  /// `point`.
  std::vector<loop::Stmt> pack(const std::vector<index::Expr>& point, int64_t width,
                               const index::Expr& first, const index::Expr& end) const;
  /// Packs all that there is room for.
  std::vector<loop::Stmt> pack_all() const;

 private:
  using Expr = index::Expr;
  enum class Holds { kConstant, kPanel, kAll };

  int bind_constant() const;
  int64_t all_lanes() const;
  Tensor packed(const Tensor& source) const;
  loop::Tile pack_tile(const std::vector<Expr>& point, int64_t width, const Expr& step,
                       const Expr& block, const Expr& group, int64_t channels) const;

  const fusion::Nest* nest_;
  const fusion::Access* access_;
  KernelBuilder* builder_;
  int64_t channels_ = 0, channel_blocks_ = 0;
  int channel_axis_ = -1, vector_axis_ = -1;
  int64_t vector_tile_ = 1;
  std::vector<int> outer_, step_axes_;
  std::map<int, AxisRange> ranges_;  // of outer axes
  int64_t num_steps_ = 1;            // of a panel
  Holds holds_ = Holds::kConstant;
  int buffer_ = -1;
};

}  // namespace corf::lower
