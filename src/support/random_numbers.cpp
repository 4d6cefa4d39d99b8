#include "support/random_numbers.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace corf {
namespace {

RandomWords words_of(const RandomStream& stream, int64_t block) {
  const auto number = static_cast<uint64_t>(block);
  return philox({static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32), stream.stream,
                 stream.run},
                stream.key);
}

/// In [0, 1), as many bits as the type holds.
template <typename T>
T share(const RandomWords& words, int number) {
  if constexpr (sizeof(T) == 4) {
    return static_cast<float>(words[number] >> 8) * 0x1p-24F;
  } else {
    const uint64_t wide = uint64_t{words[2 * number + 1]} << 32 | words[2 * number];
    return static_cast<double>(wide >> 11) * 0x1p-53;
  }
}

/// How many numbers of a type four words hold.
template <typename T>
constexpr int kPerBlock = 16 / sizeof(T);

template <typename T>
using Numbers = std::array<T, kPerBlock<T>>;

template <typename T>
Numbers<T> uniform_numbers(const RandomWords& words) {
  Numbers<T> numbers;
  for (int i = 0; i < kPerBlock<T>; ++i) numbers[i] = share<T>(words, i);
  return numbers;
}

template <typename T>
Numbers<T> normal_numbers(const RandomWords& words) {
  Numbers<T> numbers;
  for (int i = 0; i < kPerBlock<T>; i += 2) {
    const T radius = std::sqrt(-2 * std::log(1 - share<T>(words, i)));  // of (0, 1]
    const T angle = 2 * std::numbers::pi_v<T> * share<T>(words, i + 1);
    numbers[i] = radius * std::cos(angle);
    numbers[i + 1] = radius * std::sin(angle);
  }
  return numbers;
}

template <typename T>
void fill(const RandomDistribution& distribution, const RandomStream& stream, int64_t first,
          std::span<T> numbers) {
  const T factor = static_cast<T>(distribution.factor),
          offset = static_cast<T>(distribution.offset);
  for (int64_t block = first / kPerBlock<T>; !numbers.empty(); ++block) {
    const RandomWords words = words_of(stream, block);
    const Numbers<T> made =
        distribution.is_normal ? normal_numbers<T>(words) : uniform_numbers<T>(words);
    const size_t count = std::min(numbers.size(), made.size());
    for (size_t i = 0; i < count; ++i) numbers[i] = factor * made[i] + offset;
    numbers = numbers.subspan(count);
  }
}

}  // namespace

RandomWords philox(RandomWords counter, uint64_t key) {
  auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ low, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ high, static_cast<uint32_t>(a)};
    low += 0x9E3779B9;
    high += 0xBB67AE85;
  }
  return counter;
}

void fill_random(const RandomDistribution& distribution, const RandomStream& stream, int64_t first,
                 std::span<float> numbers) {
  fill(distribution, stream, first, numbers);
}
void fill_random(const RandomDistribution& distribution, const RandomStream& stream, int64_t first,
                 std::span<double> numbers) {
  fill(distribution, stream, first, numbers);
}

}  // namespace corf
