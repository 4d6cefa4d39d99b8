#include "runtime/executable.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <numeric>
#include <set>
#include <thread>

#include "runtime/routines/recurrence_cells.h"
#include "support/checked.h"
#include "tests/runtime/small_kernels.h"

namespace corf::runtime {
namespace {

BufferPlace input(int position, int64_t bytes) {
  return {BufferPlace::Kind::kInput, 0, position, bytes};
}
BufferPlace output(int position, int64_t bytes) {
  return {BufferPlace::Kind::kOutput, 0, position, bytes};
}
BufferPlace arena(int64_t offset, int64_t bytes) {
  return {BufferPlace::Kind::kArena, offset, -1, bytes};
}

constexpr int64_t kElems = 37;
constexpr int64_t kBytes = kElems * 4;

/// y = M(M(x + 3) + 5) + k with M(v)[p] = v[p] + v[n-1-p]; every step reads what other workers
/// wrote in the step before.
ExecutableSpec mirror_spec() {
  ExecutableSpec spec;
  spec.image = small_kernels();
  spec.inputs = {{"x", DType::kF32, {kElems}}};
  spec.outputs = {{"y", DType::kF32, {kElems}}};
  spec.buffers = {input(0, kBytes), arena(0, kBytes), arena(192, kBytes), output(0, kBytes)};
  spec.arena_bytes = 192 + kBytes;
  spec.steps = {
      KernelStep{kAddParam, {0, 1}, {3}, kElems, "first"},
      KernelStep{kMirror, {1, 2}, {kElems}, kElems, "second"},
      KernelStep{kAddParam, {2, 1}, {5}, kElems, "third"},
      KernelStep{kMirror, {1, 3}, {kElems}, kElems, "fourth"},
  };
  return spec;
}

/// y[i] = x[0] + ... + x[i], of numbers that are not negative: a recurrence of one element,
/// h = Relu(x + h), which keeps it in memory of the routine's own; what it adds up has been in
/// the arena.
ExecutableSpec running_sums_spec() {
  ExecutableSpec spec;
  spec.image = small_kernels();
  spec.inputs = {{"x", DType::kF32, {kElems}}};
  spec.outputs = {{"y", DType::kF32, {kElems}}};
  constexpr int64_t kWeightsBytes = kPanel * 4, kBiasBytes = 4;
  const int64_t bias = round_up(kWeightsBytes, kBufferAlignment);
  spec.constants = Tensor(DType::kU8, {bias + kBiasBytes});
  std::memset(spec.constants.bytes(), 0, static_cast<size_t>(bias + kBiasBytes));
  spec.constants.data<float>()[0] = 1;
  spec.buffers = {input(0, kBytes),
                  arena(0, kBytes),
                  {BufferPlace::Kind::kConstant, 0, -1, kWeightsBytes},
                  {BufferPlace::Kind::kConstant, bias, -1, kBiasBytes},
                  output(0, kBytes)};
  spec.arena_bytes = kBytes;
  RoutineStep sums{"RNN",
                   {{"activations", std::string("Relu")}},
                   {{1, DType::kF32, {kElems, 1, 1}},
                    {2, DType::kF32, {1, 1, 1, 1, kPanel}},
                    {3, DType::kF32, {1, 1}}},
                   {{4, DType::kF32, {kElems, 1, 1, 1}}},
                   "sums"};
  spec.steps = {KernelStep{kAddParam, {0, 1}, {0}, kElems, "copy"}, sums};
  return spec;
}

std::vector<float> running_sums_of(const std::vector<float>& x) {
  std::vector<float> y(kElems);
  std::partial_sum(x.begin(), x.end(), y.begin());
  return y;
}

std::vector<float> make_input(float first) {
  std::vector<float> x(kElems);
  for (int64_t i = 0; i < kElems; ++i) x[i] = first + static_cast<float>(i * i % 11);
  return x;
}

std::vector<float> expected_mirror(const std::vector<float>& x) {
  std::vector<float> y(kElems);
  for (int64_t i = 0; i < kElems; ++i) y[i] = 2 * (x[i] + x[kElems - 1 - i] + 6 + 5);
  return y;
}

std::vector<float> run_on(Executable& executable, const std::vector<float>& x) {
  std::vector<float> y(kElems, -1);
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  const Status status = executable.run(inputs, outputs);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return y;
}

class ExecutableWithTeam : public testing::TestWithParam<std::tuple<int, bool>> {
 protected:
  std::shared_ptr<Executable> load(ExecutableSpec spec) {
    const auto [threads, guard] = GetParam();
    auto loaded = Executable::load(std::move(spec), Team::create(threads).take(), {guard});
    EXPECT_TRUE(loaded.ok()) << loaded.error().message;
    return loaded.take();
  }
};

TEST_P(ExecutableWithTeam, StepsSeeWhatEarlierStepsWrote) {
  const auto executable = load(mirror_spec());
  for (int run = 0; run < 50; ++run) {
    const auto x = make_input(static_cast<float>(run));
    EXPECT_EQ(run_on(*executable, x), expected_mirror(x));
  }
  EXPECT_EQ(executable->inputs()[0].name, "x");
  EXPECT_EQ(executable->outputs()[0].shape, Shape{kElems});
}

TEST_P(ExecutableWithTeam, ConcurrentRunsHaveTheirOwnMemory) {
  const auto executable = load(mirror_spec());
  std::vector<std::thread> callers;
  std::vector<int> wrong(4);
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int run = 0; run < 50; ++run) {
        const auto x = make_input(static_cast<float>(100 * caller + run));
        wrong[caller] += run_on(*executable, x) != expected_mirror(x);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

/// Executables of one team run in the same memory, larger ones and smaller ones.
TEST(ExecutablesOfATeam, TakeTurnsInItsMemory) {
  const auto team = Team::create({.threads = 2, .own_workers = true}).take();
  const auto small = Executable::load(mirror_spec(), team).take();
  ExecutableSpec spec = running_sums_spec();
  spec.arena_bytes = int64_t{4} << 20;
  spec.buffers[1].offset_bytes = spec.arena_bytes - round_up(kBytes, kBufferAlignment);
  const auto large = Executable::load(std::move(spec), team).take();
  std::atomic<int> num_wrong = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&, caller] {
      for (int run = 0; run < 30; ++run) {
        const auto x = make_input(static_cast<float>(100 * caller + run));
        if (run_on(*small, x) != expected_mirror(x)) ++num_wrong;
        if (run_on(*large, x) != running_sums_of(x)) ++num_wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(num_wrong, 0);
}

TEST(PagesPool, HandsOutAgainWhatIsLargeEnough) {
  PagesPool pool;
  Pages pages = pool.take(10'000).take();
  std::byte* const first = pages.data();
  ASSERT_GE(pages.capacity_bytes(), 10'000);
  pool.give_back(std::move(pages));
  pages = pool.take(5'000).take();
  EXPECT_EQ(pages.data(), first);
  Pages others = pool.take(5'000).take();
  EXPECT_NE(others.data(), first) << "those are in use";
  pool.give_back(std::move(pages));
  pages = pool.take(1 << 20).take();
  ASSERT_GE(pages.capacity_bytes(), 1 << 20);
  pages.data()[(1 << 20) - 1] = std::byte{1};
  EXPECT_FALSE(pool.take(int64_t{1} << 60).ok());
}

/// Runs side by side, with as many workers as there happen to be: the arena is each run's own, and
/// so is what a routine keeps between its steps.
TEST(ExecutableInStreams, RunsHaveTheirOwnMemory) {
  for (const int streams : {TeamOptions::kShared, 3}) {
    const auto team = Team::create({.threads = 2, .streams = streams, .own_workers = true}).take();
    const auto executable = Executable::load(running_sums_spec(), team).take();
    std::atomic<int> num_wrong = 0;
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 5; ++caller) {
      callers.emplace_back([&, caller] {
        for (int run = 0; run < 40; ++run) {
          const auto x = make_input(static_cast<float>(100 * caller + run));
          if (run_on(*executable, x) != running_sums_of(x)) ++num_wrong;
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(num_wrong, 0);
  }
}

TEST_P(ExecutableWithTeam, ConstantsAndRoutines) {
  // y = TopK_4(x + 2, constants: K); indices too; then + 1 onto the values.
  ExecutableSpec spec;
  spec.image = small_kernels();
  spec.inputs = {{"x", DType::kF32, {kElems}}};
  spec.outputs = {{"values", DType::kF32, {4}}, {"indices", DType::kI64, {4}}};
  spec.constants = Tensor(DType::kU8, {72});
  spec.constants.data<int64_t>()[8] = 4;
  spec.buffers = {input(0, kBytes), arena(0, kBytes), {BufferPlace::Kind::kConstant, 64, -1, 8},
                  arena(192, 16),   output(1, 32),    output(0, 16)};
  spec.arena_bytes = 256;
  RoutineStep top_k{"TopK",
                    {{"axis", int64_t{0}}},
                    {{1, DType::kF32, {kElems}}, {2, DType::kI64, {1}}},
                    {{3, DType::kF32, {4}}, {4, DType::kI64, {4}}},
                    "top"};
  spec.steps = {KernelStep{kAddParam, {0, 1}, {2}, kElems, "add"}, top_k,
                KernelStep{kAddParam, {3, 5}, {1}, 4, "last"}};
  const auto executable = load(spec);
  std::vector<float> x(kElems, 0.0f);
  x[7] = 40, x[3] = 30, x[36] = 20, x[0] = 10;
  std::vector<float> values(4);
  std::vector<int64_t> indices(4);
  const void* inputs[] = {x.data()};
  void* outputs[] = {values.data(), indices.data()};
  std::vector<StepProfile> profile;
  ASSERT_TRUE(executable->run(inputs, outputs, &profile).ok());
  EXPECT_EQ(values, (std::vector<float>{43, 33, 23, 13}));
  EXPECT_EQ(indices, (std::vector<int64_t>{7, 3, 36, 0}));

  ASSERT_EQ(profile.size(), 3u);
  const int threads = std::get<0>(GetParam());
  double end_ns = 0;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(profile[i].label, (std::vector<std::string>{"add", "top", "last"}[i]));
    EXPECT_GE(profile[i].start_ns, end_ns) << "steps come one after the other";
    end_ns = profile[i].start_ns + profile[i].time_ns;
    ASSERT_EQ(static_cast<int>(profile[i].busy_ns.size()), threads);
    EXPECT_LE(profile[i].busy_ns[0], profile[i].time_ns);
  }

  // K other than what the steps were made for: the routine refuses, and says which.
  spec.constants = Tensor(DType::kU8, {72});
  const auto refusing = load(spec);
  const Status status = refusing->run(inputs, outputs);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("'top'"), std::string::npos) << status.error().message;
  ASSERT_FALSE(refusing->run(inputs, outputs).ok()) << "and again";
}

TEST_P(ExecutableWithTeam, ScratchIsTheWorkersOwnAndAligned) {
  const auto [threads, guard] = GetParam();
  ExecutableSpec spec;
  spec.image = small_kernels();
  spec.outputs = {{"address", DType::kI64, {kElems}}, {"found", DType::kI64, {kElems}}};
  spec.buffers = {output(0, kElems * 8), output(1, kElems * 8)};
  spec.steps = {KernelStep{kScratch, {0, 1}, {}, kElems, "scratch"}};
  spec.scratch_bytes = 8;
  const auto executable = load(spec);
  std::vector<int64_t> address(kElems), found(kElems);
  void* outputs[] = {address.data(), found.data()};
  ASSERT_TRUE(executable->run({}, outputs).ok());
  for (const int64_t a : address) EXPECT_EQ(a % 64, 0);
  EXPECT_EQ(static_cast<int>(std::set(address.begin(), address.end()).size()), threads);
  if (guard) {
    // Each partition finds NaNs, not what an earlier one left.
    EXPECT_EQ(found, std::vector<int64_t>(kElems, -1));
  } else {
    for (int64_t p = 1; p < kElems; ++p) {
      EXPECT_TRUE(address[p] != address[p - 1] || found[p] == p - 1);
    }
  }
}

TEST_P(ExecutableWithTeam, KernelsReachTheMathRoutines) {
  ExecutableSpec spec;
  spec.image = small_kernels();
  spec.inputs = {{"x", DType::kF64, {3}}};
  spec.outputs = {{"y", DType::kF64, {3}}};
  spec.buffers = {input(0, 24), output(0, 24)};
  int64_t exponent;
  const double one_and_half = 1.5;
  std::memcpy(&exponent, &one_and_half, 8);
  spec.steps = {KernelStep{kPower, {0, 1}, {exponent}, 3, "power"}};
  const auto executable = load(spec);
  const std::vector<double> x = {1, 4, 2};
  std::vector<double> y(3);
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  ASSERT_TRUE(executable->run(inputs, outputs).ok());
  EXPECT_EQ(y, (std::vector<double>{1, 8, std::pow(2, 1.5)}));
}

INSTANTIATE_TEST_SUITE_P(Threads, ExecutableWithTeam,
                         testing::Combine(testing::Values(1, 2, 3, 5), testing::Bool()));

TEST(ExecutableDeathTest, GuardPagesCatchAnOverrun) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        ExecutableSpec spec = mirror_spec();
        // One partition more than there are elements: reads and writes behind the end.
        std::get<KernelStep>(spec.steps[0]).partitions = kElems + 1;
        auto executable =
            Executable::load(std::move(spec), Team::create(1).take(), {.guard_pages = true}).take();
        run_on(*executable, make_input(0));
      },
      "");
}

TEST(Executable, WrongArraysAreErrors) {
  const auto executable = Executable::load(mirror_spec(), Team::create(1).take()).take();
  std::vector<float> x(kElems + 1), y(kElems);
  const auto message = [&](std::vector<const void*> inputs, std::vector<void*> outputs) {
    const Status status = executable->run(inputs, outputs);
    if (status.ok()) return std::string();
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    return status.error().message;
  };
  EXPECT_EQ(message({x.data()}, {y.data()}), "");
  EXPECT_NE(message({}, {y.data()}).find("1 inputs but 0"), std::string::npos);
  EXPECT_NE(message({x.data()}, {y.data(), y.data()}).find("1 outputs but 2"), std::string::npos);
  EXPECT_NE(message({nullptr}, {y.data()}).find("'x'"), std::string::npos);
  EXPECT_NE(message({x.data()}, {nullptr}).find("'y'"), std::string::npos);
  EXPECT_NE(message({reinterpret_cast<char*>(x.data()) + 1}, {y.data()}).find("misaligned"),
            std::string::npos);
}

/// What verify_spec and load say about a spec that has been damaged in one place.
template <typename Damage>
std::string error_of(Damage damage) {
  ExecutableSpec spec = mirror_spec();
  damage(spec);
  const auto loaded = Executable::load(std::move(spec), Team::create(2).take());
  return loaded.ok() ? "" : loaded.error().message;
}

KernelStep& kernel(ExecutableSpec& spec, int step) {
  return std::get<KernelStep>(spec.steps[step]);
}

TEST(Executable, DamagedSpecsAreErrors) {
  const auto has = [](const std::string& message, const char* words) {
    return message.find(words) != std::string::npos ? testing::AssertionSuccess()
                                                    : testing::AssertionFailure() << message;
  };
  using Spec = ExecutableSpec;
  EXPECT_EQ(error_of([](Spec&) {}), "");
  EXPECT_TRUE(has(error_of([](Spec& s) { kernel(s, 1).entry = 4; }), "'second' calls kernel 4"));
  EXPECT_TRUE(has(error_of([](Spec& s) { kernel(s, 1).entry = -1; }), "kernel -1"));
  EXPECT_TRUE(has(error_of([](Spec& s) { kernel(s, 2).buffers[0] = 4; }), "'third' uses buffer 4"));
  EXPECT_TRUE(has(error_of([](Spec& s) { kernel(s, 2).buffers[0] = -1; }), "buffer -1"));
  EXPECT_TRUE(has(error_of([](Spec& s) { kernel(s, 0).partitions = -1; }), "-1 partitions"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[1].offset_bytes = 32; }), "buffer 1"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[1].offset_bytes = -64; }), "buffer 1"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[2].offset_bytes = 256; }), "buffer 2"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[1].size_bytes = INT64_MAX; }), "buffer 1"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[1].size_bytes = -4; }), "negative"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[0].position = 1; }), "buffer 0"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[0].size_bytes = kBytes + 4; }), "'x'"));
  EXPECT_TRUE(
      has(error_of([](Spec& s) { s.buffers[3].kind = BufferPlace::Kind::kConstant; }), "buffer 3"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[3].kind = BufferPlace::Kind::kArena; }), "'y'"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.buffers[3].kind = BufferPlace::Kind(9); }), "kind 9"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.arena_bytes = -1; }), "arena"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.arena_bytes = INT64_MAX; }), "memory"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.scratch_bytes = INT64_MAX; }), "memory"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.inputs[0].shape = {-1}; }), "shape"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.inputs[0].shape = {INT64_MAX, 4}; }), "shape"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.inputs[0].dtype = DType(77); }), "element type 77"));
  EXPECT_TRUE(has(error_of([](Spec& s) { s.outputs.push_back({"z", DType::kF32, {1}}); }), "'z'"));
  EXPECT_NE(error_of([](Spec& s) { s.image.entries[1].offset_bytes = 1 << 20; }), "");
  EXPECT_NE(error_of([](Spec& s) { s.image.isa = "z80"; }), "");
}

TEST(Executable, DamagedRoutineStepsAreErrors) {
  const auto error = [](auto damage) {
    return error_of([&](ExecutableSpec& spec) {
      RoutineStep step{"CumSum",
                       {{"axis", int64_t{0}}},
                       {{1, DType::kF32, {kElems}}},
                       {{2, DType::kF32, {kElems}}},
                       "sums"};
      damage(step);
      spec.steps.push_back(step);
    });
  };
  EXPECT_EQ(error([](RoutineStep&) {}), "");
  EXPECT_NE(error([](RoutineStep& s) { s.routine = "Sort"; }).find("'Sort'"), std::string::npos);
  EXPECT_NE(error([](RoutineStep& s) { s.outputs[0].buffer = 0; }).find("'sums' writes buffer 0"),
            std::string::npos);
  EXPECT_NE(error([](RoutineStep& s) { s.inputs[0].shape = {kElems + 1}; }).find("'sums' needs"),
            std::string::npos);
  EXPECT_NE(error([](RoutineStep& s) { s.outputs[0].shape = {1}; }).find("'sums'"),
            std::string::npos);
  // The caller's array need not be aligned for wider elements than it has.
  EXPECT_NE(error([](RoutineStep& s) {
              s.inputs[0] = {0, DType::kF64, {kElems / 2}};
              s.outputs[0] = {2, DType::kF64, {kElems / 2}};
            }).find("'sums' takes elements of type f64 from 'x'"),
            std::string::npos);
  // An axis that the result is written over.
  EXPECT_NE(error([](RoutineStep& s) {
              s.inputs.push_back({2, DType::kI32, {1}});
            }).find("'sums' writes buffer 2 over its buffer 2"),
            std::string::npos);
  EXPECT_EQ(error([](RoutineStep& s) { s.outputs[0].buffer = 1; }), "");
  EXPECT_NE(error([](RoutineStep& s) {
              s.inputs[0] = {1, DType::kF64, {1}};
              s.outputs[0] = {2, DType::kF64, {1}};
            }).find("'sums' finds elements of type f64 in buffer 1"),
            std::string::npos);
  EXPECT_NE(error([](RoutineStep& s) { s.inputs.clear(); }).find("0 inputs"), std::string::npos);
  EXPECT_NE(error([](RoutineStep& s) { s.inputs[0].dtype = DType(77); }).find("77"),
            std::string::npos);
}

TEST(Executable, ModelWithoutStepsOrKernels) {
  ExecutableSpec spec;
  auto executable = Executable::load(spec, Team::create(2).take()).take();
  EXPECT_TRUE(executable->run({}, {}).ok());
}

}  // namespace
}  // namespace corf::runtime
