#include <gtest/gtest.h>
#include <random>
#include <span>

#include "runtime/routines/routine.h"
#include "runtime/team.h"
#include "support/checked.h"

namespace corf::runtime {
namespace {

/// So many updates are shared out; of fewer the first worker tells.
constexpr int64_t kShared = 1 << 12;

struct Case {
  Tensor data, indices, updates;
  std::map<std::string, RoutineAttribute> attributes;
};

template <typename T>
std::span<T> elems(Tensor& tensor) {
  return {reinterpret_cast<T*>(tensor.bytes()), static_cast<size_t>(tensor.num_elems())};
}

/// What the routine makes of the case with so many workers.
Result<std::vector<float>> run_with(int workers, std::string_view name, const Case& c) {
  Tensor result(DType::kF32, c.data.shape());
  RoutineCall call{c.attributes, {}, {{DType::kF32, c.data.shape()}}};
  for (const Tensor* t : {&c.data, &c.indices, &c.updates}) {
    call.inputs.push_back({t->dtype(), t->shape()});
  }
  CORF_ASSIGN(const PreparedRoutine routine, prepare_routine(name, call));
  const std::vector<const void*> from = {c.data.bytes(), c.indices.bytes(), c.updates.bytes()};
  const std::vector<void*> to = {result.bytes()};
  const auto team = Team::create(workers).take();
  std::vector<Status> statuses(static_cast<size_t>(workers));
  team->run([&](const Worker& worker) {
    statuses[static_cast<size_t>(worker.number)] = routine(from, to, worker);
  });
  for (const Status& status : statuses) {
    if (c.updates.num_elems() >= kShared) {
      EXPECT_EQ(status.ok(), statuses[0].ok());
    }
    if (!status.ok() && !statuses[0].ok()) {
      EXPECT_EQ(status.error().message, statuses[0].error().message);
    }
  }
  CORF_RETURN_IF_ERROR(statuses[0]);
  return std::vector<float>(result.elems<float>().begin(), result.elems<float>().end());
}

class SharedScatter : public testing::Test {
 protected:
  int64_t pick(int64_t lo, int64_t hi) {
    return std::uniform_int_distribution<int64_t>(lo, hi)(random_);
  }
  Tensor floats(const Shape& shape) {
    Tensor tensor(DType::kF32, shape);
    for (float& x : elems<float>(tensor)) x = static_cast<float>(pick(-1000, 1000)) / 7;
    return tensor;
  }
  Tensor indices_below(const Shape& shape, int64_t extent) {
    Tensor tensor(DType::kI64, shape);
    for (int64_t& x : elems<int64_t>(tensor)) x = pick(-extent, extent - 1);
    return tensor;
  }

  static float combined(const std::string& how, float old, float update) {
    return how == "add" ? old + update : how == "max" ? std::max(old, update) : update;
  }

  std::mt19937 random_{7};
};

TEST_F(SharedScatter, ElementsAreTheSameOnEveryTeam) {
  for (int trial = 0; trial < 30; ++trial) {
    const auto rank = static_cast<size_t>(pick(1, 4));
    const auto axis = static_cast<size_t>(pick(0, static_cast<int64_t>(rank) - 1));
    Shape data, updates;
    for (size_t d = 0; d < rank; ++d) {
      data.push_back(pick(1, d + 1 == rank ? 80 : 9));
      updates.push_back(d == axis ? pick(1, 200) : pick(0, 3) > 0 ? data[d] : pick(1, data[d]));
    }
    const std::string how = std::vector<std::string>{"none", "add", "max"}[trial % 3];
    Case c{floats(data), indices_below(updates, data[axis]), floats(updates), {}};
    c.attributes = {{"axis", static_cast<int64_t>(axis)}, {"reduction", how}};
    // Rows of equal indices, as those that were expanded from one.
    const std::span<int64_t> indices = elems<int64_t>(c.indices);
    if (trial % 2 == 0) {
      for (size_t i = 0; i < indices.size(); ++i) {
        indices[i] = indices[i - i % static_cast<size_t>(updates.back())];
      }
    }
    std::vector<float> expected(c.data.elems<float>().begin(), c.data.elems<float>().end());
    const std::vector<int64_t> strides = row_major_strides(data);
    for (int64_t i = 0; i < c.updates.num_elems(); ++i) {
      int64_t at = 0, rest = i;
      for (size_t d = rank; d-- > 0; rest /= updates[d]) {
        const int64_t index = indices[static_cast<size_t>(i)];
        const int64_t target = index < 0 ? index + data[axis] : index;
        at += (d == axis ? target : rest % updates[d]) * strides[d];
      }
      float& element = expected[static_cast<size_t>(at)];
      element = combined(how, element, c.updates.elems<float>()[static_cast<size_t>(i)]);
    }
    for (const int workers : {1, 2, 3, 5}) {
      const auto result = run_with(workers, "ScatterElements", c);
      ASSERT_TRUE(result) << result.error().message;
      EXPECT_EQ(*result, expected) << "trial " << trial << ", " << workers << " workers";
    }
  }
}

TEST_F(SharedScatter, SlicesAreTheSameOnEveryTeam) {
  for (int trial = 0; trial < 30; ++trial) {
    const int64_t rows = pick(1, 9), columns = pick(1, 9), run = pick(1, 90);
    const int64_t points = pick(1, 400), depth = pick(1, 3);
    const Shape data = {rows, columns, run};
    Shape updates = {points};
    updates.insert(updates.end(), data.begin() + depth, data.end());
    const std::string how = std::vector<std::string>{"none", "add", "max"}[trial % 3];
    Case c{floats(data), Tensor(DType::kI64, {points, depth}), floats(updates), {}};
    c.attributes = {{"reduction", how}};
    std::vector<float> expected(c.data.elems<float>().begin(), c.data.elems<float>().end());
    const std::vector<int64_t> strides = row_major_strides(data);
    const int64_t slice = c.updates.num_elems() / points;
    for (int64_t p = 0; p < points; ++p) {
      int64_t at = 0;
      for (int64_t d = 0; d < depth; ++d) {
        const int64_t extent = data[static_cast<size_t>(d)], index = pick(-extent, extent - 1);
        elems<int64_t>(c.indices)[static_cast<size_t>(p * depth + d)] = index;
        at += (index < 0 ? index + extent : index) * strides[static_cast<size_t>(d)];
      }
      for (int64_t i = 0; i < slice; ++i) {
        float& element = expected[static_cast<size_t>(at + i)];
        element =
            combined(how, element, c.updates.elems<float>()[static_cast<size_t>(p * slice + i)]);
      }
    }
    for (const int workers : {1, 2, 3, 5}) {
      const auto result = run_with(workers, "ScatterND", c);
      ASSERT_TRUE(result) << result.error().message;
      EXPECT_EQ(*result, expected) << "trial " << trial << ", " << workers << " workers";
    }
  }
}

/// Whichever worker finds it, all name the first one.
TEST_F(SharedScatter, TheFirstIndexOutsideIsNamed) {
  for (const int64_t run : {2, 200}) {
    Case c{floats({10, run}), indices_below({4000, run}, 10), floats({4000, run}), {}};
    const std::span<int64_t> indices = elems<int64_t>(c.indices);
    indices[static_cast<size_t>(300 * run)] = 99;
    indices[static_cast<size_t>(200 * run + run - 1)] = -17;
    for (const int workers : {1, 2, 3, 5}) {
      const auto result = run_with(workers, "ScatterElements", c);
      ASSERT_FALSE(result.ok());
      EXPECT_NE(result.error().message.find("-17"), std::string::npos) << result.error().message;
    }
  }
}

}  // namespace
}  // namespace corf::runtime
