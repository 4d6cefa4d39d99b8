#include <fmt/format.h>

#include "api/model_compiler.h"
#include "graph/text.h"
#include "host/support.h"
#include "tests/fuzz/imported_model.h"
#include "tests/fuzz/own_caches.h"
#include "tests/fuzz/reference_values.h"
#include "tests/fuzz/split_model.h"

namespace corf::fuzz {
namespace {

/// What the nodes make, with types and shapes.
std::vector<ModelValue> values_of(const ImportedModel& model) {
  std::vector<ModelValue> values;
  for (const onnx_proto::NodeProto& node : model.proto.graph().node()) {
    if (auto made = outputs_of(*model.graph, node)) {
      values.insert(values.end(), made->begin(), made->end());
    }
  }
  return values;
}

/// Errors: as of a session's.
Result<std::vector<session::Value>> run(const std::shared_ptr<const onnx::Model>& model,
                                        const std::vector<session::Value>& inputs) {
  own_caches();
  session::Options options;
  options.workers.threads = 1;
  options.verify_each = true;
  CORF_ASSIGN(const auto session, api::open_session(model, options));
  return session->run(inputs);
}

}  // namespace

Finding pieces_target(Choices choices) {
  Finding finding;
  ImportedModel model = imported_model(choices, choices_of_runs(), finding);
  if (!finding.empty()) return finding;
  if (!model.graph || !is_small(*model.graph)) return "";
  const std::vector<Tensor> inputs = inputs_of(*model.graph, choices);
  std::vector<session::Value> given(inputs.begin(), inputs.end());
  for (Tensor& more : split_model(model.proto, values_of(model), choices)) {
    given.emplace_back(std::move(more));
  }
  auto told = [&](std::string_view what, std::string_view why) {
    std::string nodes;
    for (const onnx_proto::NodeProto& node : model.proto.graph().node()) {
      nodes += fmt::format("{} -> {}\n", node.op_type(), fmt::join(node.output(), ", "));
    }
    return fmt::format("{}: {}\n{}{}", what, why, nodes, graph::to_string(*model.graph));
  };
  const std::string bytes = model.proto.SerializeAsString();
  auto parsed = onnx::parse_model(bytes.data(), bytes.size(), "/nonexistent");
  if (!parsed) return told("it is refused", parsed.error().message);
  const auto support = host::find_support(**parsed, {});
  if (!support || support->kind == host::RunKind::kRefused) {
    return told("it has no support", support ? support->reasons : support.error().message);
  }
  const auto outputs = run(*parsed, given);
  if (!outputs) {
    // Values that a routine rejects are rejected by the reference too.
    const bool is_expected = outputs.error().code == ErrorCode::kInvalidArgument ||
                             outputs.error().code == ErrorCode::kUnsupported;
    return is_expected ? look_at(outputs.error()) : told("it fails", outputs.error().message);
  }
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < outputs->size(); ++i) {
    const graph::Value& expected = model.graph->values[model.graph->outputs[i]];
    const Tensor* tensor = (*outputs)[i].tensor();
    if (tensor == nullptr || tensor->dtype() != expected.dtype ||
        tensor->shape() != expected.shape) {
      return told("another kind of output", (*outputs)[i].described());
    }
    tensors.push_back(*tensor);
  }
  const Finding different = difference(*model.graph, inputs, tensors);
  return different.empty() ? "" : told("other values", different);
}

}  // namespace corf::fuzz
