#include <cmath>
#include <gtest/gtest.h>

#include "runtime/routines/routine.h"
#include "runtime/routines/wide_math.h"
#include "support/checked.h"

namespace corf::runtime {
namespace {

struct Case {
  std::string_view name;
  int64_t gates, hidden, batch;
  bool both_directions, has_lengths;
  std::map<std::string, RoutineAttribute> attributes;
};

/// Numbers about 0 that do not repeat soon.
Tensor values(Shape shape, double scale) {
  Tensor t(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < t.num_elems(); ++i) t.set_f64(i, scale * std::sin(1.7 * double(i) + 0.3));
  return t;
}

/// As recurrent weights of bytes, with what belongs to them, where the case has them.
void make_bytes(const Case& c, std::vector<Tensor>& inputs) {
  const int64_t directions = inputs[1].shape()[0], rows = c.gates * c.hidden;
  Tensor bytes(DType::kI8,
               {directions, c.gates, ceil_div(c.hidden, kPanel), ceil_div(c.hidden, 4), kPanel, 4});
  for (int64_t i = 0; i < bytes.num_elems(); ++i) bytes.set_i64(i, i * i % 251 - 125);
  inputs[1] = bytes;
  while (inputs.size() < 7) {
    inputs.emplace_back(inputs.size() == 3 ? DType::kI32 : DType::kF32, Shape{0});
  }
  inputs.push_back(values({directions, rows}, 0.01));
  for (int i = 0; i < 2; ++i) {
    inputs.emplace_back(DType::kI32, Shape{directions, rows});
    for (int64_t row = 0; row < rows * directions; ++row) {
      inputs.back().set_i64(row, row * (13 + i) % 29 - 14);
    }
  }
}

/// Y and Y_h as a team of that size computes them.
std::vector<float> run_with(int workers, const Case& c) {
  constexpr int64_t kSteps = 7;
  const int64_t directions = c.both_directions ? 2 : 1, rows = c.gates * c.hidden;
  std::vector<Tensor> inputs = {
      values({kSteps, c.batch, directions * rows}, 2),
      values({directions, c.gates, ceil_div(c.hidden, kPanel), c.hidden, kPanel},
             3 / double(c.hidden)),
      values({directions, rows}, 0.5)};
  if (c.has_lengths) {
    inputs.emplace_back(DType::kI32, Shape{c.batch});
    for (int64_t b = 0; b < c.batch; ++b) inputs.back().set_f64(b, double(kSteps - b));
  }
  if (c.name == "DynamicQuantizeLSTM") make_bytes(c, inputs);
  std::vector<Tensor> outputs;
  outputs.emplace_back(DType::kF32, Shape{kSteps, directions, c.batch, c.hidden});
  outputs.emplace_back(DType::kF32, Shape{directions, c.batch, c.hidden});
  RoutineCall call{c.attributes, {}, {}};
  if (c.both_directions) call.attributes["direction"] = std::string("bidirectional");
  std::vector<const void*> from;
  std::vector<void*> to;
  for (const Tensor& t : inputs) {
    call.inputs.push_back({t.dtype(), t.shape()});
    from.push_back(t.bytes());
  }
  for (Tensor& t : outputs) {
    call.outputs.push_back({t.dtype(), t.shape()});
    to.push_back(t.bytes());
    for (int64_t i = 0; i < t.num_elems(); ++i) t.set_f64(i, NAN);
  }
  const auto routine = prepare_routine(c.name, call);
  EXPECT_TRUE(routine.ok()) << routine.error().message;
  auto team = Team::create(workers).take();
  std::vector<Status> results(static_cast<size_t>(workers));
  for (int run = 0; run < 2; ++run) {  // the second one begins anew
    team->run([&](const Worker& worker) {
      results[static_cast<size_t>(worker.number)] = (*routine)(from, to, worker);
    });
  }
  for (const Status& result : results) EXPECT_TRUE(result.ok());
  std::vector<float> all;
  for (const Tensor& t : outputs) {
    all.insert(all.end(), t.elems<float>().begin(), t.elems<float>().end());
  }
  return all;
}

TEST(SharedRecurrence, EveryTeamComputesTheSameBits) {
  // Small ones are shared out by sequence, large ones of few sequences by elements too.
  const std::vector<Case> cases = {
      {"LSTM", 4, 211, 1, false, false, {}},
      {"LSTM", 4, 211, 2, false, true, {}},
      {"LSTM", 4, 211, 0, false, false, {}},
      {"LSTM", 4, 192, 1, true, true, {}},
      {"LSTM", 4, 70, 1, false, false, {}},  // worth some sharers, not all
      {"LSTM", 4, 96, 8, false, true, {}},
      {"DynamicQuantizeLSTM", 4, 211, 1, false, false, {}},
      {"DynamicQuantizeLSTM", 4, 99, 7, true, true, {}},
      {"GRU", 3, 230, 1, false, false, {}},
      {"GRU", 3, 230, 1, false, false, {{"linear_before_reset", int64_t{1}}}},
      {"GRU", 3, 16, 5, true, true, {}},
      {"RNN", 1, 400, 1, false, false, {}},
      {"RNN", 1, 3, 3, true, true, {}},
  };
  for (const Case& c : cases) {
    const std::vector<float> alone = run_with(1, c);
    for (const float value : alone) ASSERT_FALSE(std::isnan(value));
    for (const int workers : {2, 3, 5}) {
      EXPECT_EQ(run_with(workers, c), alone) << c.name << " " << c.hidden << " on " << workers;
    }
  }
}

}  // namespace
}  // namespace corf::runtime
