#pragma once
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "fusion/plan.h"
#include "lower/kernel_builder.h"

namespace corf::lower {

/// Part of an axis, in the axis' own steps; at most so many.
struct AxisRange {
  index::Expr begin, end;
  int64_t most = 0;
};

/// Some steps of a nest's reduction. What they yield is combined with what the parts before left in
/// memory; the last part goes on with what follows the reduction.
struct ReductionPart {
  int axis = 0;  // that is cut into parts
  AxisRange range;
  int64_t steps = 1;  // the most in a part
  bool equal = true;  // all parts have as many
  bool first = false, last = false;
  int64_t lane_steps = 1;  // whose sums lie apart, [point][step]; the last part adds them up
  int buffer = 0;          // of the kernel, for the results of parts
  index::Expr address;     // there, over the nest's axes, less `shift`
  index::Expr shift;
};

/// Writes the tiles of a scheduled nest: loads, the reduction's loops and accumulators, what
/// follows it, and stores.
class TileEmitter {
 public:
  TileEmitter(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
              KernelBuilder& builder);

  /// The tile that begins at `base` (of each axis; reduction axes have none) and has `extent`
  /// points along each parallel axis.
  loop::Tile emit_tile(const std::vector<index::Expr>& base, const std::vector<int64_t>& extent);

  /// Where the tiles that are emitted next stand among those that share a panel of packed vectors.
  struct PanelProgress {
    index::Expr next_base;    // along the vector axis: of the panel that follows
    bool takes_all = false;   // the worker takes all panels in turn, for each point around them
    index::Expr points_done;  // by the tiles before
    int64_t all_points = 1;
    int64_t tile_points = 1;
  };
  void set_progress(PanelProgress progress) { progress_ = std::move(progress); }

  /// The tiles that are emitted next take that part of the reduction.
  void set_part(const ReductionPart* part) { part_ = part; }

 private:
  using Expr = index::Expr;
  using NestOp = fusion::NestOp;
  using Register = loop::Register;
  using Statements = std::vector<loop::TileStmt>;

  void classify();

  void store_lines(const fusion::Access& access, const KernelBuilder::Lines& lines, Register value,
                   Statements& out);
  Register let(DType dtype, decltype(loop::TileLet::value) value, Statements& out);
  Register constant(double f64, int64_t i64, DType dtype, Statements& out);
  /// An expression over the nest's axes at the tile's current point.
  Expr at_point(const Expr& expr, Statements& out);
  std::vector<loop::Guard> guards_of(const fusion::Access& access, Statements& out);
  Register emit(int number, Statements& out);
  Register emit_load(const fusion::NestOp& op, Statements& out);
  std::optional<loop::TileTable> table_of(const NestOp& op) const;
  bool lies_inside(int axis) const;

  bool is_arg() const;
  Register identity(graph::Combiner combiner, DType dtype, Statements& out);
  void emit_reduction(Statements& out);
  bool emit_scaled_sum(Statements& out);
  void hoist(int number, Statements& out);
  int64_t reduction_step(int axis) const;
  int64_t reduction_extent(int axis) const;
  /// Whether vectors take several steps at once (NestSchedule::lane_steps).
  bool takes_steps() const { return part_ && part_->lane_steps > 1 && part_->first; }
  bool is_beside(int axis) const {
    return takes_steps() && axis == schedule_.reduction_order.back();
  }
  Expr part_offset(Statements& out);
  /// Steps [first, second) of a reduction axis; beyond them, a factor lies in its margins.
  std::pair<Expr, Expr> steps_inside(int axis) const;
  void reduction_loops(size_t level, Statements& out);
  std::vector<int> summed_variables() const;
  void update(Statements& out);
  void update_arg(Statements& out);
  void prefetch(Statements& out);
  Expr arg_position() const;

  const fusion::Nest& nest_;
  const fusion::NestSchedule& schedule_;
  KernelBuilder& builder_;
  std::vector<bool> varies_;         // of each operation: along the reduction axes
  std::vector<Expr> base_;           // of each axis: where the tile begins
  std::vector<int64_t> extent_;      // of each axis in the tile at hand
  std::vector<Expr> point_;          // of each axis within the tile
  std::vector<Register> registers_;  // of each operation, -1 before it is emitted
  std::map<std::pair<int, Register>, int> bound_;
  std::vector<int> tile_axis_;        // of each axis: its variable in the tile, or -1
  std::vector<int> tile_variables_;   // of the tile's parallel axes
  std::vector<loop::TileAxis> axes_;  // of the tile; the last ones may be none of the nest's
  int lane_variable_ = -1;
  int step_variable_ = -1;  // of the sums of lane steps that are taken up
  Expr first_beside_;       // of the steps that a vector takes at once
  Register accumulator_ = -1, position_ = -1;
  PanelProgress progress_;
  const ReductionPart* part_ = nullptr;  // nullptr: all of the reduction
  std::optional<loop::Guard> limit_;     // lanes beyond the end of a vectorised reduction
};

}  // namespace corf::lower
