#pragma once
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "loop/interpret.h"
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

inline Program parse(const std::string& text) {
  Result<Program> program = parse_program(text);
  EXPECT_TRUE(program.ok()) << program.error().message;
  return program.ok() ? program.take() : Program{};
}

/// Checks that both programs are sound and give equal bits.
inline void expect_same(const Program& a, const Program& b, const std::vector<Tensor>& inputs) {
  Result<std::vector<Tensor>> from_a = interpret(a, inputs), from_b = interpret(b, inputs);
  ASSERT_TRUE(from_a.ok()) << from_a.error().message;
  ASSERT_TRUE(from_b.ok()) << from_b.error().message << "\n" << to_string(b);
  ASSERT_EQ(from_a->size(), from_b->size());
  for (size_t i = 0; i < from_a->size(); ++i) {
    EXPECT_EQ(data_hash((*from_a)[i]), data_hash((*from_b)[i])) << i;
  }
}

}  // namespace corf::loop
