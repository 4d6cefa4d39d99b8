#include "memory/assign.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "support/budget.h"
#include "support/checked.h"

namespace corf::memory {
namespace {

constexpr int64_t kAlignmentBytes = 64;

struct Block {
  int buffer = 0;
  int64_t size_bytes = 0;
  LiveRange range;
  int64_t offset_bytes = 0;

  int64_t end_bytes() const { return offset_bytes + size_bytes; }
  int length() const { return range.last - range.first; }
};

bool meet(const LiveRange& a, const LiveRange& b) { return a.first <= b.last && b.first <= a.last; }

/// Puts the blocks one after another into the smallest gap between those that are alive with
/// them; the end of the highest one.
int64_t place(std::vector<Block>& blocks) {
  int64_t total = 0;
  std::vector<const Block*> placed;  // by offset
  for (Block& block : blocks) {
    look_at_budget();
    int64_t best = std::numeric_limits<int64_t>::max(), best_gap = best, end = 0;
    for (const Block* other : placed) {
      if (!meet(other->range, block.range)) continue;
      const int64_t gap = other->offset_bytes - end;
      if (gap >= block.size_bytes && gap < best_gap) {
        best = end;
        best_gap = gap;
      }
      end = std::max(end, other->end_bytes());
    }
    block.offset_bytes = best_gap == std::numeric_limits<int64_t>::max() ? end : best;
    total = std::max(total, block.end_bytes());
    const auto lower = [](const Block* a, const Block* b) {
      return a->offset_bytes < b->offset_bytes;
    };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), &block, lower), &block);
  }
  return total;
}

/// Moves the block that reaches the top to the front of the order, again and again, and keeps the
/// best arena seen: the blocks that are hardest to place come to be placed first.
void improve(std::vector<Block>& best, int64_t& least, int64_t peak_live_bytes) {
  constexpr int64_t kBudget = 20'000'000;  // comparisons of two blocks
  const auto num_blocks = static_cast<int64_t>(best.size());
  const int64_t rounds =
      std::min<int64_t>(64, kBudget / std::max<int64_t>(1, num_blocks * num_blocks));
  std::vector<Block> trial = best;
  for (int64_t round = 0; round < rounds && least > peak_live_bytes; ++round) {
    const auto highest = std::max_element(
        trial.begin(), trial.end(),
        [](const Block& a, const Block& b) { return a.end_bytes() < b.end_bytes(); });
    std::rotate(trial.begin(), highest, highest + 1);
    const int64_t total = place(trial);
    if (total >= least) continue;
    least = total;
    best = trial;
  }
}

/// Tries a few orders and keeps the smallest arena: each is best for some networks.
std::vector<Block> place_best(const std::vector<Block>& blocks, int64_t peak_live_bytes) {
  using Key = std::tuple<int64_t, int64_t, int>;
  using KeyFunction = Key (*)(const Block&);
  const KeyFunction orders[] = {
      [](const Block& b) { return Key{-b.size_bytes, b.range.first, b.buffer}; },
      [](const Block& b) { return Key{-b.length(), -b.size_bytes, b.buffer}; },
      [](const Block& b) { return Key{-b.size_bytes * (1 + b.length()), b.range.first, b.buffer}; },
      [](const Block& b) { return Key{b.range.first, -b.size_bytes, b.buffer}; },
  };
  std::vector<Block> best;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (KeyFunction key : orders) {
    std::vector<Block> trial = blocks;
    std::sort(trial.begin(), trial.end(),
              [&](const Block& a, const Block& b) { return key(a) < key(b); });
    const int64_t total = place(trial);
    if (total >= least) continue;
    least = total;
    best = std::move(trial);
  }
  improve(best, least, peak_live_bytes);
  return best;
}

int64_t peak_live(const std::vector<Block>& blocks, size_t num_steps) {
  std::vector<int64_t> change(num_steps + 1, 0);
  for (const Block& b : blocks) {
    change[b.range.first] += b.size_bytes;
    change[b.range.last + 1] -= b.size_bytes;
  }
  int64_t live = 0, peak = 0;
  for (int64_t c : change) peak = std::max(peak, live += c);
  return peak;
}

int64_t scratch_bytes(const loop::Program& program) {
  int64_t most = 0;
  for (const loop::Step& step : program.steps) {
    const auto* call = std::get_if<loop::KernelCall>(&step);
    if (!call) continue;
    int64_t bytes = 0;
    for (const loop::Scratch& s : program.kernels[call->kernel].scratch) {
      bytes += round_up(s.size_elems * size_bytes(s.dtype), kAlignmentBytes);
    }
    most = std::max(most, bytes);
  }
  return most;
}

}  // namespace

std::vector<LiveRange> live_ranges(const loop::Program& program) {
  std::vector<LiveRange> ranges(program.buffers.size());
  const auto touch = [&](int buffer, int step) {
    LiveRange& range = ranges[buffer];
    if (range.last < range.first) range.first = step;
    range.last = step;
  };
  for (int step = 0; step < static_cast<int>(program.steps.size()); ++step) {
    if (const auto* call = std::get_if<loop::KernelCall>(&program.steps[step])) {
      for (int buffer : call->buffers) touch(buffer, step);
    } else {
      const auto& routine = std::get<loop::RoutineCall>(program.steps[step]);
      for (const loop::RoutineOperand& o : routine.inputs) touch(o.buffer, step);
      for (const loop::RoutineOperand& o : routine.outputs) touch(o.buffer, step);
    }
  }
  return ranges;
}

MemoryPlan assign(const loop::Program& program) {
  MemoryPlan plan;
  plan.offset_bytes.assign(program.buffers.size(), 0);
  const std::vector<LiveRange> ranges = live_ranges(program);
  std::vector<Block> blocks;
  for (int i = 0; i < static_cast<int>(program.buffers.size()); ++i) {
    const loop::Buffer& buffer = program.buffers[i];
    const int64_t bytes = round_up(buffer.size_elems * size_bytes(buffer.dtype), kAlignmentBytes);
    if (buffer.kind == loop::BufferKind::kConstant) {
      if (buffer.is_held) continue;
      plan.offset_bytes[i] = plan.constants_bytes;
      plan.constants_bytes += bytes;
    } else if (buffer.kind == loop::BufferKind::kArena && ranges[i].first <= ranges[i].last) {
      blocks.push_back({i, bytes, ranges[i], 0});
    }
  }
  plan.peak_live_bytes = peak_live(blocks, program.steps.size());
  for (const Block& block : place_best(blocks, plan.peak_live_bytes)) {
    plan.offset_bytes[block.buffer] = block.offset_bytes;
    plan.arena_bytes = std::max(plan.arena_bytes, block.end_bytes());
  }
  plan.scratch_bytes = scratch_bytes(program);
  return plan;
}

}  // namespace corf::memory
