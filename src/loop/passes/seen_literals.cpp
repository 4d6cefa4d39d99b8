#include "loop/passes/seen_literals.h"

#include <algorithm>
#include <fmt/format.h>

#include "loop/kernel_key.h"

namespace corf::loop {
namespace {

constexpr size_t kMostSeen = 16, kMostKinds = 4096;

int64_t num_tiles(const std::vector<Stmt>& body) {
  int64_t count = 0;
  for (const Stmt& stmt : body) {
    const auto* loop = std::get_if<For>(&stmt);
    count += loop ? num_tiles(loop->body) : 1;
  }
  return count;
}

}  // namespace

void Literals::add(const Values& values) {
  if (std::ranges::count(seen_, values) > 0) return;
  drop_first(seen_, kMostSeen - 1);
  seen_.push_back(values);
}

Values Literals::of(size_t literal) const {
  Values column;
  for (const Values& values : seen_) column.push_back(values[literal]);
  return column;
}

bool Literals::vary(size_t literal) const {
  return std::ranges::any_of(
      seen_, [&](const Values& values) { return values[literal] != seen_.front()[literal]; });
}

Lifted SeenLiterals::lift(const Kernel& kernel, const std::string& nodes, int64_t lanes) {
  auto& [first, dear] = dear_[fmt::format("{} {}", nodes, num_tiles(kernel.body))];
  dear.lanes = lanes;
  Lifted lifted = lift_literals(kernel, &dear);
  if (lifted.dear == first) return lifted;
  std::vector<bool> vary(lifted.dear.size(), false);
  if (first.size() == vary.size()) {
    for (size_t i = 0; i < vary.size(); ++i) vary[i] = dear.vary[i] || first[i] != lifted.dear[i];
  } else {
    first = lifted.dear;
  }
  if (dear.vary == vary) return lifted;
  dear.vary = std::move(vary);
  return lift_literals(kernel, &dear);
}

const Literals* SeenLiterals::add(const Kernel& lifted, const Values& values) {
  Literals& literals = literals_[kernel_key(
      lifted, {.scratch_sizes = true, .unrolling = true, .tile_extents = true})];
  literals.add(values);
  return &literals;
}

void SeenLiterals::forget_where_many() {
  if (literals_.size() > kMostKinds) literals_.clear();
  if (dear_.size() > kMostKinds) dear_.clear();
}

}  // namespace corf::loop
