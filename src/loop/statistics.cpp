#include "loop/statistics.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "loop/tile_info.h"
#include "support/checked.h"

namespace corf::loop {
namespace {

void add(Statistics& sum, const Statistics& part, int64_t times) {
  sum.flops += times * part.flops;
  sum.tiles += times * part.tiles;
  sum.vector_loads += times * part.vector_loads;
  sum.broadcasts += times * part.broadcasts;
  sum.gathers += times * part.gathers;
  sum.vector_stores += times * part.vector_stores;
  sum.scalar_stores += times * part.scalar_stores;
  sum.load_bytes += times * part.load_bytes;
  sum.store_bytes += times * part.store_bytes;
}

// Whether a bound of a loop inside of the body mentions the variable.
bool bounds_mention(const Tile& tile, int var);
bool bounds_mention(const TileStmt& stmt, int var);
bool bounds_mention(const Stmt& stmt, int var);

template <typename S>
bool any_bounds_mention(const std::vector<S>& body, int var) {
  return std::any_of(body.begin(), body.end(),
                     [&](const S& stmt) { return bounds_mention(stmt, var); });
}
template <typename L>
bool loop_mentions(const L& loop, int var) {
  return index::depends_on(loop.lo, var) || index::depends_on(loop.hi, var) ||
         any_bounds_mention(loop.body, var);
}
bool bounds_mention(const Tile& tile, int var) { return any_bounds_mention(tile.body, var); }
bool bounds_mention(const TileStmt& stmt, int var) {
  const auto* loop = std::get_if<TileLoop>(&stmt);
  return loop && loop_mentions(*loop, var);
}
bool bounds_mention(const Stmt& stmt, int var) {
  if (const auto* loop = std::get_if<For>(&stmt)) return loop_mentions(*loop, var);
  return bounds_mention(std::get<Tile>(stmt), var);
}

class Counter {
 public:
  Counter(const Kernel& kernel, std::span<const int64_t> params, int lanes)
      : kernel_(kernel), lanes_(lanes), values_(kernel.var_names.size(), 0) {
    std::copy(params.begin(), params.end(), values_.begin() + 1);
  }

  Statistics run(int64_t partitions) { return repeat(0, 0, partitions, 1, kernel_.body); }

 private:
  /// The body for each value of the variable: counted once where that makes no difference.
  template <typename S>
  Statistics repeat(int var, int64_t lo, int64_t hi, int64_t step, const std::vector<S>& body) {
    Statistics sum;
    if (hi <= lo) return sum;
    if (!any_bounds_mention(body, var)) {
      add(sum, count(body), ceil_div(hi - lo, step));
      return sum;
    }
    for (int64_t i = lo; i < hi; i += step) {
      values_[var] = i;
      add(sum, count(body), 1);
    }
    return sum;
  }
  template <typename L>
  Statistics repeat(const L& loop) {
    return repeat(loop.var, index::evaluate(loop.lo, values_), index::evaluate(loop.hi, values_),
                  loop.step, loop.body);
  }

  Statistics count(const std::vector<Stmt>& body) {
    Statistics sum;
    for (const Stmt& stmt : body) {
      if (const auto* loop = std::get_if<For>(&stmt)) {
        add(sum, repeat(*loop), 1);
        continue;
      }
      const Tile& tile = std::get<Tile>(stmt);
      auto [it, is_new] = infos_.try_emplace(&tile, nullptr);
      if (is_new) it->second = std::make_unique<TileInfo>(tile_info(tile));
      const TileInfo* outer = info_;
      info_ = it->second.get();
      add(sum, count(tile.body), 1);
      info_ = outer;
      ++sum.tiles;
    }
    return sum;
  }

  Statistics count(const std::vector<TileStmt>& body) {
    Statistics sum;
    for (const TileStmt& stmt : body) {
      if (const auto* loop = std::get_if<TileLoop>(&stmt)) {
        add(sum, repeat(*loop), 1);
      } else {
        count(stmt, sum);
      }
    }
    return sum;
  }

  void count(const TileStmt& stmt, Statistics& sum) {
    const AxisSet box = info_->axes_of(stmt);
    const int64_t points = info_->num_points(box);
    if (const auto* let = std::get_if<TileLet>(&stmt)) {
      const bool computes = std::holds_alternative<TileApply>(let->value) ||
                            std::holds_alternative<TileReduce>(let->value);
      if (computes && is_float(let->dtype)) sum.flops += points;
      if (const auto* table = std::get_if<TileTable>(&let->value)) {
        tables_[{info_, let->reg}] = table;
      }
      if (const auto* load = std::get_if<TileLoad>(&let->value)) {
        const int64_t vectors = contiguous_vectors(load->offset, let->dtype, box);
        sum.vector_loads += vectors;
        if (vectors == 0) (varies_along_vector(box) ? sum.gathers : sum.broadcasts) += points;
        sum.load_bytes += points * size_bytes(let->dtype);
      }
    } else if (const auto* update = std::get_if<TileUpdate>(&stmt)) {
      if (is_float(info_->registers[update->acc].dtype)) {
        sum.flops += num_terms(*update, points) * (update->b >= 0 ? 2 : 1);
      }
    } else if (const auto* store = std::get_if<TileStore>(&stmt)) {
      const DType dtype = kernel_.buffer_dtype(store->buffer);
      const int64_t vectors = contiguous_vectors(store->offset, dtype, box);
      sum.vector_stores += vectors;
      if (vectors == 0) sum.scalar_stores += points;
      sum.store_bytes += points * size_bytes(dtype);
    }
  }

  /// Of an update's points those that are terms: where a factor is a table, zeros are none.
  int64_t num_terms(const TileUpdate& update, int64_t points) const {
    for (const Register factor : {update.a, update.b}) {
      auto table = tables_.find({info_, factor});
      if (table == tables_.end()) continue;
      const std::vector<double>& values = table->second->values;
      const auto size = static_cast<int64_t>(values.size());
      points = points / size * (size - std::count(values.begin(), values.end(), 0.0));
    }
    return points;
  }

  bool varies_along_vector(AxisSet box) const {
    return info_->vector_axis >= 0 && (box >> info_->vector_axis & 1);
  }
  /// Registers that the box takes where the offset is contiguous along the vector axis, else 0.
  int64_t contiguous_vectors(const Expr& offset, DType dtype, AxisSet box) const {
    if (!varies_along_vector(box)) return 0;
    const AxisSet vector_bit = AxisSet{1} << info_->vector_axis;
    const index::Linear linear = index::to_linear(offset);
    if (linear.coefficient(info_->axis_variables[info_->vector_axis]) != 1) return 0;
    if (info_->axes_of(linear.rest) & vector_bit) return 0;
    const int64_t in_register = std::max<int64_t>(1, lanes_ * 4 / size_bytes(dtype));
    return ceil_div(info_->extents[info_->vector_axis], in_register) *
           info_->num_points(box & ~vector_bit);
  }

  const Kernel& kernel_;
  int lanes_;
  std::vector<int64_t> values_;  // by variable
  std::map<const Tile*, std::unique_ptr<TileInfo>> infos_;
  const TileInfo* info_ = nullptr;
  std::map<std::pair<const TileInfo*, Register>, const TileTable*> tables_;
};

}  // namespace

Statistics statistics(const Kernel& kernel, std::span<const int64_t> params, int64_t partitions,
                      int lanes) {
  return Counter(kernel, params, lanes).run(partitions);
}

}  // namespace corf::loop
