#include "search/choose_strips.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <optional>

#include "fusion/count_walk.h"
#include "fusion/group_nests.h"
#include "fusion/matrix.h"
#include "fusion/order.h"
#include "fusion/place_walk.h"
#include "support/checked.h"

namespace corf::search {
namespace {

using fusion::GroupPlan;
using fusion::StripSchedule;

/// Dimensions that are tried as the stream: the outermost that the stages can walk. Of attention
/// they are blocks of keys, heads and rows.
constexpr int kMostStreams = 3;

/// Of that many rows and more, strips can be whole register tiles and still be shared out evenly:
/// a multiple of 8, or of 24, which tiles of 4, 6, 8 and 12 rows divide.
constexpr int64_t kManyRows = 256;
constexpr int64_t kRowsOfTiles[] = {24, 8};
/// The part of the second level's bytes, one in so many, up to which rings surely stay there beside
/// what passes. A bound on what is tried, not on what is chosen: cost::Coefficients::near_share is
/// what the time is predicted with.
constexpr int64_t kRoomForRings = 2;
/// Rows that the matrix unit multiplies by a panel at once.
constexpr int64_t kRowsOfProducts = 2 * fusion::kMatrixRows;

class StripChooser {
 public:
  StripChooser(StripSearch& search, GroupPlan group, size_t num_best)
      : search_(search),
        machine_(search.machine),
        group_(std::move(group)),
        reads_(search.graph, search.storage, group_.stages, search.walks),
        num_best_(num_best) {}

  StripChoice run() {
    if (!reads_.find().ok()) return {};
    for (const fusion::Walk& placed : loop_candidates()) {
      try_strips(placed);
      for (const StripSchedule::Scatter& scatter : scatter_candidates()) {
        StripSchedule chunks = placed.schedule;
        chunks.scatter = scatter;
        if (const auto placed_chunks = place(chunks)) try_strips(*placed_chunks);
      }
    }
    return {legal_, num_priced_, std::move(best_)};
  }

 private:
  const Shape& points() const { return search_.graph.values[group_.stages.back().stored[0]].shape; }

  void try_strips(const fusion::Walk& placed) {
    // Strips whose rings outgrow the second level tell little of shorter ones.
    constexpr int kPatience = 4;
    // Loops are given up that are so many times as slow as others. A bound on what is tried: with
    // it the plans of 80 models (benchmarks/) stay as they are; with 1.3 three of them change.
    constexpr double kHopeless = 1.5;
    int too_short = 0;
    double least = std::numeric_limits<double>::max();
    for (int64_t strip : strip_candidates(placed.schedule)) {
      const std::optional<Tried> tried = try_strip(placed, strip);
      if (!tried || tried->outgrows || tried->time <= best_.back().time) continue;
      if (tried->time > kHopeless * best_.back().time) break;
      too_short = tried->time < least ? 0 : too_short + 1;
      if (too_short == kPatience) break;
      least = std::min(least, tried->time);
    }
  }

  /// Chunks of the last stage's longest reduction axis: whole vectors of intermediate channels.
  std::vector<StripSchedule::Scatter> scatter_candidates() {
    const fusion::Nest& nest = search_.walks.nests.at(group_.stages.back().nodes[0]);
    StripSchedule::Scatter scatter{-1, 0};
    int64_t longest = 0;
    for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
      if (!nest.axes[axis].reduction || nest.axes[axis].extent <= longest) continue;
      longest = nest.axes[axis].extent;
      scatter.axis = axis;
    }
    std::vector<StripSchedule::Scatter> candidates;
    for (int64_t parts : {2, 3, 4, 6, 8, 12, 16}) {
      scatter.chunk = round_up(ceil_div(longest, parts), machine_.f32_lanes());
      if (scatter.chunk >= longest) continue;
      if (candidates.empty() || scatter.chunk < candidates.back().chunk) {
        candidates.push_back(scatter);
      }
    }
    return candidates;
  }

  /// Streams along each dimension that all stages can walk; dimensions that lie further out are
  /// outer loops where they can be, or are left to the stages.
  std::vector<fusion::Walk> loop_candidates() {
    std::vector<fusion::Walk> candidates;
    const auto& strides = search_.storage.values[group_.stages.back().stored[0]].strides;
    std::vector<int> dims;
    for (int d : fusion::order_of_strides(strides)) {
      if (points()[d] > 1) dims.push_back(d);
    }
    StripSchedule outer;
    int num_streams = 0;
    for (int dim : dims) {
      if (num_streams == kMostStreams) break;
      const size_t before = candidates.size();
      for (bool inside : {false, true}) {
        if (inside && outer.outer.empty()) continue;
        StripSchedule loops = inside ? outer : StripSchedule{};
        loops.stream_dim = dim;
        for (bool along_stream : {true, false}) {
          if (!split(loops, along_stream)) continue;
          if (auto placed = place(loops)) candidates.push_back(std::move(*placed));
        }
      }
      if (candidates.size() > before) ++num_streams;
      // May the next dimensions be streamed inside of this one?
      for (int next : dims) {
        if (next == dim || dim == dims.back()) continue;
        if (std::any_of(outer.outer.begin(), outer.outer.end(),
                        [&](const auto& loop) { return loop.dim == next; })) {
          continue;
        }
        StripSchedule deeper = outer;
        deeper.outer.push_back({dim, 1});
        deeper.stream_dim = next;
        split(deeper, true);
        bool legal = false;
        // Nests that make several points at once take blocks of as many.
        for (int64_t block : {1, 2, 4, 6}) {
          if (block > points()[dim]) break;
          deeper.outer.back().block = block;
          legal = place(deeper).has_value();
          if (legal) break;
        }
        if (!legal) continue;
        outer = deeper;
        break;
      }
    }
    return candidates;
  }

  /// Gives the workers their parts of the stream, or of the longest outer loop.
  bool split(StripSchedule& loops, bool along_stream) const {
    loops.partition_loop = static_cast<int>(loops.outer.size());
    int64_t extent = points()[loops.stream_dim];
    if (!along_stream) {
      if (loops.outer.empty()) return false;
      extent = 0;
      for (size_t i = 0; i < loops.outer.size(); ++i) {
        if (points()[loops.outer[i].dim] <= extent) continue;
        extent = points()[loops.outer[i].dim];
        loops.partition_loop = static_cast<int>(i);
      }
    }
    loops.partitions = std::min<int64_t>(machine_.threads, extent);
    return true;
  }

  /// The loops' walk, without strips; nullopt if the stages cannot walk in step.
  std::optional<fusion::Walk> place(const StripSchedule& loops) {
    auto placed = fusion::place_walk(reads_, loops);
    if (!placed) return std::nullopt;
    const auto walk = fusion::count_walk(reads_, *placed, loops.strip);
    if (!walk) return std::nullopt;
    legal_ = true;
    units_[loops.stream_dim] = walk->stages.back().unit;
    return placed.take();
  }

  /// Whether some stage is a product of two values, none of them constant.
  bool multiplies_values() const {
    auto is_value = [&](const fusion::Access& load) {
      return search_.storage.roots[load.root].kind != fusion::Root::Kind::kConstant;
    };
    return std::any_of(group_.stages.begin(), group_.stages.end(), [&](const auto& stage) {
      const fusion::Nest& nest = search_.walks.nests.at(stage.nodes[0]);
      return nest.contraction &&
             std::all_of(nest.contraction->factors.begin(), nest.contraction->factors.end(),
                         [&](int load) { return is_value(nest.loads[load]); });
    });
  }

  /// Strip lengths that give the workers equal parts, from a whole part down.
  std::vector<int64_t> strip_candidates(const StripSchedule& loops) const {
    const int64_t rows = points()[loops.stream_dim];
    const int64_t parts = loops.splits_stream() ? loops.partitions : 1;
    const bool products = machine_.has_matrix_unit() && multiplies_values();
    std::vector<int64_t> lengths;
    for (int64_t per_part : {1, 2, 3, 4, 6, 8, 14, 28, 56, 112}) {
      const int64_t length =
          round_up(ceil_div(rows, parts * per_part), units_.at(loops.stream_dim));
      if (products && length < rows) lengths.push_back(round_up(length, kRowsOfProducts));
      if (rows < kManyRows) {
        lengths.push_back(length);
        continue;
      }
      for (int64_t tiles : kRowsOfTiles) lengths.push_back(round_up(length, tiles));
    }
    std::sort(lengths.begin(), lengths.end(), std::greater<>());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
    return lengths;
  }

  /// The schedule with rows scattered where those that are kept for windows are most of rings that
  /// the second level has no room for.
  std::optional<StripSchedule> with_scattered_rows(const fusion::Walk& walk) const {
    if (fusion::ring_bytes(walk) <= machine_.l2_bytes / kRoomForRings) return std::nullopt;
    StripSchedule schedule = walk.schedule;
    for (const fusion::WalkRing& ring : walk.rings) {
      const bool keeps_most = 2 * ring.kept_rows >= ring.rows;
      if (!keeps_most) continue;
      for (const fusion::WalkRead& read : walk.reads) {
        const int s = read.consumer, axis = walk.stages[s].window_axis;
        const bool is_last = s + 1 == static_cast<int>(walk.stages.size());
        if (axis < 0 || walk.ring_of(read.value) != &ring || (is_last && schedule.scatter))
          continue;
        const bool known = std::any_of(schedule.row_scatters.begin(), schedule.row_scatters.end(),
                                       [&](const auto& scatter) { return scatter.stage == s; });
        if (!known) schedule.row_scatters.push_back({s, axis});
      }
    }
    if (schedule.row_scatters.empty()) return std::nullopt;
    return schedule;
  }

  /// Keeps the walk in strips of so many rows, or one that scatters rows, if it is among the best
  /// so far. Its time; nothing if it cannot be carried out: strips that are too long for rings say
  /// nothing about shorter ones.
  struct Tried {
    double time = 0;
    bool outgrows = false;  // its rings have no room in the second level
  };
  std::optional<Tried> try_strip(const fusion::Walk& placed, int64_t strip) {
    auto walk = fusion::count_walk(reads_, placed, strip);
    if (!walk) return std::nullopt;
    if (const auto scattered = with_scattered_rows(*walk)) {
      if (auto other = search_.walk(group_, *scattered)) price(other.take());
    }
    return price(walk.take());
  }

  std::optional<Tried> price(fusion::Walk walk) {
    if (walk.rings.empty()) return {};
    // Beyond that the rings are no better than memory.
    const int64_t share_of_l3 = machine_.l3_bytes / (2 * machine_.threads);
    const int64_t most_bytes = std::max(machine_.l2_bytes, share_of_l3);
    const int64_t ring_bytes = fusion::ring_bytes(walk);
    if (ring_bytes > most_bytes) return {};
    GroupPlan group = group_;
    group.walk = std::move(walk);
    if (!schedule_stages(search_.stages, group)) return {};
    const double time = search_.time(search_.storage, group, {});
    const Tried tried{time, kRoomForRings * ring_bytes > machine_.l2_bytes};
    ++num_priced_;
    const auto at = std::find_if(best_.begin(), best_.end(),
                                 [&](const TimedGroup& other) { return time < other.time; });
    if (at == best_.end() && best_.size() == num_best_) return tried;
    best_.insert(at, TimedGroup{std::move(group), time});
    if (best_.size() > num_best_) best_.pop_back();
    return tried;
  }

  StripSearch& search_;
  const Machine& machine_;
  const GroupPlan group_;
  fusion::GroupReads reads_;
  bool legal_ = false;
  int64_t num_priced_ = 0;
  std::map<int, int64_t> units_;  // of the last stage's nest, by stream dimension
  const size_t num_best_;
  std::vector<TimedGroup> best_;  // in the order of their times
};

}  // namespace

bool schedule_stages(StageSchedules& schedules, GroupPlan& group) {
  group.nests.clear();
  for (size_t s = 0; s < group.stages.size(); ++s) group.nests.push_back(schedules.of(group, s));
  return fusion::check_strip_tiles(group).ok();
}

StripChoice choose_strips(StripSearch& search, GroupPlan group, size_t num_best) {
  return StripChooser(search, std::move(group), num_best).run();
}

std::optional<TimedGroup> with_schedules(StripSearch& search, GroupPlan group,
                                         const StripSchedule& schedule,
                                         const ScheduleOf& schedule_of) {
  auto walk = search.walk(group, schedule);
  if (!walk) return std::nullopt;
  group.walk = walk.take();
  std::vector<fusion::Nest> own = fusion::group_nests(search.graph, search.storage, group);
  group.nests.clear();
  for (size_t i = 0; i < own.size(); ++i) {
    std::optional<fusion::NestSchedule> chosen = schedule_of(i, own[i]);
    if (!chosen || !fusion::check_schedule(own[i], *chosen).ok()) return std::nullopt;
    group.nests.push_back({std::move(own[i]), std::move(*chosen)});
  }
  if (!fusion::check_strip_tiles(group).ok()) return std::nullopt;
  const double predicted = search.time(search.storage, group, {});
  return TimedGroup{std::move(group), predicted};
}

std::string why_apart(StripSearch& search, const GroupPlan& group) {
  const graph::ValueId last = group.stages.back().stored[0];
  const Shape& points = search.graph.values[last].shape;
  std::string first_reason = "no dimension has several points to stream";
  bool found = false;
  for (int dim : fusion::order_of_strides(search.storage.values[last].strides)) {
    if (points[dim] < 2) continue;
    StripSchedule strips;
    strips.stream_dim = dim;
    const auto alone = search.walk(group, strips);
    if (!alone) {
      if (!found) first_reason = alone.error().message;
      found = true;
      continue;
    }
    // One worker could; so the seams between several are what is in the way.
    strips.partitions = std::min<int64_t>(search.machine.threads, points[dim]);
    const auto shared = search.walk(group, strips);
    if (!shared) return shared.error().message;
  }
  return first_reason;
}

}  // namespace corf::search
