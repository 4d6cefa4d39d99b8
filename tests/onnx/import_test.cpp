// From a parsed model to a graph: shapes, names, folding of shape arithmetic, unsupported nodes.
#include <gtest/gtest.h>
#include <set>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using onnx_proto::TensorProto;

TEST(Import, SymbolicDimensionsAreBoundByNameOrSymbol) {
  ModelBuilder builder;
  builder.input("x", {"n", 3}).input("z", {"n", 1}).node("Add", {"x", "z"}, {"y"}).output("y");
  auto by_symbol = builder.import({{"n", {4}}});
  ASSERT_TRUE(by_symbol.ok()) << by_symbol.error().message;
  EXPECT_EQ(by_symbol->values[by_symbol->outputs[0]].shape, (Shape{4, 3}));
  auto by_name = builder.import({{"x", {5, 3}}, {"z", {5, 1}}});
  ASSERT_TRUE(by_name.ok()) << by_name.error().message;
  EXPECT_EQ(by_name->values[by_name->outputs[0]].shape, (Shape{5, 3}));
}

TEST(Import, WrongBindingsAreNamed) {
  ModelBuilder builder;
  builder.input("x", {"n", 3}).input("z", {"n", 1}).node("Add", {"x", "z"}, {"y"}).output("y");
  struct Case {
    onnx::ShapeBindings shapes;
    std::string word;
  };
  for (const Case& c :
       {Case{{}, "'n'"}, Case{{{"x", {4, 4}}, {"z", {4, 1}}}, "contradicts"},
        Case{{{"x", {4}}, {"z", {4, 1}}}, "contradicts"},
        Case{{{"x", {4, 3}}, {"z", {5, 1}}}, "'n' is 4"}, Case{{{"x", {-4, 3}}, {"n", {4}}}, "'x'"},
        Case{{{"n", {4}}, {"q", {4}}}, "'q'"}}) {
    auto graph = builder.import(c.shapes);
    ASSERT_FALSE(graph.ok()) << c.word;
    EXPECT_EQ(graph.error().code, ErrorCode::kInvalidArgument) << graph.error().message;
    EXPECT_NE(graph.error().message.find(c.word), std::string::npos) << graph.error().message;
  }
}

TEST(Import, ShapeArithmeticIsFolded) {
  ModelBuilder builder;
  builder.input("x", {"n", 3, 4, 5}).output("y");
  builder.ints("zero", {0}).ints("minus_one", {-1}).ints("axes", {0});
  builder.node("Shape", {"x"}, {"s"});
  builder.node("Gather", {"s", "zero"}, {"n"}, {{"axis", int64_t{0}}});
  builder.node("Concat", {"n", "minus_one"}, {"target"}, {{"axis", int64_t{0}}});
  builder.node("Reshape", {"x", "target"}, {"y"});
  auto graph = builder.import({{"n", {2}}});
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(graph->values[graph->outputs[0]].shape, (Shape{2, 60}));
  EXPECT_EQ(graph->nodes.size(), 2U) << graph::to_string(*graph);
}

TEST(Import, DataDependentShapeIsUnsupported) {
  ModelBuilder builder;
  builder.input("x", {6}).input("s", {2}, TensorProto::INT64);
  builder.node("Reshape", {"x", "s"}, {"y"}).output("y");
  auto graph = builder.import();
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(graph.error().message.find("Reshape_y"), std::string::npos);
}

TEST(Import, AllUnsupportedNodesAreNamedAtOnce) {
  ModelBuilder builder;
  builder.input("x", {2, 3}).output("d");
  builder.node("FancyOp", {"x"}, {"a"}).node("Relu", {"a"}, {"b"});
  builder.node("OtherOp", {"b"}, {"c"}).node("Gelu", {"c"}, {"d"});  // Gelu needs opset 20
  builder.node("UnusedOp", {"x"}, {"unused"});
  auto graph = builder.import();
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.error().code, ErrorCode::kUnsupported);
  const std::string& message = graph.error().message;
  for (const char* word : {"3 nodes", "FancyOp_a", "f32 2x3", "OtherOp_c", "Gelu_d", "20 to 28"}) {
    EXPECT_NE(message.find(word), std::string::npos) << word << " is not in: " << message;
  }
  EXPECT_EQ(message.find("Relu_b"), std::string::npos) << message;
  EXPECT_EQ(message.find("UnusedOp"), std::string::npos) << message;
}

TEST(Import, NodesAndValuesKeepTheirNames) {
  ModelBuilder builder;
  builder.input("x", {1, 2, 4, 4}).floats("w", {3, 2, 1, 1}, {1, 2, 3, 4, 5, 6});
  builder.floats("b", {3}, {1, 2, 3});
  builder.node("Conv", {"x", "w", "b"}, {"c"}).node("Softmax", {"c"}, {"y"}).output("y");
  auto graph = builder.import();
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  std::set<std::string> nodes;
  std::set<std::string> values;
  for (const auto& node : graph->nodes) {
    EXPECT_FALSE(node.name.empty());
    EXPECT_TRUE(nodes.insert(node.name).second) << node.name;
  }
  for (const auto& value : graph->values) {
    EXPECT_TRUE(values.insert(value.name).second) << value.name;
  }
  for (const char* name : {"Conv_c", "Conv_c/bias", "Softmax_y", "Softmax_y/sum", "w", "x"}) {
    EXPECT_TRUE(nodes.contains(name)) << name;
  }
  for (const char* name : {"x", "w", "c", "y"}) EXPECT_TRUE(values.contains(name)) << name;
  EXPECT_EQ(graph->producer(graph->outputs[0]).origin, "Softmax");
  EXPECT_EQ(graph->output_names, (std::vector<std::string>{"y"}));
}

TEST(Import, WeightsShareTheModelsBytes) {
  ModelBuilder builder;
  builder.input("x", {1, 64}).floats("w", {64, 64}, std::vector<float>(4096, 0.5F));
  builder.node("MatMul", {"x", "w"}, {"y"}).node("MatMul", {"y", "w"}, {"z"}).output("z");
  auto model = builder.parse();
  ASSERT_TRUE(model.ok());
  auto first = onnx::import(**model, {});
  auto second = onnx::import(**model, {});
  ASSERT_TRUE(first.ok() && second.ok());
  auto weights = [](const graph::Graph& graph) -> const void* {
    for (const auto& node : graph.nodes) {
      if (const auto* constant = std::get_if<graph::Constant>(&node.op)) {
        return constant->tensor.bytes();
      }
    }
    return nullptr;
  };
  EXPECT_NE(weights(*first), nullptr);
  EXPECT_EQ(weights(*first), weights(*second));
}

TEST(Import, OutputsHaveNodesOfTheirOwn) {
  ModelBuilder builder;
  builder.input("x", {2}).floats("w", {1}, {7}).node("Identity", {"x"}, {"y"});
  builder.node("Relu", {"x"}, {"a"}).node("Identity", {"a"}, {"b"});
  builder.output("y").output("a").output("b").output("w");
  auto outputs = builder.run({floats({2}, {-1, 2})});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{-1, 2}));
  EXPECT_EQ(values_of((*outputs)[1]), (std::vector<double>{0, 2}));
  EXPECT_EQ(values_of((*outputs)[2]), (std::vector<double>{0, 2}));
  EXPECT_EQ(values_of((*outputs)[3]), (std::vector<double>{7}));
  auto graph = builder.import();
  std::set<graph::ValueId> distinct(graph->outputs.begin(), graph->outputs.end());
  EXPECT_EQ(distinct.size(), 4U);
}

/// If(condition) { y = relu(x) } else { y = otherwise(x) }; the condition "same": x's first extent
/// is 2, "flag": an input.
ModelBuilder branching(const std::string& condition, const std::string& otherwise) {
  ModelBuilder builder;
  builder.input("x", {2, 3}).ints("zero", {0}).ints("two", {2}).output("y");
  builder.input("flag", {1}, TensorProto::BOOL);
  builder.node("Shape", {"x"}, {"s"});
  builder.node("Gather", {"s", "zero"}, {"extent"}).node("Equal", {"extent", "two"}, {"same"});
  builder.node("If", {condition}, {"y"});
  auto& node = *builder.proto.mutable_graph()->mutable_node()->rbegin();
  for (const auto& [name, op] :
       {std::pair{"then_branch", std::string("Relu")}, {"else_branch", otherwise}}) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx_proto::AttributeProto::GRAPH);
    auto& inner = *attribute.mutable_g()->add_node();
    inner.set_op_type(op);
    inner.add_input("x");
    inner.add_output("inside");  // each branch has names of its own
    attribute.mutable_g()->add_output()->set_name("inside");
  }
  return builder;
}

TEST(Import, KnownConditionSelectsItsBranch) {
  auto outputs = branching("same", "FancyOp")
                     .run({floats({2, 3}, {-1, 2, -3, 4, -5, 6}), Tensor(DType::kBool, {1})});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{0, 2, 0, 4, 0, 6}));
}

TEST(Import, ConditionOfDataChoosesBetweenBothBranches) {
  for (bool condition : {false, true}) {
    Tensor flag(DType::kBool, {1});
    flag.set_i64(0, condition ? 1 : 0);
    auto outputs = branching("flag", "Neg").run({floats({2, 3}, {-1, 2, -3, 4, -5, 6}), flag});
    ASSERT_TRUE(outputs.ok()) << outputs.error().message;
    EXPECT_EQ(values_of((*outputs)[0]), condition ? (std::vector<double>{0, 2, 0, 4, 0, 6})
                                                  : (std::vector<double>{1, -2, 3, -4, 5, -6}));
  }
}

TEST(Import, ConditionOfDataNeedsBranchesThatFit) {
  auto missing = branching("flag", "FancyOp").import();
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(missing.error().message.find("FancyOp"), std::string::npos);
  auto other_shape = branching("flag", "Shape").import();
  ASSERT_FALSE(other_shape.ok());
  EXPECT_EQ(other_shape.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(other_shape.error().message.find("'If_y'"), std::string::npos)
      << other_shape.error().message;
}

TEST(Import, ConstantInputsAreNoInputs) {
  ModelBuilder builder;
  builder.input("x", {2}).input("scale", {2}).input("shift", {}, TensorProto::INT64);
  builder.node("Cast", {"shift"}, {"s"}, {{"to", int64_t{TensorProto::FLOAT}}});
  builder.node("Mul", {"x", "scale"}, {"scaled"}).node("Add", {"scaled", "s"}, {"y"}).output("y");
  const std::string bytes = builder.proto.SerializeAsString();
  auto model =
      onnx::parse_model(bytes.data(), bytes.size(), ".", {{"scale", "2,-0.5"}, {"shift", "3"}});
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_EQ((*model)->inputs().size(), 1U);
  auto graph = onnx::import(**model, {});
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  auto outputs = graph::evaluate(*graph, {floats({2}, {1, 4})});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{5, 1}));

  const std::vector<std::pair<onnx::InputConstants, std::string>> mistakes = {
      {{{"nothing", "1"}}, "no input; there are x, scale, shift"},
      {{{"scale", "1,2,3"}}, "2 elements, but 3 values"},
      {{{"shift", "1.5"}}, "'1.5' is no value of type i64"},
      {{{"scale", ""}}, "'' is no value of type f32"},
  };
  for (const auto& [constants, message] : mistakes) {
    auto wrong = onnx::parse_model(bytes.data(), bytes.size(), ".", constants);
    ASSERT_FALSE(wrong.ok());
    EXPECT_EQ(wrong.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(wrong.error().message.find(message), std::string::npos) << wrong.error().message;
  }
}

TEST(Import, WrongAttributeTypesAreNamed) {
  ModelBuilder builder;
  builder.input("x", {2, 3}).node("Softmax", {"x"}, {"y"}, {{"axis", 0.5}}).output("y");
  auto graph = builder.import();
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.error().code, ErrorCode::kInvalidModel);
  EXPECT_NE(graph.error().message.find("'axis'"), std::string::npos);
}

TEST(Import, ImpossibleShapesAreNamed) {
  struct Case {
    std::string op;
    std::vector<Shape> inputs;
    ModelBuilder::Attributes attributes;
  };
  std::vector<Case> cases = {
      {"Add", {{2, 3}, {4, 3}}, {}},
      {"MatMul", {{2, 3}, {4, 3}}, {}},
      {"Gemm", {{2, 3}, {4, 3}}, {}},
      {"Conv", {{1, 3, 8, 8}, {4, 2, 3, 3}}, {}},
      {"Conv", {{1, 3, 2, 2}, {4, 3, 3, 3}}, {}},
      {"Conv", {{1, 3, 8, 8}, {4, 3, 3, 3}}, {{"strides", std::vector<int64_t>{0, 1}}}},
      {"Conv", {{1, 3, 8, 8}, {4, 3, 3, 3}}, {{"pads", std::vector<int64_t>{-1, 0, 0, 0}}}},
      {"Conv", {{1, 3, 8, 8}, {4, 3, 3, 3}}, {{"group", int64_t{0}}}},
      {"MaxPool", {{1, 3, 8, 8}}, {{"kernel_shape", std::vector<int64_t>{9, 9}}}},
      {"MaxPool", {{1, 3, 8, 8}}, {{"kernel_shape", std::vector<int64_t>{INT64_MAX, 1}}}},
      {"MaxPool", {{1, 3, 8, 8}}, {}},
      {"Transpose", {{2, 3}}, {{"perm", std::vector<int64_t>{0, 0}}}},
      {"Concat", {{2, 3}, {4, 4}}, {{"axis", int64_t{0}}}},
      {"Softmax", {{2, 3}}, {{"axis", int64_t{2}}}},
      {"Flatten", {{2, 3}}, {{"axis", int64_t{3}}}},
      {"DepthToSpace", {{1, 3, 2, 2}}, {{"blocksize", int64_t{2}}}},
      {"BatchNormalization", {{1, 3, 2}, {2}, {3}, {3}, {3}}, {}},
      {"Add", {{2, 3}}, {}},
  };
  for (const Case& c : cases) {
    ModelBuilder builder;
    std::vector<std::string> names;
    for (const Shape& shape : c.inputs) {
      names.push_back("x" + std::to_string(names.size()));
      builder.input(names.back(), std::vector<ModelBuilder::Dim>(shape.begin(), shape.end()));
    }
    builder.node(c.op, names, {"y"}, c.attributes).output("y");
    auto graph = builder.import();
    ASSERT_FALSE(graph.ok()) << c.op;
    EXPECT_EQ(graph.error().code, ErrorCode::kInvalidModel) << graph.error().message;
    EXPECT_NE(graph.error().message.find(c.op + "_y"), std::string::npos) << graph.error().message;
  }
}

TEST(Import, HugeExtentsDoNotOverflow) {
  ModelBuilder builder;
  builder.input("x", {2}).ints("s", {INT64_MAX, INT64_MAX, 2});
  builder.node("Expand", {"x", "s"}, {"y"}).output("y");
  EXPECT_FALSE(builder.import().ok());
  ModelBuilder tile;
  tile.input("x", {2}).ints("r", {INT64_MAX}).node("Tile", {"x", "r"}, {"y"}).output("y");
  EXPECT_FALSE(tile.import().ok());
  ModelBuilder fill;
  fill.ints("s", {int64_t{1} << 40}).node("ConstantOfShape", {"s"}, {"y"}).output("y");
  EXPECT_FALSE(fill.import().ok());
  ModelBuilder pad;
  pad.input("x", {2}).ints("p", {INT64_MAX, INT64_MAX}).node("Pad", {"x", "p"}, {"y"}).output("y");
  EXPECT_FALSE(pad.import().ok());
  ModelBuilder pool;
  pool.input("x", {1, 1, int64_t{1} << 40}).output("y");
  pool.node("AveragePool", {"x"}, {"y"}, {{"kernel_shape", std::vector<int64_t>{2}}});
  auto too_large = pool.import();
  ASSERT_FALSE(too_large.ok());
  EXPECT_NE(too_large.error().message.find("too large"), std::string::npos);
}

}  // namespace
}  // namespace corf
