// Longer than 500 lines because all steps of the analysis share its tables of stages and reads.
#include "fusion/strips.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "fusion/order.h"
#include "fusion/ring_storage.h"
#include "fusion/row_bounds.h"
#include "support/checked.h"

namespace corf::fusion {
namespace {

using graph::Graph;
using graph::NodeId;
using graph::ValueId;
using index::ExprKind;

/// A partition's first strip has no predecessor: as if every stage's had ended so many rows
/// earlier. That is taken off each stage's own rows: a map of rows to rows that goes no lower than
/// 0 (the edges of Resize) would lose it.
constexpr int64_t kLongBefore = int64_t{1} << 40;

/// Beyond these, sums of the analysis could overflow, and going through all partitions take long.
constexpr int64_t kMostPoints = int64_t{1} << 31, kMostPartitions = 65536;

/// One read of a stage's result by a later stage.
struct Read {
  int producer = -1, consumer = -1;
  ValueId value = -1;
  /// Rows of the producer that the consumer's row, variable 0, reads.
  Expr least, greatest;
};

class Analyzer {
 public:
  /// `in_expressions`: or in numbers only.
  Analyzer(const Graph& graph, const StoragePlan& storage, const FusionGroup& group,
           StripCache& cache, bool in_expressions)
      : graph_(graph),
        storage_(storage),
        group_(group),
        schedule_(*group.strips),
        cache_(cache),
        in_expressions_(in_expressions) {}

  Result<StripAnalysis> run() {
    for (const Stage& stage : group_.stages) {
      nests_.push_back(&cache_.nest_of(graph_, storage_, stage));
    }
    for (size_t s = 0; s < group_.stages.size(); ++s) {
      for (ValueId value : group_.stages[s].stored) producer_[value] = static_cast<int>(s);
    }
    result_.stages.resize(group_.stages.size());
    CORF_RETURN_IF_ERROR(place_last());
    for (int s = num_stages() - 2; s >= 0; --s) CORF_RETURN_IF_ERROR(place_stage(s));
    CORF_RETURN_IF_ERROR(check_aliases());
    for (int s = 0; s < num_stages(); ++s) CORF_RETURN_IF_ERROR(find_units(s));
    find_rows();
    find_rings();
    CORF_RETURN_IF_ERROR(check_margins());
    CORF_RETURN_IF_ERROR(walk());
    return std::move(result_);
  }

 private:
  int num_stages() const { return static_cast<int>(group_.stages.size()); }
  const Shape& points(int s) const { return graph_.values[group_.stages[s].stored[0]].shape; }
  Error fault(int s, std::string_view what) const {
    return make_error(ErrorCode::kUnsupported, "'{}' cannot walk in step with the group: {}",
                      graph_.nodes[group_.stages[s].nodes[0]].name, what);
  }

  Status place_last() {
    const int last = num_stages() - 1;
    StripStage& stage = result_.stages[last];
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
    StripStage& stage = result_.stages[s];
    for (int c = s + 1; c < num_stages(); ++c) {
      const StripStage& consumer = result_.stages[c];
      for (const Access& load : nests_[c]->loads) {
        auto it = producer_.find(load.value);
        if (it == producer_.end() || it->second != s) continue;
        int stream = -1;
        std::vector<int> outer;
        std::vector<int64_t> blocks;
        for (size_t d = 0; d < load.coordinates.size(); ++d) {
          if (!index::depends_on(load.coordinates[d], consumer.stream_dim)) continue;
          if (stream >= 0) return fault(s, "two of its dimensions move along the stream");
          stream = static_cast<int>(d);
        }
        if (stream < 0) return fault(s, "it is read as a whole by every strip");
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
        if (stage.stream_dim >= 0 && (stage.stream_dim != stream || stage.outer_dims != outer ||
                                      stage.outer_blocks != blocks)) {
          return fault(s, "its readers walk along different dimensions");
        }
        stage.stream_dim = stream;
        stage.outer_dims = outer;
        stage.outer_blocks = blocks;
        const Expr row = Expr::variable(0), &at = load.coordinates[stream];
        auto least = least_at(at, nests_[c]->axes, consumer.stream_dim, row);
        auto greatest = greatest_at(at, nests_[c]->axes, consumer.stream_dim, row);
        if (!least || !greatest) return fault(s, "its rows are not read in growing order");
        reads_.push_back({s, c, load.value, *least, *greatest});
      }
    }
    if (stage.stream_dim < 0) return fault(s, "no later stage reads it");
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

  /// What nobody reads has no rows that a strip would need.
  Status check_stored(int s) const {
    for (ValueId value : group_.stages[s].stored) {
      const bool is_read = std::any_of(reads_.begin(), reads_.end(),
                                       [&](const Read& read) { return read.value == value; });
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
    StripStage& stage = result_.stages[s];
    std::vector<int> dims = stage.outer_dims;
    dims.push_back(stage.stream_dim);
    auto [it, fresh] = cache_.units.try_emplace({group_.stages[s].nodes[0], dims});
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

  Expr rounded_up(const Expr& rows, int64_t unit) const {
    return unit == 1 ? rows : ceil_div(rows, unit) * Expr(unit);
  }
  Expr rounded_down(const Expr& rows, int64_t unit) const {
    return unit == 1 ? rows : floor_div(rows, Expr(unit)) * Expr(unit);
  }

  /// The least or greatest row read of `value` (-1: anything of stage s) when consumers are at
  /// row(c).
  template <typename Row>
  Expr extreme(int s, ValueId value, Row row, bool upper) const {
    std::optional<Expr> result;
    for (const Read& read : reads_) {
      if (read.producer != s || (value >= 0 && read.value != value)) continue;
      const Expr at =
          index::substitute(upper ? read.greatest : read.least,
                            [&](int) -> std::optional<Expr> { return row(read.consumer); });
      result = !result ? at : upper ? max(*result, at) : min(*result, at);
    }
    return *result;
  }

  void find_rows() {
    const int last = num_stages() - 1;
    const Expr part = Expr::variable(kPartitionVariable), strip = Expr::variable(kStripVariable);
    const Expr length(schedule_.strip), rows(result_.stages[last].rows);
    const bool split = schedule_.partition_loop == static_cast<int>(schedule_.outer.size());
    const Expr parts(split ? schedule_.partitions : 1);
    const Expr strips(corf::ceil_div(result_.stages[last].rows, schedule_.strip));
    const Expr from = split ? floor_div(part * strips, parts) : Expr(0);
    const Expr to = split ? floor_div((part + Expr(1)) * strips, parts) : strips;
    result_.num_strips = to - from;
    const Expr before_first = Expr(kLongBefore) * (Expr(1) - min(strip, Expr(1)));
    std::vector<Expr> raw_prev(num_stages()), raw_done(num_stages());
    StripStage& end = result_.stages[last];
    end.begin = from * length;
    end.prev = end.begin + strip * length;
    end.done = min(rows, end.prev + length);
    raw_prev[last] = end.prev;
    raw_done[last] = end.done;
    if (!in_expressions_) return;
    for (int s = last - 1; s >= 0; --s) {
      StripStage& stage = result_.stages[s];
      const Expr begin =
          extreme(s, -1, [&](int c) { return result_.stages[c].begin; }, /*upper=*/false);
      const Expr done = extreme(s, -1, [&](int c) { return raw_done[c] - Expr(1); }, true);
      const Expr prev = extreme(s, -1, [&](int c) { return raw_prev[c] - Expr(1); }, true);
      stage.begin = rounded_down(max(Expr(0), min(begin, Expr(stage.rows - 1))), stage.unit);
      raw_done[s] = min(Expr(stage.rows), rounded_up(done + Expr(1), stage.unit));
      raw_prev[s] = min(Expr(stage.rows), rounded_up(prev + Expr(1), stage.unit));
      stage.prev = max(stage.begin, raw_prev[s] - before_first);
      stage.done = max(stage.begin, raw_done[s]);
    }
  }

  bool is_read_outside(ValueId value) const {
    if (cache_.is_output[value]) return true;
    const std::vector<NodeId>& readers = cache_.readers[value];
    return std::any_of(readers.begin(), readers.end(), [&](NodeId reader) {
      return std::none_of(group_.stages.begin(), group_.stages.end(), [&](const Stage& stage) {
        return std::count(stage.nodes.begin(), stage.nodes.end(), reader) > 0;
      });
    });
  }

  bool owns_storage(ValueId value) const {
    const Root& place = storage_.roots[storage_.values[value].root];
    if (place.value != value) return false;
    if (place.kind != Root::Kind::kArena && place.kind != Root::Kind::kRing) return false;
    return cache_.sharers[value] == 1;
  }

  void find_rings() {
    for (int s = 0; s + 1 < num_stages(); ++s) {
      for (ValueId value : group_.stages[s].stored) {
        if (is_read_outside(value) || !owns_storage(value)) continue;
        StripRing ring;
        ring.value = value;
        ring.stage = s;
        if (in_expressions_) {
          auto prev = [&](int c) { return result_.stages[c].prev; };
          auto last = [&](int c) { return result_.stages[c].done - Expr(1); };
          ring.first = min(extreme(s, value, prev, /*upper=*/false), result_.stages[s].prev);
          ring.needed = extreme(s, value, last, true) + Expr(1);
        }
        result_.rings.push_back(std::move(ring));
      }
    }
  }

  bool is_stored_outside(int s) const {
    return std::any_of(
        group_.stages[s].stored.begin(), group_.stages[s].stored.end(), [&](ValueId value) {
          return std::none_of(result_.rings.begin(), result_.rings.end(),
                              [&](const StripRing& ring) { return ring.value == value; });
        });
  }

  /// Workers share the zeroing of what surrounds a stored value; no barrier stands between that and
  /// the stages that read it.
  Status check_margins() const {
    if (schedule_.partitions == 1) return {};
    for (const auto& [value, s] : producer_) {
      const bool in_ring =
          std::any_of(result_.rings.begin(), result_.rings.end(),
                      [value = value](const StripRing& ring) { return ring.value == value; });
      if (in_ring || !storage_.values[value].has_margins()) continue;
      for (const Nest* nest : nests_) {
        for (const Access& load : nest->loads) {
          if (load.value == value) return fault(s, "another worker would zero its margins");
        }
      }
    }
    return {};
  }

  /// Rows of all stages in one strip, as numbers.
  struct Rows {
    std::vector<int64_t> begin, raw_prev, raw_done, prev, done;
  };

  /// The least or greatest row that `value` (-1: anything of stage s) is read at.
  int64_t extreme_row(int s, ValueId value, const std::vector<int64_t>& row, int64_t add,
                      bool upper) const {
    std::optional<int64_t> result;
    for (const Read& read : reads_) {
      if (read.producer != s || (value >= 0 && read.value != value)) continue;
      const int64_t of_consumer[] = {row[read.consumer] + add};
      const int64_t at = index::evaluate(upper ? read.greatest : read.least, of_consumer);
      result = !result ? at : upper ? std::max(*result, at) : std::min(*result, at);
    }
    return *result;
  }

  /// What the expressions of find_rows evaluate to.
  Rows rows_at(int64_t part, int64_t strip) const {
    const auto n = static_cast<size_t>(num_stages());
    Rows rows{std::vector<int64_t>(n), std::vector<int64_t>(n), std::vector<int64_t>(n),
              std::vector<int64_t>(n), std::vector<int64_t>(n)};
    const int last = num_stages() - 1;
    const int64_t at[] = {part, strip};
    rows.begin[last] = index::evaluate(result_.stages[last].begin, at);
    rows.prev[last] = index::evaluate(result_.stages[last].prev, at);
    rows.done[last] = rows.raw_done[last] = index::evaluate(result_.stages[last].done, at);
    rows.raw_prev[last] = rows.prev[last];
    for (int s = last - 1; s >= 0; --s) {
      const StripStage& stage = result_.stages[s];
      const int64_t begin = extreme_row(s, -1, rows.begin, 0, /*upper=*/false);
      rows.begin[s] =
          corf::floor_div(std::max<int64_t>(0, std::min(begin, stage.rows - 1)), stage.unit) *
          stage.unit;
      auto before = [&](const std::vector<int64_t>& of) {
        return std::min(stage.rows, round_up(extreme_row(s, -1, of, -1, true) + 1, stage.unit));
      };
      rows.raw_done[s] = before(rows.raw_done);
      rows.raw_prev[s] = before(rows.raw_prev);
      rows.prev[s] = std::max(rows.begin[s], rows.raw_prev[s] - (strip == 0 ? kLongBefore : 0));
      rows.done[s] = std::max(rows.begin[s], rows.raw_done[s]);
    }
    return rows;
  }

  /// Whether the loops over blocks reach all points of the stage.
  bool covers_outer_dims(const StripStage& stage, const Shape& points) const {
    const std::vector<NestAxis>& axes = nests_.back()->axes;
    const StripStage& last = result_.stages.back();
    for (size_t i = 0; i < stage.outer_dims.size(); ++i) {
      const int64_t blocks = corf::ceil_div(axes[last.outer_dims[i]].extent, last.outer_blocks[i]);
      if (blocks * stage.outer_blocks[i] < points[stage.outer_dims[i]]) return false;
    }
    return true;
  }

  /// Goes through all strips with numbers: rows of rings, rows made twice, granules of strips.
  Status walk() {
    const bool split = schedule_.partition_loop == static_cast<int>(schedule_.outer.size());
    const int64_t partitions = split ? schedule_.partitions : 1;
    std::vector<int64_t> covered(num_stages(), 0);
    std::vector<bool> stored_outside;
    for (int s = 0; s < num_stages(); ++s) stored_outside.push_back(is_stored_outside(s));
    for (int64_t part = 0; part < partitions; ++part) {
      const int64_t here[] = {part};
      const int64_t count = index::evaluate(result_.num_strips, here);
      for (int64_t strip = 0; strip < count; ++strip) {
        const Rows rows = rows_at(part, strip);
        for (int s = 0; s < num_stages(); ++s) {
          StripStage& stage = result_.stages[s];
          stage.rows_made += rows.done[s] - rows.prev[s];
          stage.rows_in_strip = std::max(stage.rows_in_strip, rows.done[s] - rows.prev[s]);
          for (int64_t row : {rows.prev[s], rows.done[s]}) {
            if (row != stage.rows) stage.granule = std::gcd(stage.granule, row);
          }
          if (rows.prev[s] < covered[s]) stage.overlaps = true;
          if (rows.prev[s] > covered[s] && stored_outside[s]) {
            return fault(s, "rows that other groups read are skipped");
          }
          covered[s] = std::max(covered[s], rows.done[s]);
        }
        for (StripRing& ring : result_.rings) {
          const int s = ring.stage;
          const int64_t first =
              std::min(extreme_row(s, ring.value, rows.prev, 0, /*upper=*/false), rows.prev[s]);
          const int64_t needed = extreme_row(s, ring.value, rows.done, -1, true) + 1;
          ring.rows = std::max({ring.rows, rows.done[s] - first, needed - first});
          if (strip + 1 == count) continue;
          const int64_t next =
              std::min(extreme_row(s, ring.value, rows.done, 0, /*upper=*/false), rows.done[s]);
          ring.kept_rows = std::max(ring.kept_rows, rows.done[s] - next);
        }
      }
    }
    for (const StripRing& ring : result_.rings) {
      const Storage& place = storage_.values[ring.value];
      const int d = result_.stages[ring.stage].stream_dim;
      const bool innermost = ring_strides(graph_, result_, ring, place)[d] == 1;
      if (innermost && (ring.kept_rows > 0 || place.margin_before[d] + place.margin_after[d] > 0)) {
        return fault(ring.stage, "rows that stay from strip to strip run along the vectors");
      }
    }
    for (int s = 0; s < num_stages(); ++s) {
      const StripStage& stage = result_.stages[s];
      if (!stored_outside[s]) continue;
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

  const Graph& graph_;
  const StoragePlan& storage_;
  const FusionGroup& group_;
  const StripSchedule& schedule_;
  StripCache& cache_;
  const bool in_expressions_;
  std::vector<const Nest*> nests_;  // by stage, not canonical
  std::map<ValueId, int> producer_;
  std::vector<Read> reads_;
  StripAnalysis result_;
};

}  // namespace

void mark_shared_axes(const StripStage& stage, Nest& nest) {
  int loop = 0;
  for (int dim : stage.outer_dims) {
    nest.axes[dim].block = stage.outer_blocks[loop];
    nest.axes[dim].shared = loop++;
  }
  nest.axes[stage.stream_dim].shared = loop;
}

StripCache::StripCache(const Graph& graph, const StoragePlan& storage)
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

const Nest& StripCache::nest_of(const Graph& graph, const StoragePlan& storage,
                                const Stage& stage) {
  auto [it, fresh] = nests.try_emplace(stage.nodes[0]);
  if (fresh) it->second = build_nest(graph, storage, stage.nodes, stage.stored);
  return it->second;
}

Result<StripAnalysis> analyze_strips(const Graph& graph, const StoragePlan& storage,
                                     const FusionGroup& group) {
  StripCache cache(graph, storage);
  return Analyzer(graph, storage, group, cache, /*in_expressions=*/true).run();
}

Result<StripAnalysis> measure_strips(const Graph& graph, const StoragePlan& storage,
                                     const FusionGroup& group, StripCache& cache) {
  return Analyzer(graph, storage, group, cache, /*in_expressions=*/false).run();
}

}  // namespace corf::fusion
