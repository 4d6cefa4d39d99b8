// Which element types operators take: one table for all of them.
#include "onnx/operator_types.h"

#include <gtest/gtest.h>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using onnx_proto::TensorProto;

struct Case {
  std::string op;
  std::vector<int> types;  // of inputs of shape 2x3x4x4
  std::string refusal;     // a part of the message; empty: allowed
};

TEST(OperatorTypes, EveryOperatorHasARow) {
  for (const onnx::Operator& entry : onnx::all_operators()) {
    EXPECT_TRUE(onnx::has_input_types(entry.name)) << entry.name;
  }
}

TEST(OperatorTypes, AreCheckedBeforeTheOperatorSeesThem) {
  constexpr int kF32 = TensorProto::FLOAT, kF16 = TensorProto::FLOAT16, kI64 = TensorProto::INT64,
                kI8 = TensorProto::INT8, kU8 = TensorProto::UINT8, kBool = TensorProto::BOOL;
  const std::vector<Case> cases = {
      {"Relu", {kF32}, ""},
      {"Relu", {kI64}, ""},
      {"Relu", {kBool}, "its input 0 has element type bool; number is required"},
      {"Erf", {kI64}, ""},
      {"Erf", {kBool}, "element type bool"},
      {"Exp", {kI64}, "element type i64; float is required"},
      {"Neg", {kU8}, "signed is required"},
      {"Not", {kI8}, "bool is required"},
      {"Add", {kF32, kF16}, "its inputs 0 and 1 have different element types, f32 and f16"},
      {"Equal", {kBool, kBool}, ""},
      {"Less", {kBool, kBool}, "element type bool"},
      {"Max", {kF32, kF32, kI8}, "its inputs 0 and 2"},
      {"Where", {kBool, kI8, kI8}, ""},
      {"Where", {kF32, kI8, kI8}, "bool is required"},
      {"Where", {kBool, kI8, kU8}, "its inputs 1 and 2"},
      {"Abs", {kF32, kF32}, "it has 2 inputs and takes 1 at most"},
      {"GlobalMaxPool", {kBool}, "float is required"},
      {"ConvInteger", {kU8, kF32}, "i8 or u8 is required"},
      {"Gather", {kF32, kF32}, "i32 or i64 is required"},
  };
  for (const Case& c : cases) {
    ModelBuilder builder(17);
    std::vector<std::string> names;
    for (const int type : c.types) {
      names.push_back("x" + std::to_string(names.size()));
      builder.input(names.back(), {2, 3, 4, 4}, type);
    }
    builder.node(c.op, names, {"y"}).output("y");
    const auto graph = builder.import();
    EXPECT_EQ(graph.ok(), c.refusal.empty()) << c.op << (graph.ok() ? "" : graph.error().message);
    if (graph.ok() || c.refusal.empty()) continue;
    EXPECT_EQ(graph.error().code, ErrorCode::kInvalidModel) << c.op;
    EXPECT_NE(graph.error().message.find(c.refusal), std::string::npos) << graph.error().message;
    EXPECT_NE(graph.error().message.find(c.op + "_y"), std::string::npos) << graph.error().message;
  }
}

}  // namespace
}  // namespace corf
