// Longer than 500 lines because it draws hostile values for every operator in one place.
// Valid nodes made invalid at random: whatever a file's attributes, shapes, types and constants
// are, importing it gives a graph that verifies or an error, and so does evaluating the graph.
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <sstream>
#include <sys/resource.h>
#include <unistd.h>

#include "onnx/node_import.h"
#include "tests/onnx/model_builder.h"
#include "tests/onnx/node_text.h"

namespace corf {
namespace {

using onnx_proto::AttributeProto;
using onnx_proto::TensorProto;

struct Template : NodeText {
  std::vector<std::pair<std::string, char>> more;  // attributes: name, type's letter
};

std::vector<Template> read_templates() {
  std::ifstream file(std::string(CORF_SOURCE_DIR) + "/tests/onnx/operator_templates.txt");
  std::vector<Template> templates;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    Template entry{parse_node(line), {}};
    std::stringstream more(entry.rest);
    for (std::string word; more >> word;) {
      const size_t equals = word.find('=');
      entry.more.emplace_back(word.substr(0, equals), word[equals + 1]);
    }
    templates.push_back(std::move(entry));
  }
  return templates;
}

/// What a file might hold, from the harmless to what overflows.
class Hostility {
 public:
  explicit Hostility(uint64_t seed) : random_(seed) {}

  uint64_t below(uint64_t bound) { return random_() % bound; }
  bool one_in(uint64_t count) { return below(count) == 0; }
  template <typename T>
  const T& pick(const std::vector<T>& choices) {
    return choices[below(choices.size())];
  }

  int64_t integer() {
    constexpr int64_t kMax = std::numeric_limits<int64_t>::max(), kMin = -kMax - 1;
    static const std::vector<int64_t> small = {0, 1, -1, 2, -2, 3, 4, 7, 16, -5};
    // Nothing in between, which is allowed and takes long.
    static const std::vector<int64_t> large = {100,
                                               int64_t{1} << 31,
                                               int64_t{1} << 32,
                                               int64_t{1} << 40,
                                               int64_t{1} << 62,
                                               -(int64_t{1} << 31),
                                               -(int64_t{1} << 40),
                                               kMax,
                                               kMax - 1,
                                               kMin,
                                               kMin + 1};
    return pick(one_in(2) ? small : large);
  }
  int64_t extent() {
    static const std::vector<int64_t> small = {0, 0, 1, 1, 2, 3, 4, 5, 8, 17};
    static const std::vector<int64_t> large = {100, int64_t{1} << 31, int64_t{1} << 40,
                                               int64_t{1} << 62,
                                               std::numeric_limits<int64_t>::max()};
    return pick(one_in(4) ? large : small);
  }
  double real() {
    constexpr double kInf = std::numeric_limits<double>::infinity();
    static const std::vector<double> choices = {
        0,    -0.0, 1,     -1,   0.5, 2,    0.3,  1e-30,
        1e30, kInf, -kInf, 1e19, 3e9, -3e9, 1e-6, std::numeric_limits<double>::quiet_NaN()};
    return pick(choices);
  }
  std::string text() {
    static const std::vector<std::string> choices = {"",
                                                     "NOTSET",
                                                     "SAME_UPPER",
                                                     "SAME_LOWER",
                                                     "VALID",
                                                     "none",
                                                     "add",
                                                     "linear",
                                                     "nearest",
                                                     "cubic",
                                                     "border",
                                                     "reflection",
                                                     "zeros",
                                                     "reflect",
                                                     "wrap",
                                                     "edge",
                                                     "LEFT",
                                                     "tanh",
                                                     "DCR",
                                                     "reverse",
                                                     "bidirectional",
                                                     "floor",
                                                     "ceil",
                                                     "asymmetric",
                                                     "align_corners",
                                                     "tf_crop_and_resize",
                                                     "half_pixel",
                                                     "i,j->ij",
                                                     "...ij->...",
                                                     "ii->",
                                                     "->",
                                                     "a,a,a",
                                                     "...",
                                                     "\x1b[31m"};
    return pick(choices);
  }

 private:
  std::mt19937_64 random_;
};

/// A value of the type that the letter names, of any kind.
void set_hostile(Hostility& hostility, AttributeProto& attribute, char type) {
  const std::string name = attribute.name();
  attribute.Clear();
  attribute.set_name(name);
  const uint64_t length = hostility.below(5);
  switch (type) {
    case 'i':
      attribute.set_type(AttributeProto::INT);
      attribute.set_i(hostility.integer());
      break;
    case 'f':
      attribute.set_type(AttributeProto::FLOAT);
      attribute.set_f(static_cast<float>(hostility.real()));
      break;
    case 's':
      attribute.set_type(AttributeProto::STRING);
      attribute.set_s(hostility.text());
      break;
    case 'I':
      attribute.set_type(AttributeProto::INTS);
      for (uint64_t i = 0; i < length; ++i) attribute.add_ints(hostility.integer());
      break;
    case 'F':
      attribute.set_type(AttributeProto::FLOATS);
      for (uint64_t i = 0; i < length; ++i) {
        attribute.add_floats(static_cast<float>(hostility.real()));
      }
      break;
    case 'S':
      attribute.set_type(AttributeProto::STRINGS);
      for (uint64_t i = 0; i < length; ++i) attribute.add_strings(hostility.text());
      break;
    default:
      attribute.set_type(AttributeProto::TENSOR);
      attribute.mutable_t()->set_data_type(
          kTypesByName[hostility.below(std::size(kTypesByName))].second);
      for (uint64_t i = 0; i < length; ++i) attribute.mutable_t()->add_dims(hostility.extent());
  }
}

char letter_of(const AttributeProto& attribute) {
  switch (attribute.type()) {
    case AttributeProto::INT:
      return 'i';
    case AttributeProto::FLOAT:
      return 'f';
    case AttributeProto::STRING:
      return 's';
    case AttributeProto::INTS:
      return 'I';
    default:
      return 't';
  }
}

/// One attribute changed: another value, one entry more or less, another type, none, one besides.
void damage_attribute(Hostility& hostility, const Template& entry, onnx_proto::NodeProto& node) {
  if (!entry.more.empty() && (node.attribute_size() == 0 || hostility.one_in(3))) {
    const auto& [name, type] = hostility.pick(entry.more);
    AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    set_hostile(hostility, attribute, type);
    return;
  }
  if (node.attribute_size() == 0) return;
  const int which = static_cast<int>(hostility.below(node.attribute_size()));
  AttributeProto& attribute = *node.mutable_attribute(which);
  const char type = letter_of(attribute);
  const uint64_t kind = hostility.below(8);
  if (kind == 0) {
    node.mutable_attribute()->DeleteSubrange(which, 1);
  } else if (kind == 1) {
    set_hostile(hostility, attribute, "ifsIFSt"[hostility.below(7)]);
  } else if (type == 'I' && attribute.ints_size() > 0 && kind < 6) {
    attribute.set_ints(static_cast<int>(hostility.below(attribute.ints_size())),
                       hostility.integer());
  } else if (type == 'I' && kind == 6) {
    attribute.add_ints(hostility.integer());
  } else {
    set_hostile(hostility, attribute, type);
  }
}

void damage_input(Hostility& hostility, std::vector<TensorText>& inputs) {
  if (inputs.empty() || hostility.one_in(12)) {
    inputs.push_back({"f32", {2}, std::nullopt});
    return;
  }
  TensorText& input = inputs[hostility.below(inputs.size())];
  switch (hostility.below(9)) {
    case 0:
      inputs.pop_back();
      break;
    case 1:
      input = TensorText();
      break;
    case 2:
      input.dtype = kTypesByName[hostility.below(std::size(kTypesByName))].first;
      break;
    case 3:
      input.shape.push_back(hostility.extent());
      break;
    case 4:
      if (!input.shape.empty()) input.shape.erase(input.shape.begin());
      break;
    case 5:  // every extent that is equal to this one, so that operands still fit each other
      if (!input.shape.empty()) {
        const int64_t old = hostility.pick(input.shape), extent = hostility.extent();
        for (TensorText& other : inputs) {
          std::replace(other.shape.begin(), other.shape.end(), old, extent);
        }
      }
      break;
    case 6:
      if (!input.shape.empty())
        input.shape[hostility.below(input.shape.size())] = hostility.extent();
      break;
    case 7:
      if (input.values) {
        input.values.reset();
      } else {
        input.values.emplace();
      }
      break;
    default:
      if (input.values && !input.values->empty()) {
        (*input.values)[hostility.below(input.values->size())] =
            hostility.one_in(3) ? hostility.real() : static_cast<double>(hostility.integer());
      }
  }
}

constexpr int64_t kMaxElems = 1 << 12;  // of constants and of what is evaluated

/// -1 if that is no number.
int64_t count_elems(const Shape& shape) {
  const auto count = checked_num_elems(shape);
  return count.ok() ? *count : -1;
}

Tensor drawn(Hostility& hostility, DType dtype, const Shape& shape) {
  Tensor tensor(dtype, shape);
  for (int64_t i = 0; i < tensor.num_elems(); ++i) {
    is_float(dtype) ? tensor.set_f64(i, hostility.real()) : tensor.set_i64(i, hostility.integer());
  }
  return tensor;
}

/// The template's node with a few faults, as a model of its own.
onnx_proto::ModelProto damaged(Hostility& hostility, const Template& entry) {
  std::vector<TensorText> inputs = entry.inputs;
  int64_t opset = entry.opset;
  int num_outputs = entry.num_outputs;
  ModelBuilder builder;
  onnx_proto::NodeProto node;
  set_operator(builder.proto, node, entry.op);
  node.set_name("node");
  for (const auto& [name, value] : entry.attributes) {
    AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    set_value(attribute, value);
  }
  for (uint64_t faults = hostility.below(4); faults > 0; --faults) {
    const uint64_t kind = hostility.below(10);
    if (kind < 4) damage_attribute(hostility, entry, node);
    if (kind >= 4 && kind < 8) damage_input(hostility, inputs);
    if (kind == 8) opset = static_cast<int64_t>(hostility.below(32));
    if (kind == 9) num_outputs = static_cast<int>(hostility.below(5));
  }
  builder.proto.mutable_opset_import(0)->set_version(opset);
  auto& graph = *builder.proto.mutable_graph();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorText& input = inputs[i];
    const std::string name = input.dtype.empty() ? "" : "x" + std::to_string(i);
    node.add_input(name);
    if (name.empty()) continue;
    const int type = onnx_type(input.dtype);
    const int64_t count = count_elems(input.shape);
    if (!input.values || count < 0 || count > kMaxElems) {
      builder.input(name, {input.shape.begin(), input.shape.end()}, type);
      continue;
    }
    Tensor tensor = drawn(hostility, *onnx::dtype_from_onnx(type), input.shape);
    for (int64_t j = 0; j < count && j < static_cast<int64_t>(input.values->size()); ++j) {
      tensor.set_f64(j, (*input.values)[j]);
    }
    TensorProto& constant = *graph.add_initializer();
    constant.set_name(name);
    constant.set_data_type(type);
    for (int64_t extent : input.shape) constant.add_dims(extent);
    constant.set_raw_data(tensor.bytes(), tensor.size_bytes());
  }
  for (int i = 0; i < num_outputs; ++i) {
    const std::string name = "y" + std::to_string(i);
    node.add_output(name);
    builder.output(name);
  }
  *graph.add_node() = node;
  return builder.proto;
}

/// Whether evaluating takes no time worth mentioning.
bool is_small(const graph::Graph& graph) {
  for (const graph::Value& value : graph.values) {
    if (num_elems(value.shape) > kMaxElems) return false;
  }
  for (const graph::Node& node : graph.nodes) {
    const auto* compute = std::get_if<graph::Compute>(&node.op);
    if (compute == nullptr) continue;
    double points = 1;
    for (const index::Axis& axis : compute->space.axes) points *= static_cast<double>(axis.extent);
    if (points > 1e5) return false;
  }
  return true;
}

/// What would take more is to be refused, or to be an error at least.
class MemoryLimit {
 public:
  MemoryLimit() {
    getrlimit(RLIMIT_AS, &before_);
    [[maybe_unused]] rlimit limit = before_;
    limit.rlim_cur = rlim_t{4} << 30;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    setrlimit(RLIMIT_AS, &limit);
#endif
  }
  ~MemoryLimit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_ = {};
};

std::string current_case;  // for whoever looks at a crash

void print_case(int signal) {
  (void)!write(2, current_case.data(), current_case.size());
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

TEST(HostileNodes, GiveAGraphOrAnError) {
  const std::vector<Template> templates = read_templates();
  ASSERT_GT(templates.size(), 150u);
  for (int signal : {SIGSEGV, SIGFPE, SIGABRT, SIGILL}) std::signal(signal, print_case);
  const char* wanted = std::getenv("CORF_TEST_DRAWS");
  const uint64_t draws = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 4000;
  const char* first = std::getenv("CORF_TEST_SEED");
  const uint64_t seed = first != nullptr ? std::strtoull(first, nullptr, 10) : 1;
  int imported = 0, refused = 0, evaluated = 0;
  const MemoryLimit limit;
  for (uint64_t i = 0; i < draws; ++i) {
    Hostility hostility(seed + i);
    const Template& entry = templates[(seed + i) % templates.size()];
    const onnx_proto::ModelProto proto = damaged(hostility, entry);
    current_case = fmt::format("\nseed {}: {}\n", seed + i, proto.ShortDebugString());
    const std::string bytes = proto.SerializeAsString();
    auto model = onnx::parse_model(bytes.data(), bytes.size());
    if (!model.ok()) {
      ++refused;
      continue;
    }
    auto graph = onnx::import(**model, {});
    if (!graph.ok()) {
      EXPECT_NE(graph.error().code, ErrorCode::kInternal) << graph.error().message << current_case;
      EXPECT_FALSE(graph.error().message.empty());
      ++refused;
      continue;
    }
    ++imported;
    const Status status = graph::verify(*graph);
    EXPECT_TRUE(status.ok()) << status.error().message << current_case;
    if (!status.ok() || !is_small(*graph)) continue;
    std::vector<Tensor> inputs;
    for (graph::ValueId input : graph->inputs) {
      inputs.push_back(drawn(hostility, graph->values[input].dtype, graph->values[input].shape));
    }
    evaluated += graph::evaluate(*graph, inputs, {.round_to_dtype = true}).ok();
  }
  std::cout << imported << " imported (" << evaluated << " evaluated), " << refused << " refused\n";
  EXPECT_GT(evaluated, static_cast<int>(draws / 5));
  EXPECT_GT(refused, static_cast<int>(draws / 5));
}

/// Sanitizers see what is added up before it is found too large.
TEST(HostileNodes, PadsOfColumnsAreBounded) {
  const auto ints = [](std::vector<int64_t> values) {
    return make_tensor<int64_t>({static_cast<int64_t>(values.size())}, values);
  };
  for (const int64_t pad : {int64_t{-1}, int64_t{1} << 60, std::numeric_limits<int64_t>::max()}) {
    const auto graph = ModelBuilder(18)
                           .input("x", {1, 4, 9})
                           .initializer("image", ints({4, 4}))
                           .initializer("block", ints({2, 2}))
                           .node("Col2Im", {"x", "image", "block"}, {"y"},
                                 {{"pads", std::vector<int64_t>{0, pad, 0, pad}}})
                           .output("y")
                           .import();
    ASSERT_FALSE(graph.ok());
    EXPECT_NE(graph.error().message.find("do not fit"), std::string::npos) << graph.error().message;
  }
}

/// An extent of 0 can be divided by anything.
TEST(HostileNodes, HeadsAreBounded) {
  for (const int64_t heads : {int64_t{1} << 40, int64_t{1} << 62}) {
    const auto graph =
        ModelBuilder(23)
            .input("x", {3, 16, 0})
            .input("cos", {3, 16, 0})
            .input("sin", {3, 16, 0})
            .node("RotaryEmbedding", {"x", "cos", "sin"}, {"y"}, {{"num_heads", heads}})
            .output("y")
            .import();
    ASSERT_FALSE(graph.ok());
    EXPECT_NE(graph.error().message.find("do not divide"), std::string::npos);
  }
}

/// The templates themselves are right: all of what they name can be imported, or lacks support.
TEST(HostileNodes, TemplatesHaveEveryOperator) {
  std::set<std::string> named;
  for (const Template& entry : read_templates()) named.insert(entry.op);
  named.insert({"Loop", "Scan"});  // whose bodies no line holds; tests/fuzz draws them
  for (const onnx::Operator& entry : onnx::all_operators()) {
    EXPECT_TRUE(named.contains(std::string(entry.name))) << entry.name << " has no template";
  }
}

}  // namespace
}  // namespace corf
