#pragma once
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "loop/text.h"

namespace corf::loop {

inline std::string golden_path(const std::string& name) {
  return std::string(CORF_SOURCE_DIR) + "/tests/loop/" + name;
}

/// Names of the .corf files beside the tests.
inline std::vector<std::string> golden_files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_path(""))) {
    if (entry.path().extension() == ".corf") names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline std::string read_golden(const std::string& name) {
  std::ifstream file(golden_path(name));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Whole numbers in [-2, 2], for which sums are exact.
inline Tensor small_integers(int64_t size_elems, uint32_t seed, DType dtype = DType::kF32) {
  std::mt19937 random(seed);
  Tensor tensor(dtype, {size_elems});
  for (int64_t i = 0; i < size_elems; ++i) {
    tensor.set_f64(i, static_cast<double>(random() % 5) - 2);
  }
  return tensor;
}

}  // namespace corf::loop
