#include "tests/fuzz/targets.h"

#include <random>

namespace corf::fuzz {

std::vector<std::vector<uint8_t>> random_seeds(uint32_t seed, size_t count, size_t most_bytes) {
  std::mt19937 random(seed);
  std::vector<std::vector<uint8_t>> seeds(count);
  for (std::vector<uint8_t>& bytes : seeds) {
    bytes.resize(1 + random() % most_bytes);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  }
  return seeds;
}

}  // namespace corf::fuzz
