// Loading: damaged and inconsistent models give one message that names what is wrong.
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <numeric>
#include <thread>
#include <unistd.h>

#include "onnx/external_data.h"
#include "onnx/parse_tensor.h"
#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

using onnx_proto::TensorProto;

ModelBuilder relu_model() {
  return ModelBuilder().input("x", {2, 3}).node("Relu", {"x"}, {"y"}).output("y");
}

void expect_invalid(const ModelBuilder& builder, const std::vector<std::string>& words) {
  auto graph = builder.import();
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.error().code, ErrorCode::kInvalidModel) << graph.error().message;
  for (const std::string& word : words) {
    EXPECT_NE(graph.error().message.find(word), std::string::npos)
        << "'" << word << "' is not in: " << graph.error().message;
  }
}

TEST(Model, ListsInputsOutputsAndMetadata) {
  ModelBuilder builder = relu_model();
  builder.input("w", {"batch", 4});
  auto& entry = *builder.proto.add_metadata_props();
  entry.set_key("characters");
  entry.set_value("abc");
  auto model = builder.parse();
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_EQ((*model)->inputs().size(), 2U);
  EXPECT_EQ((*model)->inputs()[1].dims[0].symbol, "batch");
  EXPECT_EQ((*model)->inputs()[1].dims[0].extent, -1);
  EXPECT_EQ((*model)->inputs()[1].dims[1].extent, 4);
  EXPECT_EQ((*model)->outputs()[0].name, "y");
  EXPECT_EQ((*model)->metadata().at("characters"), "abc");
  EXPECT_EQ((*model)->opset(), 17);
}

/// Elements that are not 0, by their numbers.
void set_sparse(onnx_proto::SparseTensorProto& sparse, const Shape& shape,
                const std::vector<float>& values, const std::vector<int64_t>& places) {
  sparse.mutable_values()->set_name("k");
  sparse.mutable_values()->set_data_type(TensorProto::FLOAT);
  sparse.mutable_values()->add_dims(static_cast<int64_t>(values.size()));
  for (float value : values) sparse.mutable_values()->add_float_data(value);
  sparse.mutable_indices()->set_data_type(TensorProto::INT64);
  sparse.mutable_indices()->add_dims(static_cast<int64_t>(values.size()));
  if (places.size() != values.size()) sparse.mutable_indices()->add_dims(2);
  for (int64_t place : places) sparse.mutable_indices()->add_int64_data(place);
  for (int64_t extent : shape) sparse.add_dims(extent);
}

TEST(Model, SparseTensorsHaveAllTheirElements) {
  ModelBuilder builder;
  builder.input("x", {2, 3}).node("Add", {"x", "k"}, {"y"}).output("y");
  set_sparse(*builder.proto.mutable_graph()->add_sparse_initializer(), {2, 3}, {5, 7}, {1, 5});
  auto& node = *builder.node("Constant", {}, {"z"}).output("z").proto.mutable_graph();
  auto& attribute = *node.mutable_node(1)->add_attribute();
  attribute.set_name("sparse_value");
  attribute.set_type(onnx_proto::AttributeProto::SPARSE_TENSOR);
  set_sparse(*attribute.mutable_sparse_tensor(), {2, 2}, {3, 4}, {0, 1, 1, 0});
  auto outputs = builder.run({make_tensor<float>({2, 3}, std::vector<float>{1, 1, 1, 1, 1, 1})});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{1, 6, 1, 1, 1, 8}));
  EXPECT_EQ(values_of((*outputs)[1]), (std::vector<double>{0, 3, 4, 0}));
}

TEST(Model, DamagedSparseTensorsAreNamed) {
  const auto with = [](const Shape& shape, const std::vector<int64_t>& places) {
    ModelBuilder builder;
    builder.input("x", {2, 3}).node("Add", {"x", "k"}, {"y"}).output("y");
    set_sparse(*builder.proto.mutable_graph()->add_sparse_initializer(), shape, {5, 7}, places);
    return builder;
  };
  expect_invalid(with({2, 3}, {1, 6}), {"initializer 'k'", "outside"});
  expect_invalid(with({2, 3}, {0, 0, -1, 0}), {"initializer 'k'", "outside"});
  expect_invalid(with({2, -3}, {0, 1}), {"initializer 'k'"});
  expect_invalid(with({2, 3, 1}, {0, 1, 0, 1}), {"initializer 'k'", "indices"});
  auto large = with({int64_t{1} << 20, int64_t{1} << 20}, {0, 1}).import();
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(large.error().message.find("too large"), std::string::npos) << large.error().message;
}

TEST(Model, EmptyAndForeignFilesAreNamed) {
  auto empty = onnx::parse_model("", 0);
  ASSERT_FALSE(empty.ok());
  EXPECT_EQ(empty.error().code, ErrorCode::kInvalidModel);
  EXPECT_NE(empty.error().message.find("empty"), std::string::npos);
  std::string text = "this is a text file, not a model";
  auto foreign = onnx::parse_model(text.data(), text.size());
  ASSERT_FALSE(foreign.ok());
  EXPECT_EQ(foreign.error().code, ErrorCode::kInvalidModel);
  auto missing = onnx::load_model("/nonexistent/model.onnx");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kIo);
  EXPECT_NE(missing.error().message.find("/nonexistent/model.onnx"), std::string::npos);
  auto directory = onnx::load_model("/");
  ASSERT_FALSE(directory.ok());
  EXPECT_EQ(directory.error().code, ErrorCode::kIo);
}

TEST(Model, EveryTruncationIsAnErrorOrAModel) {
  ModelBuilder builder = relu_model();
  builder.floats("w", {3}, {1, 2, 3}).node("Add", {"y", "w"}, {"z"}).output("z");
  std::string bytes = builder.bytes();
  int errors = 0;
  for (size_t size = 0; size < bytes.size(); ++size) {
    auto model = onnx::parse_model(bytes.data(), size);
    if (!model.ok()) {
      EXPECT_EQ(model.error().code, ErrorCode::kInvalidModel) << size;
      EXPECT_FALSE(model.error().message.empty());
      ++errors;
    }
  }
  EXPECT_GT(errors, static_cast<int>(bytes.size()) - 3);
}

TEST(Model, EveryDamagedByteIsSurvived) {
  ModelBuilder builder = relu_model();
  builder.floats("w", {3}, {1, 2, 3}).ints("s", {3, 2});
  builder.node("Add", {"y", "w"}, {"z"}).node("Reshape", {"z", "s"}, {"r"}).output("r");
  std::string bytes = builder.bytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int flip : {0x01, 0x10, 0x80, 0xff}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      auto model = onnx::parse_model(damaged.data(), damaged.size());
      if (!model.ok()) continue;
      auto graph = onnx::import(**model, {});
      if (!graph.ok()) continue;
      EXPECT_TRUE(graph::verify(*graph).ok()) << i;
    }
  }
}

TEST(Model, CycleNamesItsNodes) {
  ModelBuilder builder;
  builder.input("x", {2}).output("c");
  builder.node("Add", {"x", "c"}, {"a"}).node("Relu", {"a"}, {"b"}).node("Neg", {"b"}, {"c"});
  builder.node("Relu", {"c"}, {"d"});  // behind the cycle, not in it
  expect_invalid(builder, {"cycle", "Add_a", "Relu_b", "Neg_c"});
  EXPECT_EQ(builder.import().error().message.find("Relu_d"), std::string::npos);
}

TEST(Model, NodesOutOfOrderAreSorted) {
  ModelBuilder builder;
  builder.input("x", {2}).output("c");
  builder.node("Neg", {"b"}, {"c"}).node("Relu", {"a"}, {"b"}).node("Abs", {"x"}, {"a"});
  auto outputs = builder.run({floats({2}, {-3, 4})});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{-3, -4}));
}

TEST(Model, DuplicateAndUndefinedNamesAreNamed) {
  expect_invalid(ModelBuilder()
                     .input("x", {2})
                     .node("Relu", {"x"}, {"y"})
                     .node("Abs", {"x"}, {"y"})
                     .output("y"),
                 {"'y'", "defined twice", "Relu_y", "Abs_y"});
  expect_invalid(ModelBuilder().input("x", {2}).node("Add", {"x", "lost"}, {"y"}).output("y"),
                 {"Add_y", "'lost'", "not defined"});
  expect_invalid(ModelBuilder().input("x", {2}).output("y"), {"'y'"});
  expect_invalid(ModelBuilder().input("x", {2}).input("x", {2}).output("x"), {"'x'", "twice"});
  expect_invalid(ModelBuilder().floats("w", {1}, {1}).floats("w", {1}, {1}).output("w"),
                 {"'w'", "twice"});
  expect_invalid(ModelBuilder().input("x", {2}), {"no outputs"});
}

TEST(Model, MissingOpsetAndGraphAreNamed) {
  ModelBuilder builder = relu_model();
  builder.proto.clear_opset_import();
  expect_invalid(builder, {"opset"});
  builder = relu_model();
  builder.proto.clear_graph();
  expect_invalid(builder, {"no graph"});
}

TEST(Model, InconsistentInitializersAreNamed) {
  ModelBuilder builder = relu_model();
  builder.floats("w", {3}, {1, 2, 3});
  auto& proto = *builder.proto.mutable_graph()->mutable_initializer(0);
  proto.set_dims(0, 4);
  expect_invalid(builder, {"'w'", "12 bytes", "16"});
  proto.set_dims(0, -3);
  expect_invalid(builder, {"'w'"});
  proto.add_dims(INT64_MAX);
  proto.set_dims(0, INT64_MAX);
  expect_invalid(builder, {"'w'"});
  proto.clear_dims();
  proto.add_dims(3);
  proto.clear_raw_data();
  expect_invalid(builder, {"'w'", "0 elements", "needs 3"});
  proto.set_data_type(TensorProto::UNDEFINED);
  expect_invalid(builder, {"'w'", "undefined"});
}

TEST(Model, TypedFieldsAreRead) {
  ModelBuilder builder;
  builder.output("f").output("h").output("b");
  auto& graph = *builder.proto.mutable_graph();
  auto& f = *graph.add_initializer();
  f.set_name("f");
  f.set_data_type(TensorProto::FLOAT);
  f.add_dims(2);
  f.add_float_data(1.5F);
  f.add_float_data(-2);
  auto& h = *graph.add_initializer();
  h.set_name("h");
  h.set_data_type(TensorProto::FLOAT16);
  h.add_dims(1);
  h.add_int32_data(0x3e00);  // 1.5
  auto& b = *graph.add_initializer();
  b.set_name("b");
  b.set_data_type(TensorProto::BOOL);
  b.add_dims(2);
  b.add_int32_data(0);
  b.add_int32_data(256);
  auto outputs = builder.run({});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{1.5, -2}));
  EXPECT_EQ(values_of((*outputs)[1]), (std::vector<double>{1.5}));
  EXPECT_EQ(values_of((*outputs)[2]), (std::vector<double>{0, 1}));
}

TEST(Model, TypeMismatchIsNamed) {
  expect_invalid(ModelBuilder()
                     .input("x", {2})
                     .input("i", {2}, TensorProto::INT64)
                     .node("Add", {"x", "i"}, {"y"})
                     .output("y"),
                 {"Add_y", "f32", "i64"});
  expect_invalid(
      ModelBuilder().input("x", {2}).node("Relu", {"x"}, {"y"}).output("y", TensorProto::INT64),
      {"Relu_y", "f32", "int64"});
}

class ExternalData : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::temp_directory_path() / ("corf_external_" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_ / "model");
    std::ofstream(directory_ / "model" / "weights.bin", std::ios::binary)
        .write(reinterpret_cast<const char*>(kValues), sizeof(kValues));
    std::ofstream(directory_ / "secret.bin", std::ios::binary)
        .write(reinterpret_cast<const char*>(kValues), sizeof(kValues));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  ModelBuilder builder(const std::string& location, const std::string& offset,
                       const std::string& length) const {
    ModelBuilder builder;
    builder.input("x", {2}).node("Add", {"x", "w"}, {"y"}).output("y");
    auto& proto = *builder.proto.mutable_graph()->add_initializer();
    proto.set_name("w");
    proto.set_data_type(TensorProto::FLOAT);
    proto.add_dims(2);
    proto.set_data_location(TensorProto::EXTERNAL);
    for (auto [key, value] :
         {std::pair{"location", location}, {"offset", offset}, {"length", length}}) {
      auto& entry = *proto.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    }
    return builder;
  }
  /// Writes the model beside its weights and loads it from there.
  Result<std::shared_ptr<const onnx::Model>> load(const ModelBuilder& builder) const {
    std::string path = (directory_ / "model" / "model.onnx").string();
    std::ofstream(path, std::ios::binary) << builder.bytes();
    return onnx::load_model(path);
  }

  static constexpr float kValues[4] = {1, 2, 3, 4};
  std::filesystem::path directory_;
};

TEST_F(ExternalData, IsRead) {
  auto model = load(builder("weights.bin", "8", "8"));
  ASSERT_TRUE(model.ok()) << model.error().message;
  auto graph = onnx::import(**model, {});
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  model = std::shared_ptr<const onnx::Model>();  // the tensors keep their bytes
  auto outputs = graph::evaluate(*graph, {floats({2}, {10, 20})}, {.round_to_dtype = true});
  ASSERT_TRUE(outputs.ok());
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{13, 24}));
}

TEST_F(ExternalData, OutsideOfTheDirectoryIsRefused) {
  for (const std::string& location :
       {std::string("../secret.bin"), (directory_ / "secret.bin").string(),
        std::string("sub/../../secret.bin")}) {
    auto model = load(builder(location, "0", "8"));
    ASSERT_FALSE(model.ok()) << location;
    EXPECT_EQ(model.error().code, ErrorCode::kInvalidModel);
    EXPECT_NE(model.error().message.find("outside"), std::string::npos) << model.error().message;
  }
  std::filesystem::create_symlink(directory_ / "secret.bin", directory_ / "model" / "link.bin");
  EXPECT_FALSE(load(builder("link.bin", "0", "8")).ok());
  std::filesystem::create_hard_link(directory_ / "secret.bin", directory_ / "model" / "hard.bin");
  auto linked = load(builder("hard.bin", "0", "8"));
  ASSERT_FALSE(linked.ok());
  EXPECT_NE(linked.error().message.find("2 hard links"), std::string::npos);
}

TEST_F(ExternalData, LinksAndPathsWithinTheDirectoryAreFollowed) {
  std::filesystem::create_directory(directory_ / "model" / "sub");
  std::filesystem::create_symlink("weights.bin", directory_ / "model" / "link.bin");
  for (const char* location : {"link.bin", "./weights.bin", "sub/../weights.bin"}) {
    auto model = load(builder(location, "0", "8"));
    EXPECT_TRUE(model.ok()) << model.error().message;
  }
}

/// An empty directory is the current one, not the root of all paths.
TEST_F(ExternalData, OfModelsInMemoryLieInTheirDirectory) {
  const std::string bytes = builder("weights.bin", "0", "8").bytes();
  const std::string directory = (directory_ / "model").string();
  EXPECT_TRUE(onnx::parse_model(bytes.data(), bytes.size(), directory).ok());
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(directory_ / "model");
  EXPECT_TRUE(onnx::parse_model(bytes.data(), bytes.size(), "").ok());
  for (const std::string& location :
       {std::string("../secret.bin"), (directory_ / "secret.bin").string()}) {
    const std::string outside = builder(location, "0", "8").bytes();
    auto model = onnx::parse_model(outside.data(), outside.size(), "");
    ASSERT_FALSE(model.ok()) << location;
    EXPECT_NE(model.error().message.find("outside"), std::string::npos);
  }
  std::filesystem::current_path(before);
}

/// With a mapping instead of a copy, reading the weights would end the process here.
TEST_F(ExternalData, MayBeCutShortAfterLoading) {
  auto model = load(builder("weights.bin", "8", "8"));
  ASSERT_TRUE(model.ok()) << model.error().message;
  std::filesystem::resize_file(directory_ / "model" / "weights.bin", 0);
  auto graph = onnx::import(**model, {});
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  auto outputs = graph::evaluate(*graph, {floats({2}, {10, 20})}, {.round_to_dtype = true});
  ASSERT_TRUE(outputs.ok());
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{13, 24}));
}

TEST_F(ExternalData, ReadLateFromAChangedFileIsAnError) {
  const std::string path = (directory_ / "model" / "weights.bin").string();
  auto file = onnx::ExternalFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  std::filesystem::resize_file(path, 8);
  auto bytes = (*file)->read(8, 8);
  ASSERT_FALSE(bytes.ok());
  EXPECT_NE(bytes.error().message.find("load the model again"), std::string::npos);
}

/// Each thread finds each tensor's bytes whole, whoever has read them.
TEST_F(ExternalData, IsSafeBetweenThreads) {
  constexpr int64_t kElems = 1 << 20;
  std::vector<int32_t> values(kElems);
  std::iota(values.begin(), values.end(), 0);
  std::ofstream(directory_ / "model" / "large.bin", std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), kElems * 4);
  onnx::ExternalData external({(directory_ / "model").string()});
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < 200; ++i) {
        const int64_t at = (i * 7919 + t * 104729) % (kElems - 1000);
        auto file = external.open(i % 2 == 0 ? "large.bin" : "./large.bin");
        auto bytes = file.ok() ? (*file)->read(at * 4, 4000) : file.error();
        wrong += !bytes.ok() || std::memcmp(*bytes, &values[at], 4000) != 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(ExternalData, OfATensorWithoutAModelIsRefused) {
  const auto proto = builder("weights.bin", "0", "8").proto.graph().initializer(0);
  const std::string bytes = proto.SerializeAsString();
  auto tensor = onnx::parse_tensor(bytes.data(), bytes.size());
  ASSERT_FALSE(tensor.ok());
  EXPECT_NE(tensor.error().message.find("raw_data"), std::string::npos) << tensor.error().message;
}

TEST_F(ExternalData, OffsetsAndLengthsAreChecked) {
  EXPECT_FALSE(load(builder("weights.bin", "12", "8")).ok());
  EXPECT_FALSE(load(builder("weights.bin", "0", "12")).ok());
  EXPECT_FALSE(load(builder("weights.bin", "18446744073709551615", "8")).ok());
  EXPECT_FALSE(load(builder("weights.bin", "-8", "8")).ok());
  EXPECT_FALSE(load(builder("weights.bin", "99999999999999999999999", "8")).ok());
  EXPECT_FALSE(load(builder("", "0", "8")).ok());
  auto missing = load(builder("missing.bin", "0", "8"));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kIo);
  EXPECT_NE(missing.error().message.find("missing.bin"), std::string::npos);
}

TEST(Model, FunctionsAreInlined) {
  ModelBuilder builder;
  builder.input("x", {2}).output("y");
  builder.proto.add_opset_import()->set_domain("local");
  auto& function = *builder.proto.add_functions();
  function.set_domain("local");
  function.set_name("ScaledAbs");
  function.add_input("a");
  function.add_output("b");
  function.add_attribute("alpha");
  auto& abs = *function.add_node();
  abs.set_op_type("Abs");
  abs.add_input("a");
  abs.add_output("t");
  auto& leaky = *function.add_node();
  leaky.set_op_type("LeakyRelu");
  leaky.add_input("neg");
  leaky.add_output("b");
  auto& alpha = *leaky.add_attribute();
  alpha.set_name("alpha");
  alpha.set_ref_attr_name("alpha");
  alpha.set_type(onnx_proto::AttributeProto::FLOAT);
  auto& neg = *function.add_node();  // out of order on purpose
  neg.set_op_type("Neg");
  neg.add_input("t");
  neg.add_output("neg");
  builder.node("ScaledAbs", {"x"}, {"h"}, {{"alpha", 0.5}});
  builder.node("ScaledAbs", {"h"}, {"y"}, {{"alpha", 0.25}});
  for (auto& node : *builder.proto.mutable_graph()->mutable_node()) node.set_domain("local");
  auto outputs = builder.run({floats({2}, {-8, 4})});
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ(values_of((*outputs)[0]), (std::vector<double>{-1, -0.5}));
}

TEST(Model, FunctionThatCallsItselfIsNamed) {
  ModelBuilder builder = relu_model();
  auto& function = *builder.proto.add_functions();
  function.set_name("Relu");
  function.add_input("a");
  function.add_output("b");
  for (int i = 0; i < 2; ++i) {
    auto& call = *function.add_node();
    call.set_op_type("Relu");
    call.add_input(i == 0 ? "a" : "t");
    call.add_output(i == 0 ? "t" : "b");
  }
  expect_invalid(builder, {"Relu", "calls itself"});
}

TEST(Model, LongChainsNeedNoStack) {
  ModelBuilder builder;
  builder.input("x", {1}).output("y");
  constexpr int kLength = 20000;
  for (int i = 0; i < kLength; ++i) {
    std::string from = i == 0 ? "x" : "v" + std::to_string(i);
    std::string to = i + 1 == kLength ? "y" : "v" + std::to_string(i + 1);
    builder.node("Relu", {from}, {to});
  }
  auto graph = builder.import();
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(graph->nodes.size(), kLength + 1U);
}

}  // namespace
}  // namespace corf
