#include "lower/lower_nest.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "lower/matrix_block.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::lower {
namespace {

using fusion::Nest;
using fusion::NestSchedule;
using index::Expr;
using loop::Stmt;

class NestLowering {
 public:
  NestLowering(const Nest& nest, const NestSchedule& schedule,
               const std::map<int, AxisRange>& ranges, KernelBuilder& builder,
               const ReductionPart* part, const PackedParts* packed)
      : nest_(nest),
        schedule_(schedule),
        ranges_(ranges),
        builder_(builder),
        emitter_(nest, schedule, builder) {
    const size_t n = nest.axes.size();
    base_.assign(n, Expr(0));
    extent_.assign(n, 1);
    emitter_.set_part(part);
    if (schedule.matrix != 0) open_matrix(packed);
  }

  std::vector<Stmt> run() {
    if (schedule_.block_axis < 0) return guarded(loops(0));
    // Blocks of one axis outermost; its own loop then runs within the block.
    const int axis = schedule_.block_axis;
    Range range = tile_range(axis);
    loop::For blocks;
    blocks.var = builder_.new_variable(nest_.axes[axis].name + "_block");
    blocks.lo = range.lo;
    blocks.hi = range.hi;
    blocks.step = schedule_.block_tiles;
    Expr start = Expr::variable(blocks.var);
    block_ = Range{start, min(start + Expr(schedule_.block_tiles), range.hi)};
    blocks.body = loops(0);
    std::vector<Stmt> result;
    result.push_back(std::move(blocks));
    return guarded(std::move(result));
  }

 private:
  struct Range {
    Expr lo, hi;  // in tiles
  };

  void open_matrix(const PackedParts* packed) {
    auto shape = fusion::matrix_shape(nest_, builder_.storage(), schedule_);
    CORF_ASSERT(shape, "a schedule for the matrix unit does not fit its nest");
    std::vector<int64_t> points(nest_.axes.size(), 1);
    for (size_t axis = 0; axis < points.size(); ++axis) {
      if (nest_.axes[axis].reduction) points[axis] = nest_.axes[axis].extent;
    }
    for (int axis : shape->inner) points[axis] = most_points(axis);
    points[schedule_.vector_axis] = most_points(schedule_.vector_axis);
    const auto& order = schedule_.parallel_order;
    const auto v = std::find(order.begin(), order.end(), schedule_.vector_axis);
    vector_level_ = static_cast<size_t>(v - order.begin());
    block_axes_ = shape->inner;
    matrix_.emplace(nest_, schedule_, *shape,
                    packed ? *packed : PackedParts(nest_, schedule_, *shape, builder_),
                    std::move(points), most_pieces(), builder_);
  }

  /// Of an axis in one block.
  int64_t most_points(int axis) const {
    const int64_t extent = nest_.axes[axis].extent, tile = tile_of(axis);
    int64_t most = extent;
    if (auto range = ranges_.find(axis); range != ranges_.end()) {
      most = std::min(extent, range->second.most);
    } else if (axis == schedule_.partition_axis) {
      most = std::min(extent, ceil_div(ceil_div(extent, tile), schedule_.partitions) * tile);
    }
    if (axis == schedule_.block_axis) most = std::min(most, schedule_.block_tiles * tile);
    return most;
  }

  /// Blocks of the matrix unit hold at least one row.
  std::vector<Stmt> guarded(std::vector<Stmt> body) {
    if (!matrix_) return body;
    for (const auto& [axis, range] : ranges_) {
      if (std::find(block_axes_.begin(), block_axes_.end(), axis) == block_axes_.end()) continue;
      Stmt when = if_positive(range.end - range.begin, std::move(body));
      body.clear();
      body.push_back(std::move(when));
    }
    return body;
  }

  /// The block's part of its axes, in their steps.
  std::map<int, AxisRange> block_ranges() const {
    std::map<int, AxisRange> ranges;
    for (int axis : block_axes_) {
      const Range range = range_of(axis);
      const Expr tile(tile_of(axis)), extent(nest_.axes[axis].extent);
      ranges[axis] = {range.lo * tile, min(range.hi * tile, extent)};
    }
    return ranges;
  }

  std::vector<Expr> block_base() const {
    std::vector<Expr> base = base_;
    for (const auto& [axis, range] : block_ranges()) base[axis] = range.begin;
    return base;
  }

  int64_t tile_of(int axis) const { return schedule_.tile_extent(axis); }

  Range tile_range(int axis) const {
    const int64_t tile = tile_of(axis);
    if (auto it = ranges_.find(axis); it != ranges_.end()) {
      if (tile == 1) return {it->second.begin, it->second.end};
      // A range that begins at the axis' end is empty, also where the last tile is not whole.
      return {ceil_div(it->second.begin, tile), ceil_div(it->second.end, tile)};
    }
    Expr tiles(ceil_div(nest_.axes[axis].extent, tile));
    if (axis != schedule_.partition_axis) return {Expr(0), tiles};
    Expr part = Expr::variable(KernelBuilder::kPartition), parts(schedule_.partitions);
    return {floor_div(part * tiles, parts), floor_div((part + Expr(1)) * tiles, parts)};
  }

  Range range_of(int axis) const {
    Range range = block_ && axis == schedule_.block_axis ? *block_ : tile_range(axis);
    if (!piece_) return range;
    // One tile of each of the block's axes.
    Expr at = *piece_;
    for (auto inner = block_axes_.rbegin(); inner != block_axes_.rend(); ++inner) {
      const int64_t tiles = most_tiles(*inner);
      if (*inner == axis) {
        const Expr first = range.lo + (inner + 1 == block_axes_.rend() ? at : mod(at, Expr(tiles)));
        if (tiles > 1) range = {first, min(range.hi, first + Expr(1))};
        break;
      }
      at = floor_div(at, Expr(tiles));
    }
    return range;
  }
  int64_t most_tiles(int axis) const { return ceil_div(most_points(axis), tile_of(axis)); }
  /// Tiles that follow the sums of a panel in one block.
  int64_t most_pieces() const {
    int64_t pieces = 1;
    for (int axis : block_axes_) pieces *= most_tiles(axis);
    return pieces;
  }

  /// Of the tile at hand among those that run between two steps of the vector axis.
  TileEmitter::PanelProgress progress() const {
    TileEmitter::PanelProgress result;
    const int v = schedule_.vector_axis;
    const Expr last = (tile_range(v).hi - Expr(1)) * Expr(tile_of(v));
    result.next_base = min(base_[v] + Expr(extent_[v]), last);
    result.takes_all =
        schedule_.partition_axis != v && schedule_.block_axis != v && ranges_.count(v) == 0;
    const auto& order = schedule_.parallel_order;
    for (size_t i = order.size(); i-- > 0 && order[i] != v;) {
      const int axis = order[i];
      const Range range = range_of(axis);
      int64_t points = nest_.axes[axis].extent;
      if (block_ && axis == schedule_.block_axis) {
        points = std::min(points, schedule_.block_tiles * tile_of(axis));
      } else if (axis == schedule_.partition_axis) {
        points = ceil_div(points, schedule_.partitions);
      }
      result.points_done = result.points_done +
                           (base_[axis] - range.lo * Expr(tile_of(axis))) * Expr(result.all_points);
      result.all_points *= points;
      result.tile_points *= extent_[axis];
    }
    return result;
  }

  std::vector<Stmt> loops(size_t level) {
    std::vector<Stmt> result;
    if (matrix_ && level == vector_level_) {
      result = products();
      if (matrix_->has_beside()) {
        add_panels(result);
        return result;
      }
    } else if (matrix_ && level == vector_level_ + 1 && !piece_) {
      if (matrix_->num_parts() == 1 && !matrix_->has_beside())
        result = multiply(Expr(0), /*adds=*/false);
      sums_ = matrix_->sums(block_base(), first_lane());
      emitter_.set_part(&*sums_);
    }
    if (level == schedule_.parallel_order.size()) {
      if (schedule_.lane_steps > 1) return tiles_of_steps();
      if (schedule_.prefetch == fusion::Prefetch::kPanel) emitter_.set_progress(progress());
      result.push_back(emitter_.emit_tile(base_, extent_));
      return result;
    }
    for_tiles(schedule_.parallel_order[level], [&] { return loops(level + 1); }, result);
    return result;
  }

  /// A tile of sums of lane steps apart, and the tile that takes them up.
  std::vector<Stmt> tiles_of_steps() {
    ReductionPart part;
    part.axis = -1;
    part.lane_steps = schedule_.lane_steps;
    part.address = part.shift = Expr(0);
    int64_t size = 1;
    auto add_axis = [&](int axis) {
      part.address = part.address + Expr::variable(axis) * Expr(size);
      part.shift = part.shift + base_[axis] * Expr(size);
      size *= tile_of(axis);
    };
    add_axis(schedule_.vector_axis);
    for (const auto& tiled : schedule_.register_tile) add_axis(tiled.axis);
    if (step_sums_ < 0) {
      step_sums_ = builder_.new_scratch("sums", DType::kF32, size * part.lane_steps);
    }
    part.buffer = step_sums_;
    part.first = true;
    emitter_.set_part(&part);
    std::vector<Stmt> result;
    result.push_back(emitter_.emit_tile(base_, extent_));
    part.first = false;
    part.last = true;
    part.steps = 0;
    result.push_back(emitter_.emit_tile(base_, extent_));
    emitter_.set_part(nullptr);
    return result;
  }

  /// A loop over the axis' whole tiles, and the tile that is left over; or loops over tiles of two
  /// extents.
  void for_tiles(int axis, const std::function<std::vector<Stmt>()>& body,
                 std::vector<Stmt>& result) {
    const int64_t extent = nest_.axes[axis].extent, size = tile_of(axis);
    const int64_t full = extent / size, rest = extent % size;
    const Range range = range_of(axis);
    const auto& varying = schedule_.varying;
    const bool varies = std::find(varying.begin(), varying.end(), axis) != varying.end();
    auto section = [&](const Expr& lo, const Expr& hi, int64_t tile_size, int64_t step,
                       int64_t start) {
      extent_[axis] = tile_size;
      const bool is_one =
          lo.is_constant() && hi.is_constant() && hi.constant() - lo.constant() == 1;
      if (is_one && !varies) {
        base_[axis] = Expr(lo.constant() * step + start);
        for (Stmt& stmt : body()) result.push_back(std::move(stmt));
        return;
      }
      loop::For loop;
      loop.var = builder_.new_variable(nest_.axes[axis].name);
      loop.lo = lo;
      loop.hi = hi;
      base_[axis] = Expr::variable(loop.var) * Expr(step) + Expr(start);
      loop.body = body();
      result.push_back(std::move(loop));
    };
    if (varies || (rest > 0 && full > 0 && is_evened_out(axis))) {
      const auto [longer, num_longer, num_shorter] = fusion::even_tiles(extent, size);
      const Expr first(num_longer);
      if (varies || num_longer > 0) section(range.lo, min(range.hi, first), longer, longer, 0);
      if (varies || num_shorter > 0) {
        section(max(range.lo, first), range.hi, longer - 1, longer - 1, num_longer);
      }
      return;
    }
    if (rest == 0) {
      section(range.lo, range.hi, size, size, 0);
      return;
    }
    if (full > 0) section(range.lo, min(range.hi, Expr(full)), size, size, 0);
    section(max(range.lo, Expr(full)), range.hi, rest, size, 0);
  }

  /// Whether tiles of an axis that they do not divide are of nearly equal extents: the code of few
  /// extents serves many shapes. Others count on where tiles begin.
  bool is_evened_out(int axis) const {
    return schedule_.matrix == 0 && axis != schedule_.vector_axis &&
           axis != schedule_.partition_axis && axis != schedule_.block_axis &&
           ranges_.find(axis) == ranges_.end();
  }

  /// Of the matrix unit, for one block: its lines are split, all of them or some channels at a
  /// time; these are then multiplied by all panels before the next channels come.
  std::vector<Stmt> products() {
    const int64_t parts = matrix_->num_parts();
    std::vector<Stmt> result = matrix_->split(block_base(), block_ranges(), Expr(0));
    if (parts == 1) return result;
    const int v = schedule_.vector_axis;
    for_tiles(v, [&] { return multiply(Expr(0), /*adds=*/false); }, result);
    // The last one is multiplied beside what follows, where it can be.
    const int64_t apart = matrix_->has_beside() ? 1 : 0;
    loop::For others = new_loop(builder_.new_variable("part"), Expr(1), Expr(parts - apart));
    const Expr part = Expr::variable(others.var);
    others.body = matrix_->split(block_base(), block_ranges(), part);
    for_tiles(v, [&] { return multiply(part, /*adds=*/true); }, others.body);
    if (parts - apart > 1) result.push_back(std::move(others));
    if (apart > 0) {
      for (Stmt& stmt : matrix_->split(block_base(), block_ranges(), Expr(parts - 1))) {
        result.push_back(std::move(stmt));
      }
    }
    return result;
  }

  std::vector<Stmt> multiply(const Expr& part, bool adds, const Beside* beside = nullptr) {
    const int64_t lanes = extent_[schedule_.vector_axis];
    return matrix_->multiply(block_base(), first_lane(), lanes, block_ranges(), part, adds, beside);
  }

  /// One panel after the other, each beside what follows the sums of the one before.
  void add_panels(std::vector<Stmt>& result) {
    const int v = schedule_.vector_axis;
    const int64_t size = tile_of(v), rest = nest_.axes[v].extent % size;
    const Range range = range_of(v);
    const Expr whole = min(range.hi, Expr(nest_.axes[v].extent / size));
    // Behind the last one there are sums left to go on with.
    auto loop = [&](const Expr& lo, const Expr& hi, int64_t lanes) {
      loop::For panels = new_loop(builder_.new_variable(nest_.axes[v].name), lo, hi);
      panels.body = panel_and_before(Expr::variable(panels.var), lanes);
      result.push_back(std::move(panels));
    };
    if (rest == 0) {
      loop(range.lo, range.hi + Expr(1), size);
      return;
    }
    loop(range.lo, whole, size);
    loop(whole, whole + Expr(1), rest);
    base_[v] = whole * Expr(size);
    extent_[v] = rest;
    result.push_back(if_positive(range.hi - whole, loops(vector_level_ + 1)));
  }

  /// Products of the panel, if it is one, and what follows the sums of the whole panel before it,
  /// if there is one.
  std::vector<Stmt> panel_and_before(const Expr& panel, int64_t lanes) {
    const int v = schedule_.vector_axis;
    const int64_t size = tile_of(v);
    const Range range = range_of(v);
    auto emit = [&](const Expr& piece) {
      base_[v] = (panel - Expr(1)) * Expr(size);
      extent_[v] = size;
      sums_ = matrix_->sums(block_base(), first_lane());
      emitter_.set_part(&*sums_);
      piece_ = piece;
      std::vector<Stmt> stmts = loops(vector_level_ + 1);
      piece_.reset();
      return stmts;
    };
    const Expr is_panel = min(Expr(1), range.hi - panel);
    const Expr pieces = Expr(most_pieces()) * min(Expr(1), panel - range.lo);
    const Beside beside{most_pieces(), pieces, emit};
    base_[v] = panel * Expr(size);
    extent_[v] = lanes;
    std::vector<Stmt> result;
    const int64_t last = matrix_->num_parts() - 1;
    result.push_back(if_positive(is_panel, multiply(Expr(last), last > 0, &beside)));
    // What the products have left.
    const Expr done = matrix_->pieces_beside(block_ranges(), most_pieces()) * is_panel;
    loop::For others = new_loop(builder_.new_variable("piece"), min(done, pieces), pieces);
    others.body = emit(Expr::variable(others.var));
    result.push_back(std::move(others));
    return result;
  }

  Stmt if_positive(const Expr& number, std::vector<Stmt> body) {
    loop::For when = new_loop(builder_.new_variable("when"), Expr(0), min(Expr(1), number));
    when.body = std::move(body);
    return when;
  }

  Expr first_lane() const {
    const int v = schedule_.vector_axis;
    return tile_range(v).lo * Expr(tile_of(v));
  }

  const Nest& nest_;
  const NestSchedule& schedule_;
  const std::map<int, AxisRange>& ranges_;
  KernelBuilder& builder_;
  TileEmitter emitter_;
  std::optional<Range> block_;
  std::optional<MatrixBlock> matrix_;
  std::optional<ReductionPart> sums_;  // of the block at hand, on the matrix unit
  std::optional<Expr> piece_;          // of what follows a panel's sums: a tile, counted in a block
  int step_sums_ = -1;                 // scratch
  size_t vector_level_ = 0;
  std::vector<int> block_axes_;  // inside of the vector axis, on the matrix unit
  std::vector<Expr> base_;       // of each axis: where the tile begins
  std::vector<int64_t> extent_;  // of each axis in the tile at hand
};

}  // namespace

void lower_nest(const Nest& nest, const NestSchedule& schedule, KernelBuilder& builder) {
  builder.call().partitions = schedule.partitions;
  for (const Nest::Store& store : nest.stores) {
    if (builder.storage().root(store.access.root).value < 0) continue;
    if (builder.storage().place(store.access.value).root != store.access.root) continue;
    for (Stmt& stmt : zero_margins(store.access.value, schedule.partitions, builder)) {
      builder.kernel().body.push_back(std::move(stmt));
    }
  }
  for (Stmt& stmt : nest_loops(nest, schedule, {}, builder)) {
    builder.kernel().body.push_back(std::move(stmt));
  }
}

std::vector<Stmt> nest_loops(const Nest& nest, const NestSchedule& schedule,
                             const std::map<int, AxisRange>& ranges, KernelBuilder& builder,
                             const ReductionPart* part, const PackedParts* packed) {
  return NestLowering(nest, schedule, ranges, builder, part, packed).run();
}

}  // namespace corf::lower
