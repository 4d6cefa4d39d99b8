#include <corf/corf.hpp>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <thread>

namespace {

const std::string kPath = std::string(CORF_SOURCE_DIR) + "/build/zoo/squeezenet1_1.onnx";

/// One session of a whole network, run from four threads: each gets its own input's result, with
/// the bits that a run without company gives.
TEST(ConcurrentRuns, GiveTheSameBits) {
  if (!std::filesystem::exists(kPath)) GTEST_SKIP() << kPath << " is missing: run benchmarks/zoo";
  corf::Session session(kPath, {{"threads", "2"}});
  const std::string input = session.inputs().at(0).name;
  const auto image = [&](int seed) {
    corf::Array x(input, CORF_F32, {1, 3, 224, 224});
    for (size_t i = 0; i < x.num_elems(); ++i) {
      x.data<float>()[i] = static_cast<float>((i * 31 + i / 224 + size_t(seed) * 7) % 255) / 255.0f;
    }
    return x;
  };
  const auto bits = [&](const corf::Array& x) {
    const corf::Array y = session.run({x}).at(0);
    return std::string(static_cast<const char*>(y.bytes()), y.size_bytes());
  };
  constexpr int kCallers = 4;
  std::vector<corf::Array> images;
  std::vector<std::string> expected;
  for (int caller = 0; caller < kCallers; ++caller) {
    images.push_back(image(caller));
    expected.push_back(bits(images.back()));
  }
  ASSERT_NE(expected[0], expected[1]);
  std::vector<std::string> wrong(kCallers);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      for (int run = 0; run < 5; ++run) {
        if (bits(images[caller]) != expected[caller]) wrong[caller] += std::to_string(run) + " ";
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (int caller = 0; caller < kCallers; ++caller) EXPECT_EQ(wrong[caller], "") << caller;
}

}  // namespace
