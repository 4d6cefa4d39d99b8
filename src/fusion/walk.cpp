#include "fusion/walk.h"

namespace corf::fusion {

const Storage* WalkRing::place_of(graph::ValueId id) const {
  if (id == value) return &place;
  for (const auto& [view, own] : views) {
    if (view == id) return &own;
  }
  return nullptr;
}

const WalkRing* Walk::ring_of(graph::ValueId value) const {
  for (const WalkRing& ring : rings) {
    if (ring.place_of(value)) return &ring;
  }
  return nullptr;
}

const Storage& StorageView::place(graph::ValueId value) const {
  const WalkRing* ring = walk_ ? walk_->ring_of(value) : nullptr;
  return ring ? *ring->place_of(value) : plan_->values[value];
}

const Root& StorageView::root(int number) const {
  if (walk_) {
    for (const WalkRing& ring : walk_->rings) {
      if (ring.place.root == number) return ring.root;
    }
  }
  return plan_->roots[number];
}

int64_t ring_bytes(const Walk& walk) {
  int64_t bytes = 0;
  for (const WalkRing& ring : walk.rings)
    bytes += ring.root.size_elems * size_bytes(ring.root.dtype);
  return bytes;
}

}  // namespace corf::fusion
