#include "tests/fuzz/random_model.h"

#include <limits>
#include <optional>
#include <sstream>

#include "onnx/tensor_proto.h"
#include "tests/fuzz/model_operators.h"
#include "tests/fuzz/odd_values.h"

namespace corf::fuzz {
namespace {

using onnx_proto::AttributeProto;
using onnx_proto::NodeProto;
using onnx_proto::TensorProto;

bool is_large(const Shape& shape) {
  constexpr double kMostElems = 8192;
  double elems = 1;
  for (int64_t extent : shape) elems *= double(extent);
  return elems > kMostElems;
}

constexpr int64_t kExtents[] = {1, 2, 3, 4, 5, 8, 1, 2, 3, 6, 7, 16, 9, 17, 33, 0};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

class RandomModel {
 public:
  RandomModel(Choices& choices, const ModelChoices& how) : choices_(choices), how_(how) {
    model_.set_ir_version(10);
    auto& graph = *model_.mutable_graph();
    graph.set_name("g");
    const int64_t opset =
        how.any_opset && choices.chance(64) ? choices.pick(1, 30) : 13 + choices.pick(0, 10);
    model_.add_opset_import()->set_version(opset);
  }

  onnx_proto::ModelProto make(const TryNode& try_node) {
    // Most are of one node: operators go wrong on their own, passes on two or three of them.
    static const size_t kNumNodes[] = {1, 2, 1, 1, 3, 1, 2, 1, 1, 4, 1, 2, 1, 3, 1, 2};
    const size_t nodes = std::min(choices_.any(kNumNodes), how_.most_nodes);
    for (size_t i = 0; i < nodes && !choices_.at_end(); ++i) add_node(try_node);
    if (made_.empty()) add_output(input().name);
    return std::move(model_);
  }

 private:
  int64_t odd_int() { return odd_int_of(choices_); }
  bool odd() { return choices_.chance(how_.odd_of_256); }

  Shape shape(int64_t least_rank = 0) {
    static const int64_t kRanks[] = {4, 2, 3, 1, 4, 0, 5, 3};
    const int64_t rank = std::max(least_rank, choices_.any(kRanks));
    Shape extents;
    int64_t elems = 1;
    for (int64_t d = 0; d < rank; ++d) {
      int64_t extent = choices_.any(kExtents);
      if (elems * extent > how_.most_elems) extent = 1;
      elems *= std::max<int64_t>(extent, 1);
      extents.push_back(extent);
    }
    return extents;
  }

  void describe(onnx_proto::ValueInfoProto& info, const ModelValue& value, bool with_shape) {
    info.set_name(value.name);
    auto& tensor = *info.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(value.type);
    if (!with_shape) return;
    tensor.mutable_shape();
    for (int64_t extent : value.shape) tensor.mutable_shape()->add_dim()->set_dim_value(extent);
  }

  void add_output(const std::string& name) { model_.mutable_graph()->add_output()->set_name(name); }

  std::string new_name() { return "v" + std::to_string(count_++); }

  ModelValue input() {
    ModelValue value{new_name(), type_, shape_};
    describe(*model_.mutable_graph()->add_input(), value, true);
    values_.push_back(value);
    return value;
  }

  /// A constant or, as often, an input. What odd numbers have made large is always an input.
  std::string tensor(int type, Shape extents, bool constant) {
    const ModelValue value{new_name(), type, std::move(extents)};
    if (!constant || is_large(value.shape)) {
      describe(*model_.mutable_graph()->add_input(), value, true);
    } else {
      TensorProto& proto = *model_.mutable_graph()->add_initializer();
      fill(proto, type, value.shape);
      proto.set_name(value.name);
    }
    values_.push_back(value);
    return value.name;
  }
  std::string tensor(int type, const Shape& extents) {
    const bool constant = choices_.chance(110);
    return tensor(type, extents, constant);
  }

  void fill(TensorProto& proto, int type, const Shape& extents) {
    fill_tensor(proto, type, extents, choices_);
  }

  std::string integers(const std::vector<int64_t>& numbers, bool as_list = true) {
    TensorProto& proto = *model_.mutable_graph()->add_initializer();
    const bool narrow = choices_.chance(16);
    proto.set_data_type(narrow ? TensorProto::INT32 : TensorProto::INT64);
    const std::string name = new_name();
    proto.set_name(name);
    if (as_list) proto.add_dims(static_cast<int64_t>(numbers.size()));
    for (int64_t number : numbers) {
      if (narrow)
        proto.add_int32_data(static_cast<int32_t>(number));
      else
        proto.add_int64_data(number);
    }
    return name;
  }

  int64_t rank() const { return static_cast<int64_t>(shape_.size()); }
  int64_t extent(int64_t d) const { return d < rank() ? shape_[static_cast<size_t>(d)] : 1; }
  size_t spatial() const { return shape_.size() > 2 ? shape_.size() - 2 : 0; }

  int64_t axis() {
    return odd() ? odd_int() : choices_.pick(-rank(), std::max<int64_t>(0, rank() - 1));
  }

  std::vector<int64_t> axes() {
    std::vector<int64_t> result;
    if (odd()) {
      for (size_t i = choices_.below(4); i > 0; --i) result.push_back(odd_int());
      return result;
    }
    const size_t first = choices_.below(shape_.size() + 1), step = 1 + choices_.below(2);
    for (size_t i = first; i < shape_.size(); i += step) result.push_back(static_cast<int64_t>(i));
    if (choices_.chance(32)) {
      for (int64_t& entry : result) entry -= rank();
    }
    return result;
  }

  std::vector<int64_t> permutation() {
    std::vector<int64_t> result;
    for (int64_t d = 0; d < rank(); ++d) result.push_back(d);
    for (size_t d = 0; d < result.size(); ++d) {
      std::swap(result[d], result[d + choices_.below(result.size() - d)]);
    }
    if (odd() && !result.empty()) result[0] = odd_int();
    return result;
  }

  std::vector<int64_t> counts(size_t n, int64_t lo, int64_t hi) {
    std::vector<int64_t> result;
    for (size_t i = 0; i < n; ++i) result.push_back(odd() ? odd_int() : choices_.pick(lo, hi));
    return result;
  }

  Shape broadcast() {
    Shape result = shape_;
    const size_t dropped = choices_.chance(96) ? choices_.below(result.size() + 1) : 0;
    result.erase(result.begin(), result.begin() + static_cast<int64_t>(dropped));
    for (int64_t& entry : result) {
      if (choices_.chance(64)) entry = 1;
    }
    if (odd()) return shape();
    return result;
  }

  /// Of as many elements as the value has, mostly.
  std::vector<int64_t> new_shape() {
    std::vector<int64_t> result = shape_;
    switch (choices_.below(6)) {
      case 0:
        result = {-1};
        break;
      case 1:
        result.insert(result.begin(), 1);
        break;
      case 2:
        if (result.size() > 1) {
          result[1] *= result[0];
          result.erase(result.begin());
        }
        break;
      case 3:
        if (!result.empty()) result[choices_.below(result.size())] = choices_.chance(128) ? 0 : -1;
        break;
      case 4:
        for (int64_t& entry : result) {
          if (entry == 1) entry = choices_.pick(0, 4);
        }
        break;
      default:
        break;
    }
    if (odd()) result.push_back(odd_int());
    return result;
  }

  Shape weight_shape(bool transposed) {
    const int64_t groups = group_ = choices_.chance(96) ? choices_.pick(1, 4) : 1;
    Shape result = {choices_.pick(1, 6), std::max<int64_t>(1, extent(1) / groups)};
    if (!transposed) result[0] *= groups;
    if (transposed) result = {extent(1), choices_.pick(1, 6)};
    for (size_t i = 0; i < spatial(); ++i) result.push_back(choices_.pick(1, 3));
    kernel_.assign(result.begin() + 2, result.end());
    outputs_ = transposed ? result[1] * groups : result[0];
    if (odd()) result[choices_.below(result.size())] = choices_.pick(0, 9);
    return result;
  }

  std::string one_input(char kind) {
    const int small = choices_.chance(128) ? TensorProto::UINT8 : TensorProto::INT8;
    switch (kind) {
      case 'x':
        return another();
      case 's':
        return tensor(odd() ? type_of(choices_) : type_, broadcast());
      case 'e':
        return tensor(type_, shape_);
      case 'c':
        return tensor(type_, {outputs_ > 0 ? outputs_ : extent(1)});
      case 'l':
        return tensor(type_, {rank() > 0 ? extent(rank() - 1) : 1});
      case 'w':
      case 'W':
        return tensor(type_, weight_shape(kind == 'W'));
      case 'm': {
        Shape factor =
            rank() > 2 && choices_.chance(128) ? Shape(shape_.begin(), shape_.end() - 2) : Shape();
        factor.push_back(rank() > 0 ? extent(rank() - 1) : 1);
        if (!choices_.chance(24)) factor.push_back(choices_.pick(0, 9));
        return tensor(type_, factor);
      }
      case '0':
        return tensor(type_, choices_.chance(32) ? Shape{1} : Shape{});
      case 'f':
        return tensor(type_is_small_ ? int(TensorProto::FLOAT) : type_,
                      choices_.chance(48) ? Shape{extent(1)} : Shape{});
      case 'n':
        return integers({odd() ? odd_int() : choices_.pick(-3, 5)}, choices_.chance(128));
      case 'b':
        return tensor(TensorProto::BOOL, broadcast());
      case 'I': {
        Shape extents = choices_.chance(128) ? shape_ : shape();
        if (choices_.chance(64)) extents = {choices_.pick(0, 4)};
        return tensor(choices_.chance(64) ? TensorProto::INT32 : TensorProto::INT64, extents);
      }
      case 'i':
        return integers(axes());
      case 'h':
        return integers(new_shape());
      case 'p':
        return integers(counts(2 * shape_.size(), -1, 3));
      case 'r':
        return integers(counts(odd() ? 2 : shape_.size(), 0, 3));
      case 'F': {
        TensorProto& proto = *model_.mutable_graph()->add_initializer();
        const std::string name = new_name();
        proto.set_name(name);
        proto.set_data_type(TensorProto::FLOAT);
        const size_t n = odd() ? choices_.below(4) : shape_.size();
        proto.add_dims(static_cast<int64_t>(n));
        for (size_t i = 0; i < n; ++i) proto.add_float_data(scale());
        return name;
      }
      case 'R':
        num_regions_ = choices_.pick(0, 4);
        return tensor(type_, {num_regions_, odd() ? 3 : 4});
      case 'B':
        return tensor(TensorProto::INT64, {odd() ? choices_.pick(0, 4) : num_regions_});
      case 'v':
        return tensor(type_, {2});
      case 'q':
        type_ = small;
        type_is_small_ = true;
        return another();
      case 'z':
        return tensor(type_is_small_ ? type_ : small,
                      choices_.chance(48) ? Shape{extent(1)} : Shape{});
      default: {
        // A recurrent cell's weights of inputs and of states, its bias, its peepholes.
        const int64_t rows = gates_ * hidden_;
        const Shape of[] = {{directions_, rows, extent(2)},
                            {directions_, rows, hidden_},
                            {directions_, 2 * rows},
                            {directions_, 3 * hidden_}};
        Shape extents = of[std::min<size_t>(num_cell_weights_++, 3)];
        if (odd()) extents.back() = choices_.pick(0, 5);
        return tensor(type_, extents);
      }
    }
  }

  float scale() {
    static const float kScales[] = {1, 2, 0.5f, 1.5f, 3, 0.25f, 0.6f};
    return odd() ? odd_float_of(choices_) : choices_.any(kScales);
  }

  /// A value of the node's type: one that is there, or a new one.
  std::string another() {
    if (first_ || choices_.chance(64)) {
      first_ = false;
      const bool constant = choices_.chance(24);
      return tensor(type_, shape_, constant);
    }
    std::vector<std::string> fitting;
    for (const ModelValue& value : values_) {
      if (value.type == type_) fitting.push_back(value.name);
    }
    return fitting.empty() || choices_.chance(128)
               ? tensor(type_, choices_.chance(128) ? shape_ : shape())
               : choices_.any(fitting);
  }

  void add_attribute(NodeProto& node, std::string_view name, std::string_view kind) {
    AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(std::string(name));
    auto set_int = [&](int64_t number) {
      attribute.set_type(AttributeProto::INT);
      attribute.set_i(number);
    };
    auto set_ints = [&](const std::vector<int64_t>& numbers) {
      attribute.set_type(AttributeProto::INTS);
      for (int64_t number : numbers) attribute.add_ints(number);
    };
    if (kind.size() > 1) {
      attribute.set_type(AttributeProto::STRING);
      const std::vector<std::string_view> words = split(kind, '|');
      // A cell of two directions has weights for both.
      const bool both = name == "direction" && directions_ == 2 && !odd();
      attribute.set_s(std::string(both ? words.back() : choices_.any(words)));
      return;
    }
    switch (kind[0]) {
      case 'a':
        return set_int(axis());
      case 'A':
        return set_ints(name == "perm" ? permutation() : axes());
      case 'b':
        return set_int(odd() ? odd_int() : choices_.pick(0, 1));
      case 'k':
        return set_ints(!kernel_.empty() && !odd() ? kernel_ : counts(odd() ? 1 : spatial(), 1, 3));
      case 't':
        return set_ints(counts(odd() ? 1 : spatial(), name == "output_padding" ? 0 : 1, 3));
      case 'g':
        if (name == "hidden_size") return set_int(odd() ? odd_int() : hidden_);
        return set_int(odd() ? odd_int() : group_ > 1 ? group_ : choices_.pick(1, 4));
      case 'P':
        return set_ints(counts(
            2 * (name == "pads" && node.op_type() == "Pad" ? shape_.size() : spatial()), 0, 2));
      case 'i':
        return set_int(odd() ? odd_int() : choices_.pick(0, 4));
      case 'y':
        return set_int(odd() ? choices_.pick(0, 24) : type_of(choices_));
      case 'f':
        attribute.set_type(AttributeProto::FLOAT);
        attribute.set_f(scale());
        return;
      case 'F':
        attribute.set_type(AttributeProto::FLOATS);
        for (size_t i = 0; i < shape_.size(); ++i) attribute.add_floats(scale());
        return;
      default:
        attribute.set_type(AttributeProto::TENSOR);
        fill(*attribute.mutable_t(), type_of(choices_), choices_.chance(128) ? Shape{1} : Shape{});
    }
  }

  void add_node(const TryNode& try_node) {
    const ModelOperator& op = model_operators()[choices_.below(model_operators().size())];
    type_is_small_ = false;
    group_ = 1;
    outputs_ = 0;
    kernel_.clear();
    gates_ = op.name == "LSTM" ? 4 : op.name == "GRU" ? 3 : 1;
    directions_ = gates_ > 1 && choices_.chance(64) ? 2 : 1;
    hidden_ = 1 + static_cast<int64_t>(choices_.below(4));
    num_cell_weights_ = 0;
    // On top of what is there, or on its own.
    first_ = made_.empty() || choices_.chance(48);
    if (first_) {
      type_ = type_of(choices_);
      shape_ = shape();
    } else {
      const ModelValue& value = made_[made_.size() - 1 - choices_.below(made_.size())];
      type_ = value.type;
      shape_ = value.shape;
    }
    const onnx_proto::GraphProto before = model_.graph();
    const size_t num_values = values_.size();
    NodeProto node;
    node.set_op_type(std::string(op.name));
    node.set_name("n" + std::to_string(count_++));
    bool took = first_;
    for (std::string_view word : split(op.inputs, ' ')) {
      const bool optional = word.back() == '?', several = word.back() == '*';
      if (optional && choices_.chance(120)) {
        node.add_input("");
        continue;
      }
      if (!took && (word[0] == 'x' || word[0] == 'q')) {
        took = true;
        node.add_input(made_with(type_, shape_));
        type_is_small_ = word[0] == 'q';
        continue;
      }
      for (size_t i = several ? choices_.below(4) + 1 : 1; i > 0; --i) {
        node.add_input(one_input(word[0]));
      }
    }
    while (node.input_size() > 0 && node.input(node.input_size() - 1).empty()) {
      node.mutable_input()->RemoveLast();
    }
    for (std::string_view word : split(op.attributes, ' ')) {
      // What the window of a convolution is its weights tell too.
      if (!choices_.chance(word.ends_with(":g") && group_ > 1 ? 250 : 110)) continue;
      const size_t colon = word.find(':');
      add_attribute(node, word.substr(0, colon), word.substr(colon + 1));
    }
    if (odd() && node.input_size() > 0) node.set_input(0, "");
    const size_t num_outputs = 1 + choices_.below(static_cast<size_t>(op.outputs));
    for (size_t i = 0; i < num_outputs; ++i) node.add_output(new_name());
    // Every value that a node makes is an output, so that none is dropped as unused.
    *model_.mutable_graph()->add_node() = node;
    for (const std::string& output : node.output()) add_output(output);
    if (auto outputs = try_node(model_, node)) {
      for (ModelValue& value : *outputs) {
        values_.push_back(value);
        made_.push_back(std::move(value));
      }
      return;
    }
    *model_.mutable_graph() = before;
    values_.resize(num_values);
  }

  std::string made_with(int type, const Shape& extents) const {
    for (auto value = made_.rbegin(); value != made_.rend(); ++value) {
      if (value->type == type && value->shape == extents) return value->name;
    }
    return made_.back().name;
  }

  Choices& choices_;
  const ModelChoices& how_;
  onnx_proto::ModelProto model_;
  std::vector<ModelValue> values_;  // all that a node may read
  std::vector<ModelValue> made_;    // by nodes
  int count_ = 0;
  // Of the node at hand:
  int type_ = 0;
  Shape shape_;
  bool first_ = true, type_is_small_ = false;
  int64_t group_ = 1, outputs_ = 0, num_regions_ = 0;
  std::vector<int64_t> kernel_;
  int64_t gates_ = 1, directions_ = 1, hidden_ = 1;
  size_t num_cell_weights_ = 0;
};

}  // namespace

std::optional<std::vector<ModelValue>> outputs_of(const graph::Graph& graph,
                                                  const NodeProto& node) {
  std::vector<ModelValue> values;
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const std::string& name = graph.output_names[i];
    if (std::find(node.output().begin(), node.output().end(), name) == node.output().end())
      continue;
    const graph::Value& value = graph.values[graph.outputs[i]];
    if (is_large(value.shape)) return std::nullopt;
    int type = TensorProto::FLOAT;
    while (onnx::dtype_from_onnx(type) != value.dtype) ++type;
    values.push_back({name, type, value.shape});
  }
  return values;
}

onnx_proto::ModelProto random_model(Choices& choices, const ModelChoices& how,
                                    const TryNode& try_node) {
  return RandomModel(choices, how).make(try_node);
}

}  // namespace corf::fuzz
