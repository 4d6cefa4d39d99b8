#include "runtime/share_constants.h"

#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include "runtime/file.h"
#include "tests/runtime/small_kernels.h"

namespace corf::runtime {
namespace {

constexpr int64_t kElems = 2048, kBytes = kElems * 4;

/// y = w0 + 0 | w1 + 0 | w2 + 0: each w is a constant of kElems equal numbers.
ExecutableSpec weights_spec(const std::vector<float>& weights) {
  const auto count = static_cast<int64_t>(weights.size());
  ExecutableSpec spec;
  spec.image = small_kernels();
  spec.constants = Tensor(DType::kU8, {count * kBytes});
  spec.constants_in_place = true;
  for (int64_t i = 0; i < count; ++i) {
    std::fill_n(spec.constants.data<float>() + i * kElems, kElems, weights[i]);
    spec.outputs.push_back({"y" + std::to_string(i), DType::kF32, {kElems}});
    spec.buffers.push_back({BufferPlace::Kind::kConstant, i * kBytes, -1, kBytes});
    spec.buffers.push_back({BufferPlace::Kind::kOutput, 0, static_cast<int>(i), kBytes});
    spec.steps.push_back(KernelStep{
        kAddParam, {static_cast<int>(2 * i), static_cast<int>(2 * i) + 1}, {0}, kElems, "copy"});
  }
  return spec;
}

std::vector<float> results_of(Executable& executable) {
  std::vector<std::vector<float>> y(executable.outputs().size(), std::vector<float>(kElems, -1));
  std::vector<void*> outputs;
  for (auto& values : y) outputs.push_back(values.data());
  const Status status = executable.run({}, outputs);
  EXPECT_TRUE(status.ok()) << status.error().message;
  std::vector<float> first_and_last;
  for (const auto& values : y) {
    first_and_last.push_back(values.front());
    first_and_last.push_back(values.back());
  }
  return first_and_last;
}

std::shared_ptr<Executable> load_shared(const std::vector<float>& weights) {
  ExecutableSpec spec = weights_spec(weights);
  share_constants(spec);
  auto loaded = Executable::load(std::move(spec), Team::create(1).take());
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  return loaded.take();
}

TEST(SharedConstants, EqualOnesAreThereOnce) {
  const auto first = load_shared({1, 2, 3});
  EXPECT_TRUE(first->spec().shared_constants.empty());
  const auto second = load_shared({2, 7, 1});
  ASSERT_EQ(second->spec().shared_constants.size(), 2u);
  EXPECT_EQ(second->spec().constants.size_bytes(), kBytes) << "the others are given back";
  EXPECT_EQ(second->spec().shared_constants[0].bytes(), first->spec().constants.bytes() + kBytes);
  EXPECT_EQ(second->spec().shared_constants[1].bytes(), first->spec().constants.bytes());
  const auto third = load_shared({7, 3});
  EXPECT_EQ(third->spec().shared_constants.size(), 2u) << "of two executables";
  EXPECT_EQ(results_of(*first), (std::vector<float>{1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(results_of(*second), (std::vector<float>{2, 2, 7, 7, 1, 1}));
  EXPECT_EQ(results_of(*third), (std::vector<float>{7, 7, 3, 3}));
  EXPECT_EQ(constant_bytes(second->spec()), 3 * kBytes);
}

TEST(SharedConstants, StayAsLongAsSomebodyHasThem) {
  auto first = load_shared({11, 12});
  const auto second = load_shared({12, 13});
  first.reset();
  EXPECT_EQ(results_of(*second), (std::vector<float>{12, 12, 13, 13}));
  const auto third = load_shared({12});
  EXPECT_EQ(third->spec().shared_constants.size(), 1u) << "the second has them still";
}

TEST(SharedConstants, AreFreedWithTheirLastOwner) {
  load_shared({21, 22});
  EXPECT_TRUE(load_shared({21, 22})->spec().shared_constants.empty());
}

TEST(SharedConstants, ThoseThatDifferInOneByteAreApart) {
  ExecutableSpec one = weights_spec({31}), other = weights_spec({31});
  other.constants.bytes()[kBytes - 1] ^= std::byte{1};
  share_constants(one);
  share_constants(other);
  EXPECT_TRUE(other.shared_constants.empty());
}

TEST(SharedConstants, AreWrittenToFilesAsOwnOnes) {
  const auto first = load_shared({41, 42});
  const auto second = load_shared({42, 43});
  ASSERT_EQ(second->spec().shared_constants.size(), 1u);
  auto read = from_bytes(to_bytes(second->spec()));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_TRUE(read->shared_constants.empty());
  EXPECT_EQ(read->constants.size_bytes(), 2 * kBytes);
  const auto loaded = Executable::load(read.take(), Team::create(1).take()).take();
  EXPECT_EQ(results_of(*loaded), (std::vector<float>{42, 42, 43, 43}));
}

TEST(SharedConstants, WorkWithGuardPages) {
  const auto first = load_shared({51});
  ExecutableSpec spec = weights_spec({52, 51});
  share_constants(spec);
  ASSERT_EQ(spec.shared_constants.size(), 1u);
  const auto loaded =
      Executable::load(std::move(spec), Team::create(1).take(), {.guard_pages = true}).take();
  EXPECT_EQ(results_of(*loaded), (std::vector<float>{52, 52, 51, 51}));
}

TEST(SharedConstants, ABlockThatIsNotThereIsRefused) {
  ExecutableSpec spec = weights_spec({61});
  for (const int block : {1, -1}) {
    spec.buffers[0].block = block;
    EXPECT_FALSE(verify_spec(spec).ok());
  }
}

}  // namespace
}  // namespace corf::runtime
