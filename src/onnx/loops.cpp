// Loops whose number of steps is known: each step's nodes one after the other.
#include <algorithm>

#include "onnx/compose.h"

namespace corf::onnx {
namespace {

/// Nodes that the steps of one loop may come to; each takes time to compile.
constexpr int64_t kMaxSteps = 1024, kMaxNodes = 16384;

Status check_steps(const NodeImport& node, int64_t steps) {
  const auto* body = node.body("body");
  const int64_t nodes = body != nullptr ? std::max(1, body->node_size()) : 1;
  if (steps <= std::min(kMaxSteps, kMaxNodes / nodes)) return {};
  return node.unsupported("{} steps of {} nodes; {} steps, and {} nodes in all, are supported",
                          steps, nodes, kMaxSteps, kMaxNodes);
}

/// One result of each step, side by side along a new axis.
Result<ValueId> stack(NodeImport& node, int output, const std::vector<ValueId>& steps, int axis) {
  std::vector<ValueId> slices;
  for (size_t i = 0; i < steps.size(); ++i) {
    Shape shape = node.shape(steps[i]);
    if (shape != node.shape(steps[0]) || node.dtype(steps[i]) != node.dtype(steps[0])) {
      return node.unsupported("output {} is of other shapes in other steps", output);
    }
    shape.insert(shape.begin() + axis, 1);
    slices.push_back(
        reshape(node.graph, node.part(fmt::format("{}_{}", output, i)), steps[i], shape));
  }
  return concat(node.graph, node.part(fmt::format("{}_steps", output)), slices, axis);
}

/// An entry of a list of attributes, one for each of `count` operands.
Result<int64_t> entry(NodeImport& node, std::string_view name, int64_t count, int64_t i) {
  const std::vector<int64_t> all = node.ints_attribute(name, std::vector<int64_t>(count, 0));
  if (static_cast<int64_t>(all.size()) == count) return all[i];
  return node.invalid("attribute '{}' has {} values for {}", name, all.size(), count);
}

/// A tensor that a scan takes apart.
struct Scanned {
  ValueId value = -1;
  int axis = 0;
  bool backwards = false;
};

Result<std::vector<Scanned>> read_scanned(NodeImport& node, int states, int count) {
  std::vector<Scanned> all;
  for (int i = 0; i < count; ++i) {
    Scanned scanned;
    scanned.value = node.input(states + i);
    CORF_ASSIGN(const int64_t axis, entry(node, "scan_input_axes", count, i));
    CORF_ASSIGN(scanned.axis, normal_axis(node, axis, node.rank(scanned.value)));
    CORF_ASSIGN(const int64_t direction, entry(node, "scan_input_directions", count, i));
    scanned.backwards = direction != 0;
    all.push_back(scanned);
    const Scanned& first = all.front();
    if (node.shape(scanned.value)[scanned.axis] != node.shape(first.value)[first.axis]) {
      return node.invalid("its scanned inputs are not equally long");
    }
  }
  return all;
}

ValueId at_step(NodeImport& node, const Scanned& scanned, int number, int64_t step) {
  Shape shape = node.shape(scanned.value);
  const int64_t position = scanned.backwards ? shape[scanned.axis] - 1 - step : step;
  const ValueId row = slice(node.graph, node.part(fmt::format("in{}_{}", number, step)),
                            scanned.value, scanned.axis, position, position + 1);
  shape.erase(shape.begin() + scanned.axis);
  return reshape(node.graph, node.part(fmt::format("step{}_{}", number, step)), row, shape);
}

/// States are carried from step to step, the other inputs taken apart and outputs put together.
Status import_scan(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(std::max(1, node.num_inputs())));
  const auto count = static_cast<int>(node.int_attribute("num_scan_inputs", 0));
  if (count < 1 || count > node.num_inputs() || node.body("body") == nullptr) {
    return node.invalid("{} scanned inputs of {}, or no body", count, node.num_inputs());
  }
  const int states = node.num_inputs() - count;
  const int num_stacked = node.num_outputs() - states;
  CORF_ASSIGN(const auto scanned, read_scanned(node, states, count));
  const int64_t steps = node.shape(scanned[0].value)[scanned[0].axis];
  CORF_RETURN_IF_ERROR(check_steps(node, steps));
  if (steps < 1 || num_stacked < 0) return node.unsupported("a scan of {} steps", steps);
  std::vector<ValueId> carried;
  for (int i = 0; i < states; ++i) carried.push_back(node.input(i));
  std::vector<std::vector<ValueId>> stacked(num_stacked);
  for (int64_t step = 0; step < steps; ++step) {
    std::vector<ValueId> inputs = carried;
    for (int i = 0; i < count; ++i) inputs.push_back(at_step(node, scanned[i], i, step));
    CORF_ASSIGN(const auto outputs, node.import_body("body", inputs));
    if (static_cast<int>(outputs.size()) != node.num_outputs()) {
      return node.invalid("its body gives {} values for {} outputs", outputs.size(),
                          node.num_outputs());
    }
    carried.assign(outputs.begin(), outputs.begin() + states);
    for (int i = 0; i < num_stacked; ++i) stacked[i].push_back(outputs[states + i]);
  }
  for (int i = 0; i < states; ++i) node.set_output(i, carried[i]);
  for (int i = 0; i < num_stacked; ++i) {
    CORF_ASSIGN(const int64_t wanted, entry(node, "scan_output_axes", num_stacked, i));
    CORF_ASSIGN(const int axis, normal_axis(node, wanted, node.rank(stacked[i][0]) + 1));
    CORF_ASSIGN(const int64_t direction, entry(node, "scan_output_directions", num_stacked, i));
    if (direction != 0) std::reverse(stacked[i].begin(), stacked[i].end());
    CORF_ASSIGN(const ValueId whole, stack(node, i, stacked[i], axis));
    node.set_output(states + i, whole);
  }
  return {};
}

/// Whether a step follows, of a condition that is known while importing.
Result<bool> is_true(const NodeImport& node, ValueId condition) {
  const Tensor* known = node.known(condition);
  if (known != nullptr && known->num_elems() == 1) return known->at_i64(0) != 0;
  return node.unsupported("how often it runs depends on {}",
                          node.describe_awaited(condition, NodeImport::Bind::kNever));
}

/// The body gets the step's number, the condition and what is carried from step to step; it gives
/// the condition, what is carried, and what is put together along a new first axis.
Status import_loop(NodeImport& node) {
  if (node.num_inputs() < 2 || node.body("body") == nullptr) {
    return node.invalid("it has {} inputs, or no body", node.num_inputs());
  }
  int64_t most = kMaxSteps + 1;
  if (node.has(0)) {
    if (node.known(node.input(0)) == nullptr) {
      return node.depends_on_data(0, "number of steps", NodeImport::Bind::kNever);
    }
    CORF_ASSIGN(const auto trips, node.known_ints(0, "number of steps"));
    if (trips.size() != 1) return node.invalid("its number of steps is not one number");
    most = trips[0];
    // Without a condition there is no end before that.
    if (!node.has(1)) CORF_RETURN_IF_ERROR(check_steps(node, std::max<int64_t>(most, 0)));
  }
  std::vector<ValueId> carried;
  for (int i = 2; i < node.num_inputs(); ++i) {
    if (!node.has(i)) return node.invalid("input {} is missing", i);
    carried.push_back(node.input(i));
  }
  const auto num_carried = static_cast<int>(carried.size());
  const int num_stacked = node.num_outputs() - num_carried;
  std::vector<std::vector<ValueId>> stacked(std::max(0, num_stacked));
  bool goes_on = true;
  if (node.has(1)) {
    CORF_ASSIGN(goes_on, is_true(node, node.input(1)));
  }
  for (int64_t step = 0; goes_on && step < most; ++step) {
    CORF_RETURN_IF_ERROR(check_steps(node, step + 1));
    const std::string part = node.part(fmt::format("step{}", step));
    const ValueId number =
        node.graph.add_constant(part, make_tensor<int64_t>({}, std::span<const int64_t>(&step, 1)));
    Tensor condition(DType::kBool, {});
    condition.set_i64(0, 1);
    std::vector<ValueId> inputs = {number, node.graph.add_constant(part + "_condition", condition)};
    inputs.insert(inputs.end(), carried.begin(), carried.end());
    CORF_ASSIGN(const auto outputs, node.import_body("body", inputs));
    if (static_cast<int>(outputs.size()) != node.num_outputs() + 1 || num_stacked < 0) {
      return node.invalid("its body gives {} values for {} outputs", outputs.size(),
                          node.num_outputs());
    }
    CORF_ASSIGN(goes_on, is_true(node, outputs[0]));
    carried.assign(outputs.begin() + 1, outputs.begin() + 1 + num_carried);
    for (int i = 0; i < num_stacked; ++i) stacked[i].push_back(outputs[1 + num_carried + i]);
  }
  for (int i = 0; i < num_carried; ++i) node.set_output(i, carried[i]);
  for (int i = 0; i < num_stacked; ++i) {
    if (stacked[i].empty())
      return node.unsupported("a loop of no steps that puts outputs together");
    CORF_ASSIGN(const ValueId whole, stack(node, i, stacked[i], 0));
    node.set_output(num_carried + i, whole);
  }
  return {};
}

constexpr Operator kOperators[] = {
    {"Loop", 1, import_loop},
    {"Scan", 9, import_scan},
};

}  // namespace

std::span<const Operator> loop_operators() { return kOperators; }

}  // namespace corf::onnx
