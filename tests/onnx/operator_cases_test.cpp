// Nodes with the results that ONNX Runtime or scikit-learn gave for them (operator_cases.txt, made
// by make_operator_cases.py): by the reference, and compiled with each kind of plan.
#include <cmath>
#include <fstream>
#include <gtest/gtest.h>

#include "driver/compile.h"
#include "tests/onnx/node_text.h"

namespace corf {
namespace {

struct OperatorCase {
  NodeText node;
  std::vector<TensorText> expected;
  double tolerance = 1e-5;  // of the largest element
};

std::vector<OperatorCase> read_cases() {
  std::ifstream file(std::string(CORF_SOURCE_DIR) + "/tests/onnx/operator_cases.txt");
  std::vector<OperatorCase> cases;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    OperatorCase entry{parse_node(line), {}};
    entry.expected = parse_tensors(entry.node.rest);
    const std::vector<std::string> parts = split(line, '|');
    if (parts.size() > 4) entry.tolerance = std::stod(parts[4]);
    cases.push_back(std::move(entry));
  }
  return cases;
}

/// The model of a case, and the tensors that it is run with.
ModelBuilder build(const OperatorCase& entry, std::vector<Tensor>& inputs) {
  ModelBuilder builder(entry.node.opset);
  onnx_proto::NodeProto node;
  set_operator(builder.proto, node, entry.node.op);
  node.set_name("node");
  for (const auto& [name, value] : entry.node.attributes) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    set_value(attribute, value);
  }
  for (size_t i = 0; i < entry.node.inputs.size(); ++i) {
    const TensorText& input = entry.node.inputs[i];
    const std::string name = input.dtype.empty() ? "" : "x" + std::to_string(i);
    node.add_input(name);
    if (name.empty()) continue;
    const Tensor tensor = tensor_of(input);
    if (input.is_constant) {
      builder.initializer(name, tensor);
      continue;
    }
    builder.input(name, {input.shape.begin(), input.shape.end()}, onnx_type(input.dtype));
    inputs.push_back(tensor);
  }
  for (size_t i = 0; i < entry.expected.size(); ++i) {
    const bool is_asked = !entry.expected[i].dtype.empty();
    node.add_output(is_asked ? "y" + std::to_string(i) : "");
    if (is_asked) builder.output(node.output(static_cast<int>(i)));
  }
  *builder.proto.mutable_graph()->add_node() = node;
  return builder;
}

void expect_results(const OperatorCase& entry, const std::vector<Tensor>& results) {
  size_t next = 0;
  for (const TensorText& text : entry.expected) {
    if (text.dtype.empty()) continue;
    const Tensor expected = tensor_of(text);
    ASSERT_LT(next, results.size());
    const Tensor& actual = results[next++];
    ASSERT_EQ(actual.dtype(), expected.dtype());
    ASSERT_EQ(actual.shape(), expected.shape());
    double largest = 0;
    for (double value : values_of(expected)) {
      if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
    }
    for (int64_t i = 0; i < expected.num_elems(); ++i) {
      if (actual.at_f64(i) == expected.at_f64(i)) continue;  // infinities
      ASSERT_NEAR(actual.at_f64(i), expected.at_f64(i), entry.tolerance * largest)
          << "element " << i << " of output " << next - 1;
    }
  }
}

std::vector<Tensor> run_compiled(const ModelBuilder& builder, const std::vector<Tensor>& inputs,
                                 driver::PlanMode plan) {
  auto model = builder.parse();
  EXPECT_TRUE(model.ok());
  driver::CompileOptions options;
  options.threads = 2;
  options.plan = plan;
  options.verify_each = true;
  auto compiled = driver::compile(**model, options);
  EXPECT_TRUE(compiled.ok()) << (compiled.ok() ? "" : compiled.error().message);
  if (!compiled.ok()) return {};
  auto team = runtime::Team::create(2);
  EXPECT_TRUE(team.ok());
  if (!team.ok()) return {};
  auto executable = runtime::Executable::load(compiled->spec, *team);
  EXPECT_TRUE(executable.ok()) << (executable.ok() ? "" : executable.error().message);
  if (!executable.ok()) return {};
  std::vector<Tensor> outputs;
  std::vector<const void*> sources;
  std::vector<void*> targets;
  for (const Tensor& input : inputs) sources.push_back(input.bytes());
  for (const auto& output : (*executable)->spec().outputs) {
    outputs.emplace_back(output.dtype, output.shape);
    targets.push_back(outputs.back().bytes());
  }
  const Status status = (*executable)->run(sources, targets);
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  return outputs;
}

TEST(OperatorCases, GiveTheResultsOfOtherImplementations) {
  const std::vector<OperatorCase> cases = read_cases();
  ASSERT_FALSE(cases.empty());
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i) + ", " + cases[i].node.op);
    std::vector<Tensor> inputs;
    const ModelBuilder builder = build(cases[i], inputs);
    const auto graph = builder.import();
    if (!graph.ok()) {
      ADD_FAILURE() << graph.error().message;
      continue;
    }
    const auto results = graph::evaluate(*graph, inputs, {.round_to_dtype = true});
    // Some routines have no reference.
    if (results.ok() || results.error().code != ErrorCode::kUnsupported) {
      ASSERT_TRUE(results.ok()) << results.error().message;
      expect_results(cases[i], *results);
    }
    for (auto plan :
         {driver::PlanMode::kAuto, driver::PlanMode::kUnfused, driver::PlanMode::kFused}) {
      expect_results(cases[i], run_compiled(builder, inputs, plan));
    }
  }
}

}  // namespace
}  // namespace corf
