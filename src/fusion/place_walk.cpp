#include "fusion/place_walk.h"

#include <algorithm>
#include <set>
#include <utility>

#include "fusion/rings.h"
#include "support/checked.h"

namespace corf::fusion {
namespace {

using graph::ValueId;
using index::ExprKind;

/// Beyond these, sums of the analysis could overflow, and going through all partitions take long.
constexpr int64_t kMostPartitions = 65536;

class WalkPlacer {
 public:
  WalkPlacer(const GroupReads& group, const StripSchedule& schedule)
      : group_(group), schedule_(schedule) {
    result_.schedule = schedule;
    for (const Nest* nest : group_.nests) {
      std::vector<int64_t>& extents = extents_.emplace_back();
      for (const NestAxis& axis : nest->axes) extents.push_back(axis.extent);
    }
  }

  Result<Walk> run() {
    result_.stages.resize(group_.stages.size());
    CORF_RETURN_IF_ERROR(place_last());
    CORF_RETURN_IF_ERROR(place_row_scatters());
    for (int s = num_stages() - 2; s >= 0; --s) CORF_RETURN_IF_ERROR(place_stage(s));
    CORF_RETURN_IF_ERROR(check_row_scatters());
    for (int s = 0; s < num_stages(); ++s) CORF_RETURN_IF_ERROR(find_units(s));
    result_.rings = possible_rings(group_, result_);
    return std::move(result_);
  }

 private:
  int num_stages() const { return group_.num_stages(); }
  const Shape& points(int s) const { return group_.points(s); }
  Error fault(int s, std::string_view what) const { return group_.fault(s, what); }

  Status place_last() {
    const int last = num_stages() - 1;
    WalkStage& stage = result_.stages[last];
    const int rank = static_cast<int>(points(last).size());
    std::set<int> dims;
    auto sound = [&](int dim) {
      return dim >= 0 && dim < rank && points(last)[dim] > 1 && dims.insert(dim).second;
    };
    for (const auto& outer : schedule_.outer) {
      if (!sound(outer.dim)) return fault(last, "no such outer dimension");
      if (outer.block < 1 || outer.block > kMostStripPoints) {
        return fault(last, "an outer block takes a positive number of points");
      }
      stage.outer_dims.push_back(outer.dim);
      stage.outer_blocks.push_back(outer.block);
    }
    if (!sound(schedule_.stream_dim)) return fault(last, "no such stream dimension");
    if (schedule_.partitions < 1 || schedule_.partitions > kMostPartitions) {
      return fault(last, "there are between 1 and 65536 partitions");
    }
    if (schedule_.partition_loop < 0 ||
        schedule_.partition_loop > static_cast<int>(schedule_.outer.size())) {
      return fault(last, "it has no such loop to split");
    }
    stage.stream_dim = schedule_.stream_dim;
    stage.rows = points(last)[stage.stream_dim];
    return schedule_.scatter ? place_scatter(*schedule_.scatter) : Status{};
  }

  /// Partial results of the last stage are sums (or products, least or greatest values) of some of
  /// its reduction's steps.
  Status place_scatter(const StripSchedule::Scatter& scatter) {
    const int last = num_stages() - 1;
    const std::vector<NestAxis>& axes = group_.nests[last]->axes;
    CORF_RETURN_IF_ERROR(check_scattered_axis(last, scatter.axis));
    if (scatter.chunk < 1 || scatter.chunk >= axes[scatter.axis].extent) {
      return fault(last, "a scattered axis takes several chunks");
    }
    result_.stages[last].outer_dims.push_back(scatter.axis);
    result_.stages[last].outer_blocks.push_back(scatter.chunk);
    result_.num_chunks = corf::ceil_div(axes[scatter.axis].extent, scatter.chunk);
    return {};
  }

  Status check_scattered_axis(int s, int axis) const {
    const std::vector<NestAxis>& axes = group_.nests[s]->axes;
    if (axis < 0 || axis >= static_cast<int>(axes.size()) || !axes[axis].reduction) {
      return fault(s, "no such reduction axis to scatter");
    }
    const graph::Combiner combiner = group_.nests[s]->combiner;
    if (combiner == graph::Combiner::kArgMax || combiner == graph::Combiner::kArgMin) {
      return fault(s, "positions of extremes have no partial results");
    }
    return {};
  }

  Status place_row_scatters() {
    const int last = num_stages() - 1;
    for (const StripSchedule::RowScatter& scatter : schedule_.row_scatters) {
      const int s = scatter.stage;
      if (s < 1 || s > last) return fault(last, "no such stage to scatter rows to");
      if (result_.stages[s].partial || (s == last && schedule_.scatter)) {
        return fault(s, "it has one kind of partial results");
      }
      CORF_RETURN_IF_ERROR(check_scattered_axis(s, scatter.axis));
      if (group_.nests[s]->axes[scatter.axis].extent < 2) {
        return fault(s, "a window over scattered rows has several");
      }
      result_.stages[s].partial = WalkStage::Partial{scatter.axis, {.count = 0}};
    }
    return {};
  }

  /// The axis along which the stage's window moves over rows `at`.
  void find_window(int s, const Expr& at) {
    WalkStage& stage = result_.stages[s];
    int axis = -1;
    for (const auto& [other, coefficient] : index::to_linear(at).coefficients) {
      if (other == stage.stream_dim) continue;
      if (group_.nests[s]->axes[other].reduction && extents_[s][other] > 1) axis = other;
    }
    if (axis >= 0 && !mapping::row_taps(at, extents_[s], stage.stream_dim, axis)) axis = -1;
    const bool known = windows_.count(s) > 0;
    stage.window_axis = known && stage.window_axis != axis ? -1 : axis;
    windows_.insert(s);
  }

  /// A stage whose partial results take rows as they come reads all rows that its reduction needs
  /// in the same way.
  Status place_scattered_read(const StageRead& load, const Expr& at, WalkRead& read) {
    WalkStage& consumer = result_.stages[load.consumer];
    if (!consumer.partial || !load.reduced) return {};
    const auto taps =
        mapping::row_taps(at, extents_[load.consumer], consumer.stream_dim, consumer.partial->axis);
    if (!taps) return fault(load.consumer, "its window does not move over the rows that it reads");
    mapping::RowTaps& known = consumer.partial->taps;
    if (known.count > 0 && known != *taps) {
      return fault(load.consumer, "its window moves in two ways over the rows that it reads");
    }
    known = *taps;
    read.scattered = true;
    return {};
  }

  Status check_row_scatters() const {
    for (int s = 0; s < num_stages(); ++s) {
      const auto& partial = result_.stages[s].partial;
      if (partial && partial->taps.count == 0) return fault(s, "it reads no rows of the group");
    }
    return {};
  }

  /// c where the coordinate is that dimension, or its quotient by c; 0 elsewhere.
  static int64_t walked_by(const Expr& coordinate, int dim) {
    if (coordinate.is_variable(dim)) return 1;
    const bool quotient = coordinate.kind() == ExprKind::kFloorDiv &&
                          coordinate.lhs().is_variable(dim) && coordinate.rhs().is_constant();
    return quotient ? std::max<int64_t>(0, coordinate.rhs().constant()) : 0;
  }

  /// The dimensions of stage s that its readers walk with theirs.
  Status place_stage(int s) {
    WalkStage& stage = result_.stages[s];
    for (const StageRead& read : group_.reads) {
      if (read.producer == s) CORF_RETURN_IF_ERROR(place_read(read));
    }
    if (stage.stream_dim < 0) CORF_RETURN_IF_ERROR(place_sink(s));
    CORF_RETURN_IF_ERROR(check_stored(s));
    for (ValueId value : group_.stages[s].stored) {
      for (size_t i = 0; i < schedule_.outer.size(); ++i) {
        if (is_innermost(value, stage.outer_dims[i])) {
          return fault(s, "an outer dimension runs along the vectors");
        }
      }
    }
    stage.rows = points(s)[stage.stream_dim];
    if (stage.rows < 2) return fault(s, "its stream dimension has one row");
    for (int dim : stage.outer_dims) {
      if (points(s)[dim] < 2) return fault(s, "an outer dimension has one point");
    }
    return {};
  }

  /// What no later stage reads walks the last stage's dimensions, its rows in proportion.
  Status place_sink(int s) {
    WalkStage& stage = result_.stages[s];
    const Shape &own = points(s), &last = points(num_stages() - 1);
    if (schedule_.scatter) return fault(s, "no later stage reads it, and chunks are scattered");
    if (own.size() != last.size()) {
      return fault(s, "no later stage reads it, and it has other dimensions than the last");
    }
    for (const StripSchedule::Outer& outer : schedule_.outer) {
      if (own[outer.dim] != last[outer.dim]) {
        return fault(s, "no later stage reads it, and it has other outer points than the last");
      }
      stage.outer_dims.push_back(outer.dim);
      stage.outer_blocks.push_back(outer.block);
    }
    stage.stream_dim = schedule_.stream_dim;
    stage.is_sink = true;
    return {};
  }

  /// How a stage walks what it loads of another.
  Status place_read(const StageRead& load) {
    const int s = load.producer, c = load.consumer;
    WalkStage& stage = result_.stages[s];
    const WalkStage& consumer = result_.stages[c];
    int stream = -1;
    for (size_t d = 0; d < load.coordinates.size(); ++d) {
      if (!index::depends_on(load.coordinates[d], consumer.stream_dim)) continue;
      if (stream >= 0) return fault(s, "two of its dimensions move along the stream");
      stream = static_cast<int>(d);
    }
    if (stream < 0) return fault(s, "it is read as a whole by every strip");
    std::vector<int> outer;
    std::vector<int64_t> blocks;
    for (size_t i = 0; i < consumer.outer_dims.size(); ++i) {
      const int dim = consumer.outer_dims[i];
      int found = -1;
      for (size_t d = 0; d < load.coordinates.size(); ++d) {
        if (!index::depends_on(load.coordinates[d], dim)) continue;
        const int64_t divisor = walked_by(load.coordinates[d], dim);
        if (divisor == 0 || consumer.outer_blocks[i] % divisor != 0) {
          return fault(s, "an outer dimension is not walked block by block");
        }
        if ((group_.nests[c]->axes[dim].extent - 1) / divisor >= points(s)[d]) {
          return fault(s, "an outer dimension goes on beyond it");
        }
        found = static_cast<int>(d);
        blocks.push_back(consumer.outer_blocks[i] / divisor);
      }
      if (found < 0) return fault(s, "it is read as a whole by every outer block");
      outer.push_back(found);
    }
    if (blocks.size() != outer.size()) return fault(s, "two dimensions move in one outer loop");
    if (stage.stream_dim >= 0 &&
        (stage.stream_dim != stream || stage.outer_dims != outer || stage.outer_blocks != blocks)) {
      return fault(s, "its readers walk along different dimensions");
    }
    stage.stream_dim = stream;
    stage.outer_dims = std::move(outer);
    stage.outer_blocks = std::move(blocks);
    const Expr row = Expr::variable(0), &at = load.coordinates[stream];
    auto least = mapping::least_row(at, extents_[c], consumer.stream_dim, row);
    auto greatest = mapping::greatest_row(at, extents_[c], consumer.stream_dim, row);
    if (!least || !greatest) return fault(s, "its rows are not read in growing order");
    WalkRead read{s, c, load.value, *least, *greatest};
    if (load.reduced) find_window(c, at);
    CORF_RETURN_IF_ERROR(place_scattered_read(load, at, read));
    result_.reads.push_back(std::move(read));
    return {};
  }

  /// What nobody reads has no rows that a strip would need.
  Status check_stored(int s) const {
    for (ValueId value : group_.stages[s].stored) {
      const bool is_read = std::any_of(result_.reads.begin(), result_.reads.end(),
                                       [&](const WalkRead& read) { return read.value == value; });
      if (is_read || group_.is_read_outside(value)) continue;
      return make_error(ErrorCode::kUnsupported,
                        "'{}' is stored, but nothing outside of its stage reads it",
                        group_.graph.values[value].name);
    }
    return {};
  }

  /// Whether the dimension has shorter strides than all others of several points. In a ring whose
  /// blocks have one point, strides may be equal.
  bool is_innermost(ValueId value, int dim) const {
    const Shape& shape = group_.graph.values[value].shape;
    const std::vector<int64_t>& strides = group_.storage.values[value].strides;
    for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
      if (d != dim && shape[d] > 1 && strides[d] <= strides[dim]) return false;
    }
    return true;
  }

  Status find_units(int s) {
    WalkStage& stage = result_.stages[s];
    std::vector<int> dims = stage.outer_dims;
    dims.push_back(stage.stream_dim);
    if (stage.partial) dims.push_back(stage.partial->axis);
    auto [it, fresh] = group_.cache.units.try_emplace({group_.stages[s].nodes[0], dims});
    if (fresh) {
      it->second.assign(stage.outer_dims.size() + 1, 1);
      Nest nest = *group_.nests[s];
      mark_shared_axes(stage, nest);
      for (const NestAxis& axis : canonicalize(std::move(nest)).axes) {
        if (axis.shared >= 0) it->second[axis.shared] = axis.unit;
      }
    }
    stage.unit = it->second.back();
    if (stage.partial && stage.unit != 1) {
      return fault(s, "its nest makes several rows at once, of which each tap adds to one");
    }
    for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
      if (stage.outer_blocks[i] % it->second[i] != 0) {
        return fault(s, "an outer block is no multiple of what its nest makes at once");
      }
    }
    return {};
  }

  const GroupReads& group_;
  const StripSchedule& schedule_;
  std::vector<std::vector<int64_t>> extents_;  // by stage: of its nest's axes
  std::set<int> windows_;                      // stages whose windows are known
  Walk result_;
};

}  // namespace

Result<Walk> place_walk(const GroupReads& group, const StripSchedule& schedule) {
  return WalkPlacer(group, schedule).run();
}

}  // namespace corf::fusion
