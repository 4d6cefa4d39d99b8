#pragma once
#include <optional>
#include <vector>

#include "fusion/matrix.h"
#include "fusion/walk_rows.h"
#include "lower/boxes.h"
#include "lower/kernel_builder.h"

namespace corf::lower {

/// The loops that the stages of a group share, in its kernel.
struct StripLoops {
  const fusion::GroupPlan& group;
  fusion::RowExpressions rows;
  std::vector<int> outer;  // variables of the blocks' loops
  int strip = -1;          // variable of the strips' loop

  /// An expression of the analysis over this kernel's variables.
  index::Expr here(const index::Expr& expr) const;
  /// The first point of the block at hand along the stage's dimension of an outer loop.
  index::Expr block_begin(const fusion::WalkStage& stage, size_t loop) const;
};

/// A ring in the kernel's scratch memory, and what is done to it beside the stages that write and
/// read it. Only as long as all that it was made from.
class StripRing {
 public:
  StripRing(const fusion::WalkRing& ring, const StripLoops& loops, KernelBuilder& builder);

  void place() const;
  /// Whether the stage is the first that makes rows of it.
  bool begins_with(size_t stage) const { return ring_.stages[0] == static_cast<int>(stage); }
  /// Margins along the dimensions that no shared loop walks: written once, nothing touches them.
  std::vector<loop::Stmt> zero_sides() const;
  /// Zeros for the rows before the value's first and behind its last, where a strip reads them.
  std::vector<loop::Stmt> zero_beyond() const;
  /// Of what others read too: copies the rows of the strip that no partition behind this one
  /// stores.
  std::vector<loop::Stmt> store_own() const;

 private:
  const fusion::WalkStage& producer() const;
  const graph::Value& value() const;
  const fusion::RowExpressions::Ring& rows_of() const;
  /// The row that lies at the beginning of the ring's memory; of a ring that turns, the value's
  /// first.
  index::Expr front_row() const;
  /// Address of what lies at the beginning of the ring's memory.
  index::Expr front() const;
  /// The only stage that reads the root.
  std::optional<size_t> reader(int root) const;
  /// Whether the stage that makes the ring writes vectors of channels, each within a block of the
  /// matrix unit's.
  bool writes_blocks(int64_t channels) const;
  /// Of what reads a ring that can lie in parts: only the matrix unit does, all of its lines at
  /// once, and whoever makes it writes whole lines.
  std::optional<fusion::MatrixShape> shape_of_lines() const;
  /// The ring from its front on: dimensions as they lie in scratch.
  Box whole() const;
  bool is_shared(int d) const;

  const fusion::WalkRing& ring_;
  const StripLoops& loops_;
  const fusion::GroupPlan& group_;
  const fusion::Walk& walk_;
  KernelBuilder& builder_;
};

}  // namespace corf::lower
