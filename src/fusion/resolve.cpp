#include "fusion/resolve.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "fusion/order.h"
#include "fusion/row_bounds.h"
#include "fusion/walk_rows.h"
#include "support/checked.h"

namespace corf::fusion {
namespace {

using graph::Graph;
using graph::NodeId;
using graph::ValueId;
using index::ExprKind;

/// Beyond these, sums of the analysis could overflow, and going through all partitions take long.
constexpr int64_t kMostPoints = int64_t{1} << 31, kMostPartitions = 65536;

class WalkResolver {
 public:
  WalkResolver(const Graph& graph, const StoragePlan& storage, const std::vector<Stage>& stages,
               const StripSchedule& schedule, WalkCache& cache)
      : graph_(graph), storage_(storage), stages_(stages), schedule_(schedule), cache_(cache) {
    result_.schedule = schedule;
  }

  Result<Walk> run() {
    for (const Stage& stage : stages_) {
      nests_.push_back(&cache_.nest_of(graph_, storage_, stage));
    }
    for (size_t s = 0; s < stages_.size(); ++s) {
      for (ValueId value : stages_[s].stored) producer_[value] = static_cast<int>(s);
    }
    result_.stages.resize(stages_.size());
    CORF_RETURN_IF_ERROR(place_last());
    for (int s = num_stages() - 2; s >= 0; --s) CORF_RETURN_IF_ERROR(place_stage(s));
    CORF_RETURN_IF_ERROR(check_aliases());
    for (int s = 0; s < num_stages(); ++s) CORF_RETURN_IF_ERROR(find_units(s));
    find_rings();
    CORF_RETURN_IF_ERROR(check_margins());
    CORF_RETURN_IF_ERROR(count_rows());
    return std::move(result_);
  }

 private:
  int num_stages() const { return static_cast<int>(stages_.size()); }
  const Shape& points(int s) const { return graph_.values[stages_[s].stored[0]].shape; }
  Error fault(int s, std::string_view what) const {
    return make_error(ErrorCode::kUnsupported, "'{}' cannot walk in step with the group: {}",
                      graph_.nodes[stages_[s].nodes[0]].name, what);
  }

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
      if (outer.block < 1 || outer.block > kMostPoints) {
        return fault(last, "an outer block takes a positive number of points");
      }
      stage.outer_dims.push_back(outer.dim);
      stage.outer_blocks.push_back(outer.block);
    }
    if (!sound(schedule_.stream_dim)) return fault(last, "no such stream dimension");
    auto counts = [](int64_t n) { return n >= 1 && n <= kMostPoints; };
    if (!counts(schedule_.strip)) return fault(last, "a strip takes a positive number of rows");
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
    const std::vector<NestAxis>& axes = nests_[last]->axes;
    if (scatter.axis < 0 || scatter.axis >= static_cast<int>(axes.size()) ||
        !axes[scatter.axis].reduction) {
      return fault(last, "no such reduction axis to scatter");
    }
    const graph::Combiner combiner = nests_[last]->combiner;
    if (combiner == graph::Combiner::kArgMax || combiner == graph::Combiner::kArgMin) {
      return fault(last, "positions of extremes have no partial results");
    }
    if (scatter.chunk < 1 || scatter.chunk >= axes[scatter.axis].extent) {
      return fault(last, "a scattered axis takes several chunks");
    }
    result_.stages[last].outer_dims.push_back(scatter.axis);
    result_.stages[last].outer_blocks.push_back(scatter.chunk);
    result_.num_chunks = corf::ceil_div(axes[scatter.axis].extent, scatter.chunk);
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
    for (int c = s + 1; c < num_stages(); ++c) {
      for (const Access& load : nests_[c]->loads) {
        const auto it = producer_.find(load.value);
        if (it == producer_.end() || it->second != s) continue;
        CORF_RETURN_IF_ERROR(place_read(s, c, load));
      }
    }
    if (stage.stream_dim < 0) return fault(s, "no later stage reads it");
    CORF_RETURN_IF_ERROR(check_stored(s));
    for (ValueId value : stages_[s].stored) {
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

  /// How stage c walks what it loads of stage s.
  Status place_read(int s, int c, const Access& load) {
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
        if ((nests_[c]->axes[dim].extent - 1) / divisor >= points(s)[d]) {
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
    auto least = least_at(at, nests_[c]->axes, consumer.stream_dim, row);
    auto greatest = greatest_at(at, nests_[c]->axes, consumer.stream_dim, row);
    if (!least || !greatest) return fault(s, "its rows are not read in growing order");
    result_.reads.push_back({s, c, load.value, *least, *greatest});
    return {};
  }

  /// What nobody reads has no rows that a strip would need.
  Status check_stored(int s) const {
    for (ValueId value : stages_[s].stored) {
      const bool is_read = std::any_of(result_.reads.begin(), result_.reads.end(),
                                       [&](const WalkRead& read) { return read.value == value; });
      if (is_read || is_read_outside(value)) continue;
      return make_error(ErrorCode::kUnsupported,
                        "'{}' is stored, but nothing outside of its stage reads it",
                        graph_.values[value].name);
    }
    return {};
  }

  /// Whether the dimension has shorter strides than all others of several points. In a ring whose
  /// blocks have one point, strides may be equal.
  bool is_innermost(ValueId value, int dim) const {
    const Shape& shape = graph_.values[value].shape;
    const std::vector<int64_t>& strides = storage_.values[value].strides;
    for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
      if (d != dim && shape[d] > 1 && strides[d] <= strides[dim]) return false;
    }
    return true;
  }

  /// Stages may meet only through the values themselves: another look at the same memory would
  /// hide who depends on whom.
  Status check_aliases() const {
    std::set<int> roots;
    for (const auto& [value, s] : producer_) roots.insert(storage_.values[value].root);
    for (int s = 0; s < num_stages(); ++s) {
      for (const Access& load : nests_[s]->loads) {
        if (roots.count(load.root) && !producer_.count(load.value)) {
          return fault(s, "it reads a view of another stage's result");
        }
      }
    }
    return {};
  }

  Status find_units(int s) {
    WalkStage& stage = result_.stages[s];
    std::vector<int> dims = stage.outer_dims;
    dims.push_back(stage.stream_dim);
    auto [it, fresh] = cache_.units.try_emplace({stages_[s].nodes[0], dims});
    if (fresh) {
      it->second.assign(dims.size(), 1);
      Nest nest = *nests_[s];
      mark_shared_axes(stage, nest);
      for (const NestAxis& axis : canonicalize(std::move(nest)).axes) {
        if (axis.shared >= 0) it->second[axis.shared] = axis.unit;
      }
    }
    stage.unit = it->second.back();
    for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
      if (stage.outer_blocks[i] % it->second[i] != 0) {
        return fault(s, "an outer block is no multiple of what its nest makes at once");
      }
    }
    return {};
  }

  bool is_read_outside(ValueId value) const {
    if (cache_.is_output[value]) return true;
    const std::vector<NodeId>& readers = cache_.readers[value];
    return std::any_of(readers.begin(), readers.end(), [&](NodeId reader) {
      return std::none_of(stages_.begin(), stages_.end(), [&](const Stage& stage) {
        return std::count(stage.nodes.begin(), stage.nodes.end(), reader) > 0;
      });
    });
  }

  bool owns_storage(ValueId value) const {
    const Root& place = storage_.roots[storage_.values[value].root];
    return place.value == value && place.kind == Root::Kind::kArena && cache_.sharers[value] == 1;
  }

  void find_rings() {
    for (int s = 0; s + 1 < num_stages(); ++s) {
      for (ValueId value : stages_[s].stored) {
        if (is_read_outside(value) || !owns_storage(value)) continue;
        WalkRing ring;
        ring.value = value;
        ring.stage = s;
        result_.rings.push_back(std::move(ring));
      }
    }
  }

  bool is_stored_outside(int s) const {
    const std::vector<ValueId>& stored = stages_[s].stored;
    return std::any_of(stored.begin(), stored.end(),
                       [&](ValueId value) { return !result_.ring_of(value); });
  }

  /// Workers share the zeroing of what surrounds a stored value; no barrier stands between that and
  /// the stages that read it.
  Status check_margins() const {
    if (schedule_.partitions == 1) return {};
    for (const auto& [value, s] : producer_) {
      if (result_.ring_of(value) || !storage_.values[value].has_margins()) continue;
      for (const Nest* nest : nests_) {
        for (const Access& load : nest->loads) {
          if (load.value == value) return fault(s, "another worker would zero its margins");
        }
      }
    }
    return {};
  }

  /// Whether the loops over blocks reach all points of the stage.
  bool covers_outer_dims(const WalkStage& stage, const Shape& points) const {
    const std::vector<NestAxis>& axes = nests_.back()->axes;
    const WalkStage& last = result_.stages.back();
    for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
      const int64_t blocks = corf::ceil_div(axes[last.outer_dims[i]].extent, last.outer_blocks[i]);
      if (blocks * stage.outer_blocks[i] < points[stage.outer_dims[i]]) return false;
    }
    return true;
  }

  /// Goes through all strips: rows of rings, rows made twice, granules of strips.
  Status count_rows() {
    const int64_t partitions = schedule_.splits_stream() ? schedule_.partitions : 1;
    std::vector<int64_t> covered(num_stages(), 0);
    for (int s = 0; s < num_stages(); ++s) stored_outside_.push_back(is_stored_outside(s));
    for (int64_t part = 0; part < partitions; ++part) {
      const int64_t count = num_strips(result_, part);
      for (int64_t strip = 0; strip < count; ++strip) {
        const std::vector<StageRows> rows = rows_at(result_, part, strip);
        for (int s = 0; s < num_stages(); ++s) {
          CORF_RETURN_IF_ERROR(count_stage(s, rows[s], covered[s]));
        }
        for (WalkRing& ring : result_.rings) count_ring(rows, strip + 1 == count, ring);
      }
    }
    for (WalkRing& ring : result_.rings) CORF_RETURN_IF_ERROR(place_ring(ring));
    for (int s = 0; s < num_stages(); ++s) {
      const WalkStage& stage = result_.stages[s];
      if (!stored_outside_[s]) continue;
      if (stage.overlaps && partitions > 1) {
        return fault(s, "what other groups read would be written by two workers");
      }
      if (covered[s] != stage.rows ||
          (s + 1 < num_stages() && !covers_outer_dims(stage, points(s)))) {
        return fault(s, "rows that other groups read are not made");
      }
    }
    return {};
  }

  /// `covered`: rows of the stage that strips before this one have made.
  Status count_stage(int s, const StageRows& rows, int64_t& covered) {
    WalkStage& stage = result_.stages[s];
    stage.rows_made += rows.done - rows.prev;
    stage.rows_in_strip = std::max(stage.rows_in_strip, rows.done - rows.prev);
    for (int64_t row : {rows.prev, rows.done}) {
      if (row != stage.rows) stage.granule = std::gcd(stage.granule, row);
    }
    if (rows.prev < covered) stage.overlaps = true;
    if (rows.prev > covered && stored_outside_[s]) {
      return fault(s, "rows that other groups read are skipped");
    }
    covered = std::max(covered, rows.done);
    return {};
  }

  void count_ring(const std::vector<StageRows>& rows, bool is_last, WalkRing& ring) const {
    const StageRows& own = rows[ring.stage];
    const int64_t first =
        std::min(least_read(result_, ring.value, rows, &StageRows::prev), own.prev);
    const int64_t needed = greatest_read(result_, ring.value, rows) + 1;
    ring.rows = std::max({ring.rows, own.done - first, needed - first});
    if (is_last) return;
    const int64_t next =
        std::min(least_read(result_, ring.value, rows, &StageRows::done), own.done);
    ring.kept_rows = std::max(ring.kept_rows, own.done - next);
  }

  /// Extents of the ring's memory.
  Shape ring_extents(const WalkRing& ring, const Storage& place) const {
    const WalkStage& stage = result_.stages[ring.stage];
    Shape extents = graph_.values[ring.value].shape;
    for (size_t d = 0; d < extents.size(); ++d) {
      extents[d] += place.margin_before[d] + place.margin_after[d];
    }
    for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
      int64_t& extent = extents[stage.outer_dims[i]];
      extent = std::min(extent, stage.outer_blocks[i]);
    }
    extents[stage.stream_dim] = ring.rows;
    spread_over_cache_sets(extents, order_of_strides(place.strides),
                           graph_.values[ring.value].dtype);
    return extents;
  }

  Status place_ring(WalkRing& ring) const {
    const WalkStage& stage = result_.stages[ring.stage];
    const int d = stage.stream_dim;
    Storage& place = ring.place = storage_.values[ring.value];
    const Shape extents = ring_extents(ring, place);
    place.strides = dense_strides(extents, order_of_strides(place.strides));
    if (place.strides[d] == 1 &&
        (ring.kept_rows > 0 || place.margin_before[d] + place.margin_after[d] > 0)) {
      return fault(ring.stage, "rows that stay from strip to strip run along the vectors");
    }
    if (ring.kept_rows > 0) {
      place.turning_dim = d;
      place.turning_rows = ring.rows;
    }
    place.offset = 0;
    for (int i = 0; i < static_cast<int>(extents.size()); ++i) {
      const bool walked = i == d || std::count(stage.outer_dims.begin(), stage.outer_dims.end(), i);
      if (!walked) place.offset += place.margin_before[i] * place.strides[i];
    }
    ring.root = storage_.roots[place.root];
    ring.root.kind = Root::Kind::kRing;
    ring.root.size_elems = num_elems(extents);
    return {};
  }

  const Graph& graph_;
  const StoragePlan& storage_;
  const std::vector<Stage>& stages_;
  const StripSchedule& schedule_;
  WalkCache& cache_;
  std::vector<const Nest*> nests_;  // by stage, not canonical
  std::map<ValueId, int> producer_;
  std::vector<bool> stored_outside_;  // by stage: some of its values are in no ring
  Walk result_;
};

}  // namespace

void mark_shared_axes(const WalkStage& stage, Nest& nest) {
  int loop = 0;
  for (int dim : stage.outer_dims) {
    nest.axes[dim].block = stage.outer_blocks[loop];
    nest.axes[dim].shared = loop++;
  }
  nest.axes[stage.stream_dim].shared = loop;
}

WalkCache::WalkCache(const Graph& graph, const StoragePlan& storage)
    : readers(graph::consumers(graph)), is_output(graph.values.size(), false) {
  for (ValueId output : graph.outputs) is_output[output] = true;
  std::vector<int> uses(storage.roots.size(), 0);
  for (const Storage& place : storage.values) {
    if (place.assigned()) ++uses[place.root];
  }
  for (const Storage& place : storage.values) {
    sharers.push_back(place.assigned() ? uses[place.root] : 0);
  }
}

const Nest& WalkCache::nest_of(const Graph& graph, const StoragePlan& storage, const Stage& stage) {
  auto [it, fresh] = nests.try_emplace(stage.nodes[0]);
  if (fresh) it->second = build_nest(graph, storage, stage.nodes, stage.stored);
  return it->second;
}

Result<Walk> resolve_walk(const Graph& graph, const StoragePlan& storage,
                          const std::vector<Stage>& stages, const StripSchedule& schedule,
                          WalkCache& cache) {
  return WalkResolver(graph, storage, stages, schedule, cache).run();
}

Result<Walk> resolve_walk(const Graph& graph, const StoragePlan& storage,
                          const std::vector<Stage>& stages, const StripSchedule& schedule) {
  WalkCache cache(graph, storage);
  return resolve_walk(graph, storage, stages, schedule, cache);
}

int64_t extent_in_strip(const WalkStage& stage, const NestAxis& axis) {
  if (axis.shared < static_cast<int>(stage.outer_dims.size())) return axis.most_steps();
  return std::max<int64_t>(1, corf::ceil_div(stage.rows_in_strip, stage.unit));
}

}  // namespace corf::fusion
