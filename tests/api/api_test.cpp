#include <atomic>
#include <corf/corf.hpp>
#include <cstring>
#include <gtest/gtest.h>
#include <thread>

#include "tests/api/tiny_model.h"

namespace {

using corf::Array;
using corf::Executable;
using corf::Session;

Session open_linear(const corf::Options& options = {{"threads", "2"}}) {
  const std::string model = tiny_model::linear();
  return Session(model.data(), model.size(), options);
}

Array make_x(std::vector<float> values) {
  return Array::of<float>("x", {static_cast<int64_t>(values.size() / 3), 3}, values.data());
}

/// The error's message; fails if there is none or another code.
std::string expect_error(corf_error* error, corf_code code) {
  if (error == nullptr) {
    ADD_FAILURE() << "expected an error";
    return "";
  }
  EXPECT_EQ(corf_error_code(error), code);
  std::string message = corf_error_message(error);
  corf_error_free(error);
  return message;
}

template <typename Body>
std::string exception_of(Body&& body) {
  try {
    body();
  } catch (const corf::Exception& exception) {
    return exception.what();
  }
  ADD_FAILURE() << "expected an exception";
  return "";
}

void expect_contains(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    EXPECT_NE(message.find(word), std::string::npos) << word << " in: " << message;
  }
}

TEST(Session, TellsWhatTheModelDeclares) {
  const Session session = open_linear();
  ASSERT_EQ(session.inputs().size(), 1u);
  const corf::Declaration x = session.inputs()[0];
  EXPECT_EQ(x.name, "x");
  EXPECT_EQ(x.dtype, CORF_F32);
  EXPECT_EQ(x.extents, (corf::Extents{-1, 3}));
  EXPECT_EQ(x.symbols, (std::vector<std::string>{"batch", ""}));
  EXPECT_TRUE(x.is_symbolic());
  EXPECT_EQ(session.outputs().at(0).name, "y");
  EXPECT_EQ(session.metadata(), (std::map<std::string, std::string>{{"about", "a test"}}));
  EXPECT_EQ(session.operators(),
            (std::map<std::string, int64_t>{{"Add", 1}, {"MatMul", 1}, {"Relu", 1}}));
  EXPECT_EQ(session.opset(), 13);
  EXPECT_EQ(session.threads(), 2);
}

TEST(Session, RunsForAnyBatch) {
  Session session = open_linear();
  const auto one = session.run({make_x({1, 0, 2})});
  EXPECT_EQ(one.at(0).extents(), (corf::Extents{1, 2}));
  EXPECT_EQ(one[0].data<float>()[0], 11.5f);
  EXPECT_EQ(one[0].data<float>()[1], 0.0f);
  const auto two = session.run({make_x({1, 0, 2, 10, 10, 10})});
  EXPECT_EQ(two.at(0).extents(), (corf::Extents{2, 2}));
  EXPECT_EQ(two[0].data<float>()[2], 90.5f);
  EXPECT_EQ(two[0].data<float>()[3], 20.0f);
}

TEST(Session, KeepsExecutablesAfterTheirEviction) {
  Session session = open_linear({{"threads", "1"}, {"cache_size", "1"}});
  Executable first = session.compile({{"x", {1, 3}}});
  const Executable second = session.compile({{"batch", {2}}});
  EXPECT_EQ(second.outputs().at(0).extents, (corf::Extents{2, 2}));
  EXPECT_EQ(first.run({make_x({0, 0, 0})})[0].data<float>()[0], 0.5f);
}

TEST(Session, NamesWhatIsWrongWithShapes) {
  Session session = open_linear();
  expect_contains(exception_of([&] { session.compile(); }), {"'x'", "batch"});
  expect_contains(exception_of([&] { session.compile({{"x", {1, 4}}}); }), {"'x'", "1x4"});
  expect_contains(exception_of([&] { session.compile({{"z", {1, 3}}}); }), {"'z'", "x"});
  expect_contains(exception_of([&] { session.compile({{"x", {1, 3}}, {"batch", {2}}}); }),
                  {"batch", "1", "2"});
  expect_contains(exception_of([&] { session.compile({{"batch", {-1}}}); }), {"batch"});
  expect_contains(
      exception_of([&] { session.compile({{"batch", {int64_t{1} << 62, int64_t{1} << 62}}}); }),
      {"batch"});
}

std::vector<Array> shaped_inputs(std::vector<int64_t> shape, std::vector<int64_t> repeats) {
  const float values[] = {1, 2, 3, 4};
  return {Array::of("x", {4}, values), Array::of("shape", {2}, shape.data()),
          Array::of("repeats", {2}, repeats.data())};
}

TEST(Session, CompilesForEachSetOfValuesThatDecideShapes) {
  const std::string model = tiny_model::shaped_by_values();
  Session session(model.data(), model.size(), {{"threads", "1"}, {"cache_size", "2"}});
  EXPECT_EQ(session.deciding_inputs(), (std::vector<std::string>{"shape"}));
  expect_contains(exception_of([&] { session.compile(); }), {"'reshape'", "'shape'"});
  const auto rows = session.run(shaped_inputs({2, 2}, {2, 1}));
  EXPECT_EQ(rows.at(0).extents(), (corf::Extents{4, 2}));
  EXPECT_EQ(rows[0].data<float>()[4], 1.0f);
  const auto columns = session.run(shaped_inputs({4, -1}, {1, 3}));
  EXPECT_EQ(columns.at(0).extents(), (corf::Extents{4, 3}));
  EXPECT_EQ(columns[0].data<float>()[3], 2.0f);
  const auto again = session.run(shaped_inputs({2, 2}, {2, 1}));
  EXPECT_EQ(again.at(0).extents(), (corf::Extents{4, 2}));

  Executable executable = session.compile_for(shaped_inputs({1, 4}, {1, 1}));
  ASSERT_EQ(executable.inputs().size(), 1u);
  EXPECT_EQ(executable.inputs()[0].name, "x");
  EXPECT_EQ(executable.run({shaped_inputs({1, 4}, {1, 1})[0]})[0].data<float>()[3], 4.0f);
  const corf::Comparison comparison =
      session.compare(CORF_REFERENCE_EVALUATE, shaped_inputs({1, 4}, {3, 1}));
  EXPECT_TRUE(comparison.outputs.at(0).within_bounds);
}

TEST(Session, NamesTheNodeThatDoesNotAdmitAValue) {
  const std::string model = tiny_model::shaped_by_values();
  Session session(model.data(), model.size(), {{"threads", "1"}});
  expect_contains(exception_of([&] { session.run(shaped_inputs({3, 2}, {1, 1})); }),
                  {"with the values given for 'shape'", "'reshape'"});
  expect_contains(exception_of([&] { session.run(shaped_inputs({2, 2}, {1, -7})); }),
                  {"'repeats'", "'tile'"});
  const int64_t huge = int64_t{1} << 62;
  expect_contains(exception_of([&] { session.run(shaped_inputs({2, 2}, {huge, huge})); }),
                  {"'tile'"});
  EXPECT_EQ(session.run(shaped_inputs({2, 2}, {0, 1}))[0].extents(), (corf::Extents{0, 2}));
}

TEST(Executable, NamesWhatIsWrongWithArrays) {
  Session session = open_linear();
  Executable executable = session.compile({{"x", {2, 3}}});
  const auto run = [&](const std::vector<Array>& inputs) {
    return exception_of([&] { executable.run(inputs); });
  };
  expect_contains(run({}), {"input 'x' (f32 2x3)", "missing"});
  expect_contains(run({make_x({1, 2, 3})}), {"input 'x'", "1x3"});
  expect_contains(run({Array("x", CORF_F64, {2, 3})}), {"input 'x'", "f64"});
  expect_contains(run({Array("z", CORF_F32, {2, 3})}), {"'z'", "'x'"});
  expect_contains(run({Array("x", CORF_F32, {2, 3}), Array("x", CORF_F32, {2, 3})}), {"twice"});

  const int64_t extents[] = {2, 3};
  float values[6] = {};
  corf_tensor input = {"x", CORF_F32, 2, extents, nullptr};
  expect_contains(exception_of([&] { executable.run({input}, {}); }), {"'x'", "null"});
  input.data = values;
  expect_contains(exception_of([&] { executable.run({input}, {}); }), {"output 'y'", "missing"});
  input.dtype = static_cast<corf_dtype>(99);
  expect_contains(exception_of([&] { executable.run({input}, {}); }), {"99"});
}

TEST(Executable, TakesArraysByPosition) {
  Session session = open_linear();
  Executable executable = session.compile({{"x", {1, 3}}});
  const int64_t in_extents[] = {1, 3}, out_extents[] = {1, 2};
  float in[] = {1, 1, 1}, out[] = {-1, -1};
  executable.run({{nullptr, CORF_F32, 2, in_extents, in}},
                 {{nullptr, CORF_F32, 2, out_extents, out}});
  EXPECT_EQ(out[0], 9.5f);
  EXPECT_EQ(out[1], 0.0f);
}

TEST(Executable, DescribesItself) {
  Session session = open_linear();
  Executable executable = session.compile({{"x", {4, 3}}});
  const corf_executable_info info = executable.info();
  EXPECT_STRNE(info.plan_hash, "");
  EXPECT_EQ(info.threads, 2);
  EXPECT_GE(info.work_flops, 4 * 3 * 2 * 2);
  EXPECT_GE(info.compulsory_bytes, int64_t{4} * (4 * 3 + 4 * 2));
  EXPECT_GT(executable.limit_ms(), 0);
  const std::vector<Array> inputs = {Array("x", CORF_F32, {4, 3})};
  const std::vector<Array> outputs = executable.make_outputs();
  const auto steps = executable.profile(corf::views(inputs), corf::views(outputs));
  ASSERT_FALSE(steps.empty());
  for (const corf::StepProfile& step : steps) EXPECT_GE(step.time_ms, 0);
}

TEST(Executable, OlderCallersGetTheFieldsThatTheyKnow) {
  Session session = open_linear();
  corf_executable* raw = nullptr;
  const std::string model = tiny_model::linear();
  corf_session* opened = nullptr;
  ASSERT_EQ(corf_session_load_bytes(model.data(), model.size(), nullptr, nullptr, &opened),
            nullptr);
  const int64_t extents[] = {1, 3};
  const corf_shape shape = {"x", 2, extents};
  ASSERT_EQ(corf_session_compile(opened, &shape, 1, &raw), nullptr);
  corf_session_free(opened);
  corf_executable_info info;
  std::memset(&info, 0x55, sizeof info);
  ASSERT_EQ(corf_executable_describe(raw, &info, offsetof(corf_executable_info, threads)), nullptr);
  EXPECT_STRNE(info.isa, "");
  EXPECT_EQ(info.threads, 0x5555555555555555);
  corf_executable_free(raw);
}

TEST(Executable, GivesTheSameBitsAtAnyThreadCount) {
  std::vector<float> values;
  for (int i = 0; i < 3 * 97; ++i) values.push_back(static_cast<float>(i % 17) * 0.37f - 2.0f);
  std::string expected;
  for (const char* threads : {"1", "2", "3", "5"}) {
    Session session = open_linear({{"threads", threads}});
    const auto y = session.run({make_x(values)}).at(0);
    const std::string bits(static_cast<const char*>(y.bytes()), y.size_bytes());
    if (expected.empty()) expected = bits;
    EXPECT_EQ(bits, expected) << threads;
  }
}

class SessionWithStreams : public testing::TestWithParam<const char*> {};

TEST_P(SessionWithStreams, RunsFromSeveralThreadsAtOnce) {
  Session session = open_linear({{"streams", GetParam()}});
  std::atomic<int> num_wrong = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 50; ++i) {
        const auto value = static_cast<float>(caller + i);
        const std::vector<Array> inputs = {
            make_x(std::vector<float>(size_t{3} * (1 + i % 3), value))};
        const Array y = session.run(inputs).at(0);
        if (y.data<float>()[0] != 9 * value + 0.5f) ++num_wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(num_wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Streams, SessionWithStreams,
                         testing::Values("auto", "latency", "throughput", "2", "7"));

TEST(Session, ThreadsAreThoseOfEachStream) {
  EXPECT_EQ(open_linear({{"streams", "throughput"}}).threads(), 1);
  EXPECT_EQ(open_linear({{"streams", "3"}, {"threads", "2"}}).threads(), 2);
  EXPECT_EQ(open_linear({{"streams", "2"}, {"workers", "own"}, {"threads", "1"}}).threads(), 1);
}

/// Shapes that no other thread has compiled yet, shapes that others are compiling, and executables
/// that others evict.
TEST(Session, CompilesForSeveralThreadsAtOnce) {
  Session session = open_linear({{"threads", "2"}, {"cache_size", "2"}});
  std::atomic<int> num_wrong = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 6; ++i) {
        const int64_t batch = 1 + (caller / 2 + i) % 4;
        Executable executable = session.compile({{"batch", {batch}}});
        const Array x = make_x(std::vector<float>(static_cast<size_t>(3 * batch), 2.0f));
        const Array y = executable.run({x}).at(0);
        if (y.extents()[0] != batch || y.data<float>()[2 * batch - 2] != 18.5f) ++num_wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(num_wrong, 0);
}

TEST(Session, ComparesWithTheReferences) {
  Session session = open_linear();
  for (const corf_reference reference : {CORF_REFERENCE_EVALUATE, CORF_REFERENCE_UNFUSED}) {
    const corf::Comparison comparison = session.compare(reference, {make_x({1, 2, 3, 4, 5, 6})});
    ASSERT_EQ(comparison.outputs.size(), 1u);
    EXPECT_EQ(comparison.outputs[0].name, "y");
    EXPECT_TRUE(comparison.outputs[0].within_bounds);
    EXPECT_EQ(comparison.outputs[0].max_abs, 0);
    EXPECT_FALSE(comparison.first_wrong_group.has_value());
  }
}

TEST(Options, RefuseUnknownKeysAndValues) {
  corf::Options options;
  expect_contains(exception_of([&] { options.set("colour", "red"); }), {"colour", "threads"});
  for (const auto& [key, value] :
       {std::pair{"threads", "-1"}, std::pair{"threads", "2x"}, std::pair{"threads", ""},
        std::pair{"isa", "mmx"}, std::pair{"plan", "best"}, std::pair{"cache_size", "0"},
        std::pair{"streams", "0"}, std::pair{"streams", "many"}, std::pair{"workers", "few"}}) {
    expect_contains(exception_of([&] { options.set(key, value); }), {key});
  }
}

TEST(Errors, CarryCodes) {
  corf_session* session = nullptr;
  expect_contains(expect_error(corf_session_load("/none.onnx", nullptr, &session), CORF_IO),
                  {"/none.onnx"});
  expect_error(corf_session_load_bytes("x", 1, nullptr, nullptr, &session), CORF_INVALID_MODEL);
  expect_error(corf_session_load(nullptr, nullptr, &session), CORF_INVALID_ARGUMENT);
  EXPECT_EQ(session, nullptr);
  corf_error_free(nullptr);
}

TEST(DTypes, HaveNamesAndSizes) {
  EXPECT_STREQ(corf_dtype_name(CORF_BF16), "bf16");
  EXPECT_EQ(corf_dtype_size_bytes(CORF_I64), 8u);
  EXPECT_STREQ(corf_dtype_name(static_cast<corf_dtype>(99)), "unknown");
  EXPECT_EQ(corf_dtype_size_bytes(static_cast<corf_dtype>(-1)), 0u);
}

}  // namespace
