#include "host/graph_runner.h"
#include "host/routines.h"
#include "session/tensor_views.h"

namespace corf::host {

using onnx::describe;

namespace {

Tensor truth(bool value) {
  Tensor tensor(DType::kBool, {});
  tensor.set_i64(0, value ? 1 : 0);
  return tensor;
}

Result<bool> is_true(const Call& call, const Value& condition, std::string_view what) {
  const Tensor* tensor = condition.tensor();
  if (tensor != nullptr && tensor->num_elems() == 1 && tensor->dtype() == DType::kBool) {
    return tensor->at_i64(0) != 0;
  }
  return call.invalid("its {} is {}, not one truth value", what, condition.described());
}

/// One result of each step, side by side along a new axis.
Result<Value> stacked(const Call& call, Values steps, int64_t wanted_axis) {
  CORF_ASSIGN(const int axis, call.axis(wanted_axis, shape_of(steps[0]).size() + 1));
  for (Value& step : steps) {
    if (step.tensor() == nullptr && step.strings() == nullptr) {
      return call.bad_value("{} is to be put together with the other steps' results",
                            step.described());
    }
    Shape shape = shape_of(step);
    if (static_cast<size_t>(axis) > shape.size()) {
      return call.bad_value("its steps give results of other ranks");
    }
    shape.insert(shape.begin() + axis, 1);
    step = reshaped(step, shape);
  }
  auto whole = concatenated(steps, axis);
  if (!whole.ok()) return call.bad_value("{}", whole.error().message);
  return whole;
}

/// What no step has made, of the type that the body declares for it: no steps of it along `axis`.
Result<Value> no_steps(const Call& call, const onnx_proto::ValueInfoProto& declared, int64_t axis) {
  const auto& type = declared.type().tensor_type();
  const auto dtype = onnx::dtype_from_onnx(type.elem_type());
  if (!dtype) return call.bad_value("it has no steps, and its body declares no element type");
  Shape shape;
  for (const auto& dim : type.shape().dim()) {
    shape.push_back(dim.has_dim_value() ? std::max<int64_t>(0, dim.dim_value()) : 0);
  }
  CORF_ASSIGN(const int at, call.axis(axis, shape.size() + 1));
  shape.insert(shape.begin() + at, 0);
  if (!checked_num_elems(shape).ok()) return call.invalid("its body declares {}", to_string(shape));
  return Value(Tensor(*dtype, shape));
}

const onnx_proto::GraphProto* find_graph(const onnx_proto::NodeProto& node,
                                         const std::string& attribute) {
  for (const auto& entry : node.attribute()) {
    if (entry.name() == attribute && entry.has_g()) return &entry.g();
  }
  return nullptr;
}

}  // namespace

Status HostNode::run(Scope& scope) {
  std::vector<Value> inputs;
  for (const std::string& name : node_.proto->input()) {
    inputs.emplace_back();
    if (name.empty()) continue;
    CORF_ASSIGN(inputs.back(), scope.find(name));
  }
  CORF_ASSIGN(std::vector<Value> outputs, run_node(inputs, scope));
  for (int i = 0; i < node_.proto->output_size(); ++i) {
    const std::string& name = node_.proto->output(i);
    if (name.empty()) continue;
    if (static_cast<size_t>(i) >= outputs.size()) {
      return make_error(ErrorCode::kInvalidModel, "{}: it has {} outputs, not {}",
                        describe(*node_.proto), outputs.size(), node_.proto->output_size());
    }
    scope.set(name, std::move(outputs[i]));
  }
  return {};
}

Result<std::vector<Value>> HostNode::run_node(const std::vector<Value>& inputs,
                                              const Scope& scope) {
  const std::string& op = node_.proto->op_type();
  if (op == "If") return run_if(inputs, scope);
  if (op == "Loop") return run_loop(inputs, scope);
  if (op == "Scan") return run_scan(inputs, scope);
  if (op == "SequenceMap") return run_sequence_map(inputs, scope);
  const Call call(block_, *node_.proto, inputs);
  if (const Routine routine = find_routine(*node_.proto)) return routine(call);
  const bool has_others = std::any_of(inputs.begin(), inputs.end(), [](const Value& input) {
    return input.strings() != nullptr || input.narrow() != nullptr;
  });
  if (has_others && only_moves_elements(op)) return run_on_positions(inputs);
  for (const Value& input : inputs) {
    if (input.tensor() != nullptr || input.is_nothing()) continue;
    return make_error(ErrorCode::kUnsupported, "{}, opset {}: it is not supported for {}",
                      describe(*node_.proto), node_.opset, input.described());
  }
  return make_error(ErrorCode::kUnsupported, "{}, opset {}: the operator is not supported",
                    describe(*node_.proto), node_.opset);
}

Result<GraphRunner*> HostNode::body(const std::string& attribute) {
  std::scoped_lock lock(mutex_);
  std::unique_ptr<GraphRunner>& runner = bodies_[attribute];
  if (runner) return runner.get();
  const onnx_proto::GraphProto* graph = find_graph(*node_.proto, attribute);
  if (graph == nullptr) {
    return make_error(ErrorCode::kInvalidModel, "{}: it has no {}", describe(*node_.proto),
                      attribute);
  }
  CORF_ASSIGN(onnx::Block block, onnx::body_block(block_.model, *graph, node_.opset));
  runner = std::make_unique<GraphRunner>(std::move(block), open_segment_);
  return runner.get();
}

Result<std::vector<Value>> HostNode::run_body(const std::string& attribute,
                                              std::vector<Value> inputs, const Scope& scope) {
  CORF_ASSIGN(GraphRunner * runner, body(attribute));
  auto outputs = runner->run(std::move(inputs), &scope);
  if (outputs.ok()) return outputs;
  return make_error(outputs.error().code, "{} (in the {} of {})", outputs.error().message,
                    attribute, describe(*node_.proto));
}

Result<std::vector<Value>> HostNode::run_if(const std::vector<Value>& inputs, const Scope& scope) {
  const Call call(block_, *node_.proto, inputs);
  CORF_ASSIGN(const bool condition, is_true(call, call.input(0), "condition"));
  return run_body(condition ? "then_branch" : "else_branch", {}, scope);
}

/// The body gets the step's number, the condition and what is carried from step to step; it gives
/// the condition, what is carried, and what is put together along a new first axis.
Result<std::vector<Value>> HostNode::run_loop(const std::vector<Value>& inputs,
                                              const Scope& scope) {
  const Call call(block_, *node_.proto, inputs);
  std::optional<int64_t> most;
  if (call.has(0)) {
    CORF_ASSIGN(most, call.integer(0));
  }
  bool goes_on = true;
  if (call.has(1)) {
    CORF_ASSIGN(goes_on, is_true(call, call.input(1), "condition"));
  }
  Values carried;
  if (inputs.size() > 2) carried.assign(inputs.begin() + 2, inputs.end());
  CORF_ASSIGN(const GraphRunner* runner, body("body"));
  const size_t num_outputs = runner->block().outputs.size();
  if (num_outputs < 1 + carried.size()) {
    return call.invalid("its body gives {} values, with {} carried from step to step", num_outputs,
                        carried.size());
  }
  std::vector<Values> steps(num_outputs - 1 - carried.size());
  for (int64_t step = 0; goes_on && (!most || step < *most); ++step) {
    Values given = {integers({}, std::span(&step, 1)), truth(true)};
    given.insert(given.end(), std::make_move_iterator(carried.begin()),
                 std::make_move_iterator(carried.end()));
    CORF_ASSIGN(Values results, run_body("body", std::move(given), scope));
    CORF_ASSIGN(goes_on, is_true(call, results[0], "body's condition"));
    const auto states = std::make_move_iterator(results.begin() + 1);
    carried.assign(states, states + static_cast<std::ptrdiff_t>(carried.size()));
    for (size_t i = 0; i < steps.size(); ++i) {
      steps[i].push_back(std::move(results[1 + carried.size() + i]));
    }
  }
  Values outputs = std::move(carried);
  const onnx_proto::GraphProto& graph = *find_graph(*node_.proto, "body");
  for (Values& of_output : steps) {
    const auto position = static_cast<int>(outputs.size() + 1);
    CORF_ASSIGN(Value whole, of_output.empty() ? no_steps(call, graph.output(position), 0)
                                               : stacked(call, std::move(of_output), 0));
    outputs.push_back(std::move(whole));
  }
  return outputs;
}

namespace {

/// An entry of a list of attributes, one for each of `count` operands; 0 where there is no list.
Result<int64_t> entry(const Call& call, std::string_view name, size_t count, size_t i) {
  const std::vector<int64_t> all = call.ints_attribute(name);
  if (all.empty()) return 0;
  if (all.size() == count) return all[i];
  return call.invalid("attribute '{}' has {} values for {}", name, all.size(), count);
}

/// A value that a scan takes apart.
struct Scanned {
  Value value;
  int axis = 0;
  bool backwards = false;
  int64_t count() const { return shape_of(value)[axis]; }
  Value at(int64_t step) const {
    const int64_t position = backwards ? count() - 1 - step : step;
    Shape shape = shape_of(value);
    shape.erase(shape.begin() + axis);
    return reshaped(rows(value, axis, std::span(&position, 1)), shape);
  }
};

Result<std::vector<Scanned>> read_scanned(const Call& call, size_t num_states) {
  const Values& inputs = call.inputs();
  const size_t count = inputs.size() - num_states;
  std::vector<Scanned> all;
  for (size_t i = 0; i < count; ++i) {
    Scanned scanned;
    CORF_ASSIGN(const Tensor tensor, call.tensor(num_states + i));
    scanned.value = tensor;
    CORF_ASSIGN(const int64_t axis, entry(call, "scan_input_axes", count, i));
    CORF_ASSIGN(scanned.axis, call.axis(axis, tensor.shape().size()));
    CORF_ASSIGN(const int64_t direction, entry(call, "scan_input_directions", count, i));
    scanned.backwards = direction != 0;
    all.push_back(scanned);
    if (scanned.count() != all.front().count()) {
      return call.bad_value("its scanned inputs are not equally long");
    }
  }
  return all;
}

}  // namespace

/// States are carried from step to step, the other inputs taken apart and outputs put together.
Result<std::vector<Value>> HostNode::run_scan(const std::vector<Value>& inputs,
                                              const Scope& scope) {
  const Call call(block_, *node_.proto, inputs);
  const int64_t count = call.int_attribute("num_scan_inputs", 0);
  if (count < 1 || count > static_cast<int64_t>(inputs.size()) || node_.opset < 9) {
    return call.invalid("{} scanned inputs of {} in opset {}; 9 and later are supported", count,
                        inputs.size(), node_.opset);
  }
  const size_t num_states = inputs.size() - static_cast<size_t>(count);
  CORF_ASSIGN(const auto scanned, read_scanned(call, num_states));
  CORF_ASSIGN(const GraphRunner* runner, body("body"));
  const size_t num_outputs = runner->block().outputs.size();
  if (num_outputs < num_states) {
    return call.invalid("its body gives {} values for {} states", num_outputs, num_states);
  }
  Values carried(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(num_states));
  std::vector<Values> steps(num_outputs - num_states);
  for (int64_t step = 0; step < scanned[0].count(); ++step) {
    Values given = std::move(carried);
    for (const Scanned& one : scanned) given.push_back(one.at(step));
    CORF_ASSIGN(Values results, run_body("body", std::move(given), scope));
    const auto states = std::make_move_iterator(results.begin());
    carried.assign(states, states + static_cast<std::ptrdiff_t>(num_states));
    for (size_t i = 0; i < steps.size(); ++i) {
      steps[i].push_back(std::move(results[num_states + i]));
    }
  }
  Values outputs = std::move(carried);
  const onnx_proto::GraphProto& graph = *find_graph(*node_.proto, "body");
  for (size_t i = 0; i < steps.size(); ++i) {
    CORF_ASSIGN(const int64_t axis, entry(call, "scan_output_axes", steps.size(), i));
    CORF_ASSIGN(const int64_t direction, entry(call, "scan_output_directions", steps.size(), i));
    if (direction != 0) std::reverse(steps[i].begin(), steps[i].end());
    const auto position = static_cast<int>(num_states + i);
    CORF_ASSIGN(Value whole, steps[i].empty() ? no_steps(call, graph.output(position), axis)
                                              : stacked(call, std::move(steps[i]), axis));
    outputs.push_back(std::move(whole));
  }
  return outputs;
}

/// The body runs on an item of each sequence, and on the tensors as they are.
Result<std::vector<Value>> HostNode::run_sequence_map(const std::vector<Value>& inputs,
                                                      const Scope& scope) {
  const Call call(block_, *node_.proto, inputs);
  CORF_ASSIGN(const Value::Sequence* first, call.sequence(0));
  for (const Value& input : inputs) {
    if (input.sequence() != nullptr && input.sequence()->size() < first->size()) {
      return call.bad_value("a sequence of {} beside one of {}", input.sequence()->size(),
                            first->size());
    }
  }
  std::vector<Value::Sequence> results(call.num_outputs());
  for (size_t i = 0; i < first->size(); ++i) {
    Values given;
    for (const Value& input : inputs) {
      given.push_back(input.sequence() != nullptr ? (*input.sequence())[i] : input);
    }
    CORF_ASSIGN(Values of_item, run_body("body", std::move(given), scope));
    if (of_item.size() < results.size()) {
      return call.invalid("its body gives {} values for {} outputs", of_item.size(),
                          results.size());
    }
    for (size_t k = 0; k < results.size(); ++k) results[k].push_back(std::move(of_item[k]));
  }
  return Values(std::make_move_iterator(results.begin()), std::make_move_iterator(results.end()));
}

Result<std::vector<Value>> HostNode::run_on_positions(const std::vector<Value>& inputs) {
  std::vector<std::string> elems;  // of all inputs, by position
  std::optional<int> narrow_type;  // of elements that stand for themselves
  std::vector<Tensor> positions;
  std::vector<onnx::ModelTensor> declared;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string& name = node_.proto->input(static_cast<int>(i));
    if (inputs[i].is_nothing()) continue;
    const bool is_repeated = std::any_of(declared.begin(), declared.end(),
                                         [&](const auto& other) { return other.name == name; });
    if (is_repeated) continue;
    if (const Strings* strings = inputs[i].strings()) {
      Tensor numbers(DType::kI64, strings->shape);
      for (int64_t k = 0; k < numbers.num_elems(); ++k) {
        numbers.set_i64(k, static_cast<int64_t>(elems.size()));
        elems.push_back(strings->elems[k]);
      }
      positions.push_back(numbers);
    } else if (const session::Narrow* narrow = inputs[i].narrow()) {
      narrow_type = narrow->type;
      positions.push_back(narrow->codes);
    } else if (inputs[i].tensor() != nullptr) {
      positions.push_back(*inputs[i].tensor());
    } else {
      return make_error(ErrorCode::kUnsupported, "{}: it is not supported for {}",
                        describe(*node_.proto), inputs[i].described());
    }
    declared.push_back({name, positions.back().dtype(), {}, false});
  }
  {
    std::scoped_lock lock(mutex_);
    if (!on_positions_) {
      std::vector<std::string> outputs;
      for (const std::string& name : node_.proto->output()) {
        if (!name.empty()) outputs.push_back(name);
      }
      const auto model =
          onnx::make_segment_model(block_, std::span(&node_, 1), std::move(declared), outputs,
                                   [](const std::string&) { return nullptr; });
      CORF_ASSIGN(on_positions_, open_segment_(model));
    }
  }
  const session::TensorViews views(positions);
  CORF_ASSIGN(const auto compiled, on_positions_->compile(views.pointers()));
  CORF_ASSIGN(const auto moved, session::run(*compiled, *on_positions_, views.pointers()));
  std::vector<Value> outputs;
  size_t next = 0;
  for (const std::string& name : node_.proto->output()) {
    outputs.emplace_back();
    if (name.empty()) continue;
    const Tensor& numbers = moved[next++];
    if (narrow_type) {
      outputs.back() = session::Narrow{*narrow_type, numbers};
      continue;
    }
    Strings strings{numbers.shape(), {}};
    for (int64_t k = 0; k < numbers.num_elems(); ++k) {
      const int64_t position = numbers.at_i64(k);
      const bool is_there = position >= 0 && position < static_cast<int64_t>(elems.size());
      strings.elems.push_back(is_there ? elems[position] : "");
    }
    outputs.back() = std::move(strings);
  }
  return outputs;
}

}  // namespace corf::host
