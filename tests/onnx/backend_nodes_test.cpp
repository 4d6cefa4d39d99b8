// The ONNX project's own tests of single operators, from disk: each folder holds a model and inputs
// with the expected outputs. Those that corf supports are imported and evaluated by the reference.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iostream>

#include "graph/evaluate.h"
#include "graph/text.h"
#include "onnx/import.h"
#include "onnx/tensor_proto.h"

namespace corf {
namespace {

namespace fs = std::filesystem;

/// How many of ONNX 1.23.2's 2024 folders pass. Raise it when operators are added.
constexpr int kMinPassed = 1650;

fs::path backend_directory() {
  if (const char* directory = std::getenv("CORF_ONNX_BACKEND_DIR")) return directory;
  return fs::path(CORF_SOURCE_DIR) / "build/models/onnx_backend";
}

Result<Tensor> read_tensor_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto proto = std::make_shared<onnx_proto::TensorProto>();
  if (!proto->ParseFromString(bytes)) {
    return make_error(ErrorCode::kUnsupported, "'{}' is no tensor", path.string());
  }
  onnx::ExternalData external({path.parent_path().string()});
  return onnx::read_tensor(*proto, proto, external, path.filename().string());
}

Result<std::vector<Tensor>> read_tensors(const fs::path& folder, const std::string& kind) {
  std::vector<Tensor> tensors;
  for (int i = 0;; ++i) {
    fs::path path = folder / fmt::format("{}_{}.pb", kind, i);
    if (!fs::exists(path)) return tensors;
    CORF_ASSIGN(Tensor tensor, read_tensor_file(path));
    tensors.push_back(std::move(tensor));
  }
}

/// The tolerance that the ONNX backend tests have by default.
std::string difference(const Tensor& actual, const Tensor& expected) {
  if (actual.shape() != expected.shape()) {
    return fmt::format("shape {} instead of {}", to_string(actual.shape()),
                       to_string(expected.shape()));
  }
  if (actual.dtype() != expected.dtype()) {
    return fmt::format("type {} instead of {}", to_string(actual.dtype()),
                       to_string(expected.dtype()));
  }
  double tolerance = 1e-3;
  if (expected.dtype() == DType::kF16) tolerance = 1e-2;
  if (expected.dtype() == DType::kBF16) tolerance = 0x1p-6;  // two units in the last place
  // Exact arithmetic may fall on the other side of a tie than the float32 that made the data.
  double step = expected.dtype() == DType::kU8 || expected.dtype() == DType::kI8 ? 1 : 1e-6;
  for (int64_t i = 0; i < expected.num_elems(); ++i) {
    double a = actual.at_f64(i);
    double e = expected.at_f64(i);
    bool equal = a == e || (std::isnan(a) && std::isnan(e)) ||
                 std::abs(a - e) <= step + tolerance * std::abs(e);
    if (!equal) return fmt::format("element {} is {} instead of {}", i, a, e);
  }
  return "";
}

enum class Outcome { kPassed, kUnsupported, kFailed };

/// What is to be tried on one folder. ONNX's tests hand in shapes, axes and bounds as inputs, while
/// corf wants them known: `fix_inputs` makes constants of all inputs but the first.
struct Case {
  fs::path folder;
  bool fix_inputs = false;
};

/// Whether all are tensors; models of sequences and optionals are for the host executor.
bool are_tensors(const auto& values) {
  return std::all_of(values.begin(), values.end(),
                     [](const auto& value) { return value.type().has_tensor_type(); });
}

Result<std::shared_ptr<const onnx::Model>> load(const Case& test) {
  std::ifstream file(test.folder / "model.onnx", std::ios::binary);
  onnx_proto::ModelProto proto;
  if (!proto.ParseFromIstream(&file)) return make_error(ErrorCode::kInvalidModel, "damaged");
  auto& graph = *proto.mutable_graph();
  if (!are_tensors(graph.input()) || !are_tensors(graph.output())) {
    return make_error(ErrorCode::kUnsupported, "its inputs or outputs are no tensors");
  }
  if (!test.fix_inputs) return onnx::load_model((test.folder / "model.onnx").string());
  for (int i = 1; i < graph.input_size(); ++i) {
    auto& constant = *graph.add_initializer();
    std::ifstream data(test.folder / "test_data_set_0" / fmt::format("input_{}.pb", i),
                       std::ios::binary);
    if (!constant.ParseFromIstream(&data)) {
      return make_error(ErrorCode::kUnsupported, "input {} is no tensor", i);
    }
    if (constant.data_type() != graph.input(i).type().tensor_type().elem_type()) {
      return make_error(ErrorCode::kUnsupported, "input {} is of another type than declared", i);
    }
    constant.set_name(graph.input(i).name());
  }
  std::string bytes = proto.SerializeAsString();
  return onnx::parse_model(bytes.data(), bytes.size());
}

Outcome run_case(const Case& test, std::string& why) {
  auto verdict = [&why](const Error& error) {
    why = error.message;
    return error.code == ErrorCode::kUnsupported ? Outcome::kUnsupported : Outcome::kFailed;
  };
  auto model = load(test);
  if (!model.ok()) return verdict(model.error());
  fs::path data = test.folder / "test_data_set_0";
  auto inputs = read_tensors(data, "input");
  if (!inputs.ok()) return verdict(inputs.error());
  auto expected = read_tensors(data, "output");
  if (!expected.ok()) return verdict(expected.error());
  if (test.fix_inputs && !inputs->empty()) inputs->resize(1);
  onnx::ShapeBindings shapes;
  for (size_t i = 0; i < (*model)->inputs().size() && i < inputs->size(); ++i) {
    const onnx::ModelTensor& declared = (*model)->inputs()[i];
    shapes[declared.name] = (*inputs)[i].shape();
    if (declared.dtype != (*inputs)[i].dtype()) {  // bfloat16 is stored as uint16
      why = "the test's data is of another type than its model";
      return Outcome::kUnsupported;
    }
  }
  auto graph = onnx::import(**model, shapes);
  if (!graph.ok()) return verdict(graph.error());
  auto status = graph::verify(*graph);
  if (!status.ok()) return verdict(status.error());
  for (const graph::Node& node : graph->nodes) {
    const auto* opaque = std::get_if<graph::Opaque>(&node.op);
    if (opaque == nullptr || opaque->routine != "Random") continue;
    why = "the test's random numbers are others";
    return Outcome::kUnsupported;
  }
  auto outputs = graph::evaluate(*graph, *inputs, {.round_to_dtype = true});
  if (!outputs.ok()) return verdict(outputs.error());
  for (size_t i = 0; i < expected->size() && i < outputs->size(); ++i) {
    Tensor wanted = (*expected)[i];
    if ((*outputs)[i].dtype() == DType::kBF16 && wanted.dtype() == DType::kU16) {
      Tensor bits(DType::kBF16, wanted.shape());
      std::copy_n(wanted.bytes(), wanted.size_bytes(), bits.bytes());
      wanted = bits;
    }
    why = difference((*outputs)[i], wanted);
    if (!why.empty()) return Outcome::kFailed;
  }
  return Outcome::kPassed;
}

TEST(BackendNodes, EvaluateToTheExpectedOutputs) {
  fs::path directory = backend_directory();
  if (!fs::exists(directory)) {
    GTEST_SKIP() << directory << " is missing; scripts/fetch_models fetches it";
  }
  bool verbose = std::getenv("CORF_TEST_VERBOSE") != nullptr;
  std::vector<fs::path> folders;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.path().filename() == "model.onnx") folders.push_back(entry.path().parent_path());
  }
  std::sort(folders.begin(), folders.end());
  int passed = 0;
  int unsupported = 0;
  for (const fs::path& folder : folders) {
    std::string why;
    Outcome outcome = run_case({folder}, why);
    if (outcome == Outcome::kUnsupported) outcome = run_case({folder, true}, why);
    passed += outcome == Outcome::kPassed;
    unsupported += outcome == Outcome::kUnsupported;
    std::string name = folder.filename().string();
    if (outcome == Outcome::kFailed) ADD_FAILURE() << name << ": " << why;
    if (outcome == Outcome::kUnsupported && verbose) std::cout << name << ": " << why << "\n";
  }
  std::cout << passed << " passed, " << unsupported << " unsupported of " << folders.size() << "\n";
  EXPECT_GE(passed, kMinPassed);
}

}  // namespace
}  // namespace corf
