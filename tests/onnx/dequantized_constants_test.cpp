#include "onnx/dequantized_constants.h"

#include <gtest/gtest.h>

#include "onnx/tensor_proto.h"

namespace corf::onnx {
namespace {

using onnx_proto::GraphProto;
using onnx_proto::TensorProto;

TensorProto constant(const std::string& name, int type, std::initializer_list<int64_t> dims,
                     const std::string& bytes) {
  TensorProto proto;
  proto.set_name(name);
  proto.set_data_type(type);
  for (const int64_t dim : dims) proto.add_dims(dim);
  proto.set_raw_data(bytes);
  return proto;
}

GraphProto graph(int type_of_zero_point = TensorProto::INT4) {
  GraphProto graph;
  *graph.add_initializer() = constant("w", TensorProto::INT4, {3}, "\x87\x0f");
  *graph.add_initializer() = constant("zero", type_of_zero_point, {}, "\x01");
  auto* node = graph.add_node();
  node->set_op_type("DequantizeLinear");
  for (const char* input : {"w", "scale", "zero"}) node->add_input(input);
  return graph;
}

std::vector<int64_t> numbers(const TensorProto& proto) {
  ExternalData external({});
  const auto tensor = read_digits(proto, external, "a constant");
  EXPECT_TRUE(tensor) << tensor.error().message;
  std::vector<int64_t> result;
  for (int64_t i = 0; tensor && i < tensor->num_elems(); ++i) result.push_back(tensor->at_i64(i));
  return result;
}

TEST(DequantizedConstants, AreThoseThatDequantizeLinearReads) {
  EXPECT_EQ(find_dequantized_constants(graph()), (std::set<std::string>{"w", "zero"}));
}

TEST(DequantizedConstants, AreNotWhatOthersReadToo) {
  GraphProto read_twice = graph();
  auto* cast = read_twice.add_node();
  cast->set_op_type("Cast");
  cast->add_input("zero");
  // The weights' node then takes a zero point that stays what it is.
  EXPECT_TRUE(find_dequantized_constants(read_twice).empty());
  EXPECT_TRUE(find_dequantized_constants(graph(TensorProto::UINT4)).empty());
  GraphProto is_output = graph();
  is_output.add_output()->set_name("w");
  EXPECT_TRUE(find_dequantized_constants(is_output).empty());
  GraphProto read_by_body = graph();
  auto* branch = read_by_body.add_node();
  branch->set_op_type("If");
  auto* inner = branch->add_attribute()->mutable_g()->add_node();
  inner->set_op_type("Identity");
  inner->add_input("w");
  EXPECT_TRUE(find_dequantized_constants(read_by_body).empty());
}

TEST(DequantizedConstants, ReadNumbersFromTheLowestBitsOn) {
  EXPECT_EQ(numbers(constant("w", TensorProto::INT4, {3}, "\x87\x0f")),
            (std::vector<int64_t>{7, -8, -1}));
  EXPECT_EQ(numbers(constant("w", TensorProto::UINT4, {2, 2}, "\x87\x0f")),
            (std::vector<int64_t>{7, 8, 15, 0}));
  EXPECT_EQ(numbers(constant("w", 26, {4}, "\xe4")), (std::vector<int64_t>{0, 1, -2, -1}));
  ExternalData external({});
  const auto too_short = read_digits(constant("w", 21, {5}, "\x87\x0f"), external, "constant 'w'");
  ASSERT_FALSE(too_short);
  EXPECT_EQ(too_short.error().code, ErrorCode::kInvalidModel);
}

}  // namespace
}  // namespace corf::onnx
