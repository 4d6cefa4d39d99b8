#pragma once
#include <functional>
#include <map>

#include "rewrite/winograd.h"
#include "support/at_fork.h"
#include "target/machine.h"

namespace corf::driver {

/// Output tiles that were predicted for one model's convolutions, for other sizes of its images.
/// Threads may share it.
class KnownTiles {
 public:
  using Tiles = std::map<rewrite::WinogradShape, int>;
  Tiles all() const;
  void insert(const rewrite::WinogradShape& shape, int tile);

 private:
  static constexpr size_t kMostKept = 1024;
  mutable BriefMutex mutex_;
  Tiles tiles_;
};

/// Winograd's output tile for a convolution: that with which it is predicted to take the least
/// time, each of its operators alone, of those whose typical error is at most 1e-5; 0 where the
/// direct convolution is no slower. Each shape is looked at once.
///
/// With `known`, a shape that is near one of an earlier call of this function takes over the tile
/// of that one: with as many channels, at most half as many points more or fewer, and results that
/// fill tiles of any size about as well. Test: tests/driver/predicted_tile_test.cpp
std::function<int(const rewrite::WinogradShape&)> predicted_output_tile(
    const Machine& machine, KnownTiles* known = nullptr);

}  // namespace corf::driver
