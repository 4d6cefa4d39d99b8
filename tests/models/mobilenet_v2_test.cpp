#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <random>

#include "driver/pipeline.h"
#include "fusion/text.h"
#include "graph/text.h"
#include "loop/text.h"
#include "mapping/analyze.h"
#include "runtime/executable.h"

namespace corf {
namespace {

// Instrumented, a run takes so long that fewer must do: the sanitizers look at each alike.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRuns = 10;
#else
constexpr int kRuns = 100;
#endif

const std::string kPath = std::string(CORF_SOURCE_DIR) + "/build/zoo/mobilenet_v2.onnx";

class MobileNetV2 : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kPath)) {
      GTEST_SKIP() << kPath << " is missing: run benchmarks/zoo";
    }
    auto model = onnx::load_model(kPath);
    ASSERT_TRUE(model) << model.error().message;
    driver::CompileOptions options;
    options.threads = 2;
    options.verify_each = true;
    auto pipeline = driver::run_pipeline(**model, options, driver::Stage::kLlvm);
    ASSERT_TRUE(pipeline) << pipeline.error().message;
    pipeline_ = pipeline.take();
  }
  driver::Pipeline pipeline_;
};

TEST_F(MobileNetV2, GraphTextParsesBack) {
  const std::string text = graph::to_string(pipeline_.graph);
  auto parsed = graph::parse(text, graph::constants_by_hash(pipeline_.graph));
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(text, graph::to_string(*parsed));
}

TEST_F(MobileNetV2, MappingTextParsesBack) {
  auto table = mapping::analyze(pipeline_.graph);
  ASSERT_TRUE(table) << table.error().message;
  const std::string text = mapping::to_string(*table);
  auto parsed = mapping::parse(text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(text, mapping::to_string(*parsed));
}

TEST_F(MobileNetV2, PlanTextParsesBack) {
  const std::string text = fusion::to_string(pipeline_.graph, pipeline_.plan);
  auto parsed = fusion::parse_plan(pipeline_.graph, text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(text, fusion::to_string(pipeline_.graph, *parsed));
}

TEST_F(MobileNetV2, LoopTextParsesBack) {
  const std::string text = loop::to_string(pipeline_.program);
  auto parsed = loop::parse_program(text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(text, loop::to_string(*parsed));
}

TEST_F(MobileNetV2, OnePlanGivesTheSameBitsAtAnyThreadCount) {
  auto spec = driver::generate(pipeline_);
  ASSERT_TRUE(spec) << spec.error().message;
  Tensor input(DType::kF32, {1, 3, 224, 224});
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < input.num_elems(); ++i) input.data<float>()[i] = normal(random);
  Tensor first(DType::kF32, {1, 1000}), output(DType::kF32, {1, 1000});
  const void* in[] = {input.bytes()};
  for (int size : {1, 2, 3, 5}) {
    auto team = runtime::Team::create(size);
    ASSERT_TRUE(team) << team.error().message;
    auto executable = runtime::Executable::load(*spec, *team);
    ASSERT_TRUE(executable) << executable.error().message;
    for (int run = 0; run < kRuns; ++run) {
      Tensor& to = size == 1 && run == 0 ? first : output;
      void* out[] = {to.bytes()};
      ASSERT_TRUE((*executable)->run(in, out));
      if (&to == &output) {
        ASSERT_EQ(0, std::memcmp(first.bytes(), output.bytes(), output.size_bytes()))
            << "run " << run << " with " << size << " workers";
      }
    }
  }
}

}  // namespace
}  // namespace corf
