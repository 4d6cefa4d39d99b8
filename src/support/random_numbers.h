#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace corf {

/// Numbers that follow from a key and their place alone: the same whoever computes them, in any
/// order, on any number of threads. Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
/// as 1, 2, 3", SC 2011).
struct RandomStream {
  uint64_t key = 0;
  uint32_t stream = 0;  // of those that share a key
  uint32_t run = 0;     // of a stream
};

using RandomWords = std::array<uint32_t, 4>;
/// The cipher itself: four words for a counter.
RandomWords philox(RandomWords counter, uint64_t key);

/// `factor` * number + `offset` of numbers uniform in [0, 1), or of mean 0 and deviation 1.
struct RandomDistribution {
  bool is_normal = false;  // by Box and Muller's transform
  double factor = 1, offset = 0;
};

/// Elements `first`, `first` + 1, ... of the stream; `first` is a multiple of kRandomBlock.
constexpr int64_t kRandomBlock = 4;
void fill_random(const RandomDistribution& distribution, const RandomStream& stream, int64_t first,
                 std::span<float> numbers);
void fill_random(const RandomDistribution& distribution, const RandomStream& stream, int64_t first,
                 std::span<double> numbers);

}  // namespace corf
