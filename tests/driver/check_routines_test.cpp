#include "driver/check_routines.h"

#include <gtest/gtest.h>

namespace corf::driver {
namespace {

using graph::Attribute;
using Attributes = std::map<std::string, Attribute>;

/// TopK of the two largest of x [3, 5], along the last axis.
Status check_top_k(const std::string& routine, const Attributes& changed) {
  graph::Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {3, 5});
  Attributes attributes = {{"axis", int64_t{1}}};
  for (const auto& [name, value] : changed) attributes[name] = value;
  graph.outputs = graph.add_opaque("two", {routine, attributes}, {x},
                                   {{DType::kF32, {3, 2}}, {DType::kI64, {3, 2}}});
  graph.output_names = {"values", "indices"};
  return check_routines(graph);
}

/// A recurrence over x [4 steps, 1 direction, 2 sequences, gates * 5], as the importer makes it.
Status check_recurrence(const std::string& routine, int64_t gates, const Attributes& changed) {
  graph::Graph graph;
  const auto x = graph.add_input("x", DType::kF32, {4, 2, gates * 5});
  const auto r = graph.add_input("r", DType::kF32, {1, gates, 1, 5, 16});
  const auto b = graph.add_input("b", DType::kF32, {1, gates * 5});
  Attributes attributes = {{"hidden_size", int64_t{5}}};
  for (const auto& [name, value] : changed) attributes[name] = value;
  graph.outputs =
      graph.add_opaque("cell", {routine, attributes}, {x, r, b}, {{DType::kF32, {4, 1, 2, 5}}});
  graph.output_names = {"y"};
  return check_routines(graph);
}

void expect_fault(const Status& status, ErrorCode code, const std::string& node,
                  const std::string& words) {
  ASSERT_FALSE(status.ok()) << words;
  EXPECT_EQ(status.error().code, code) << status.error().message;
  EXPECT_EQ(status.error().message.rfind("node '" + node + "'", 0), 0u) << status.error().message;
  EXPECT_NE(status.error().message.find(words), std::string::npos) << status.error().message;
}

TEST(CheckRoutines, AcceptsWhatRuns) {
  EXPECT_TRUE(check_top_k("TopK", {}).ok());
  for (const auto& [routine, gates] : {std::pair{"RNN", 1}, {"GRU", 3}, {"LSTM", 4}}) {
    const Status status = check_recurrence(routine, gates, {{"direction", std::string("reverse")}});
    EXPECT_TRUE(status.ok()) << routine << ": " << status.error().message;
  }
}

TEST(CheckRoutines, NamesNodeAndFault) {
  expect_fault(check_top_k("Bottom", {}), ErrorCode::kUnsupported, "two", "Bottom");
  expect_fault(check_top_k("TopK", {{"axis", int64_t{2}}}), ErrorCode::kInvalidModel, "two",
               "axis");
  for (const auto& [routine, gates] : {std::pair{"RNN", 1}, {"GRU", 3}, {"LSTM", 4}}) {
    const auto of = [&, routine = routine, gates = gates](const Attributes& changed) {
      return check_recurrence(routine, gates, changed);
    };
    const auto invalid = ErrorCode::kInvalidModel;
    expect_fault(of({{"direction", std::string("upward")}}), invalid, "cell", "upward");
    expect_fault(of({{"activations", std::string("No")}}), invalid, "cell", "No");
    expect_fault(of({{"clip", -1.0}}), invalid, "cell", "clip");
    expect_fault(of({{"hidden_size", int64_t{6}}}), invalid, "cell", "hidden_size");
  }
}

}  // namespace
}  // namespace corf::driver
