#include "tests/fusion/productions.h"

#include <algorithm>
#include <limits>
#include <map>

#include "fusion/matrix.h"
#include "fusion/walk_rows.h"
#include "support/checked.h"

namespace corf::test {
namespace {

class Run {
 public:
  Run(const loop::Kernel& kernel, const fusion::Walk& walk)
      : kernel_(kernel),
        num_outer_(static_cast<size_t>(walk.stream_loop())),
        walk_(walk),
        rows_(fusion::row_expressions(walk)),
        values_(kernel.var_names.size()),
        counts_(walk.rings.size()) {}

  /// By ring: how often each element is computed.
  const std::vector<std::map<RingElement, int64_t>>& run(int64_t partition) {
    values_[0] = partition;
    run(kernel_.body);
    return counts_;
  }

 private:
  void run(const std::vector<loop::Stmt>& body) {
    for (const loop::Stmt& stmt : body) {
      if (const auto* loop = std::get_if<loop::For>(&stmt)) {
        const int64_t hi = index::evaluate(loop->hi, values_);
        for (int64_t i = index::evaluate(loop->lo, values_); i < hi; i += loop->step) {
          values_[static_cast<size_t>(loop->var)] = i;
          run(loop->body);
        }
        continue;
      }
      const auto& tile = std::get<loop::Tile>(stmt);
      std::vector<const loop::TileStore*> parts;
      for (const loop::TileStmt& inner : tile.body) {
        const auto* store = std::get_if<loop::TileStore>(&inner);
        const int ring = store ? store->buffer - static_cast<int>(kernel_.buffers.size()) : -1;
        if (ring < 0 || ring >= static_cast<int>(counts_.size())) continue;
        if (lies_in_parts(ring)) {
          // Several stores of one element; how far they lie apart tells the layout.
          parts.push_back(store);
          if (parts.size() != 2) continue;
          part_step_ = index::to_linear(store->offset - parts[0]->offset).constant;
          points(tile, 0, *parts[0], ring);
          continue;
        }
        if (!stores_zeros(tile)) points(tile, 0, *store, ring);
      }
    }
  }

  bool lies_in_parts(int ring) const {
    return kernel_.scratch[static_cast<size_t>(ring)].dtype == DType::kBF16;
  }

  /// Address in a ring of f32 of what lies in parts (lower::KernelBuilder::Lines).
  int64_t whole_address(int ring, int64_t address) const {
    if (!lies_in_parts(ring)) return address;
    constexpr int64_t kBlock = fusion::kMatrixChannels, kParts = fusion::kParts;
    int64_t pitch = std::numeric_limits<int64_t>::max();
    for (int64_t stride : walk_.rings[static_cast<size_t>(ring)].place.strides) {
      if (stride > 1) pitch = std::min(pitch, stride);
    }
    if (part_step_ != kBlock) {
      const int64_t line_step = kParts * part_step_ + kBlock;
      return address / line_step * pitch + address % line_step;
    }
    const int64_t size = kernel_.scratch[static_cast<size_t>(ring)].size_elems;
    const int64_t block_step = size / (pitch / kBlock), in_block = address % block_step;
    return in_block / (kParts * kBlock) * pitch + address / block_step * kBlock +
           in_block % (kParts * kBlock);
  }

  /// Whether the tile stores zeros.
  static bool stores_zeros(const loop::Tile& tile) {
    if (tile.body.size() != 2) return false;
    const auto* let = std::get_if<loop::TileLet>(&tile.body[0]);
    if (!let) return false;
    return std::holds_alternative<loop::TileConstant>(let->value);
  }

  void points(const loop::Tile& tile, size_t axis, const loop::TileStore& store, int ring) {
    if (axis < tile.axes.size()) {
      // Along an unrolled reduction the tile stores one result.
      const bool along = index::depends_on(store.offset, tile.axes[axis].var);
      for (int64_t i = 0; i < (along ? tile.axes[axis].extent : 1); ++i) {
        values_[static_cast<size_t>(tile.axes[axis].var)] = i;
        points(tile, axis + 1, store, ring);
      }
      return;
    }
    for (const loop::Guard& guard : store.guards) {
      const int64_t at = index::evaluate(guard.expr, values_);
      if (at < guard.lo || at >= guard.hi) return;
    }
    const int64_t address = whole_address(ring, index::evaluate(store.offset, values_));
    ++counts_[static_cast<size_t>(ring)][element(ring, address)];
  }

  /// The loops over blocks and strips have the variables behind the partition's.
  RingElement element(int number, int64_t address) const {
    const fusion::WalkRing& ring = walk_.rings[static_cast<size_t>(number)];
    const fusion::WalkStage& stage = walk_.stages[static_cast<size_t>(ring.stages[0])];
    const int64_t stride = ring.place.strides[stage.stream_dim];
    const int64_t slot = address / stride % ring.rows;
    const int64_t at[] = {values_[0], values_[num_outer_ + 1]};
    const int64_t first = index::evaluate(rows_.rings[static_cast<size_t>(number)].first, at);
    const bool turns = ring.place.turning_dim >= 0;
    const int64_t row = turns ? first + floor_mod(slot - first, ring.rows) : first + slot;
    int64_t block = 0;
    for (size_t i = 0; i < num_outer_; ++i) block = block * 1024 + values_[i + 1];
    return {block, row, address - slot * stride};
  }

  const loop::Kernel& kernel_;
  size_t num_outer_;
  const fusion::Walk& walk_;
  const fusion::RowExpressions rows_;
  std::vector<int64_t> values_;  // of the kernel's variables
  std::vector<std::map<RingElement, int64_t>> counts_;
  int64_t part_step_ = 0;  // of the ring in parts at hand
};

}  // namespace

std::vector<Productions> count_productions(const loop::Kernel& kernel, int64_t partitions,
                                           const fusion::Walk& walk) {
  std::vector<Productions> result(walk.rings.size());
  for (int64_t part = 0; part < partitions; ++part) {
    Run run(kernel, walk);
    const auto& counts = run.run(part);
    for (size_t ring = 0; ring < counts.size(); ++ring) {
      result[ring].elements.emplace_back();
      for (const auto& [element, count] : counts[ring]) {
        result[ring].most = std::max(result[ring].most, count);
        result[ring].elements.back().insert(element);
      }
    }
  }
  return result;
}

}  // namespace corf::test
