#include "tests/fuzz/imported_model.h"

#include "graph/text.h"
#include "onnx/import.h"
#include "support/budget.h"

namespace corf::fuzz {

Result<graph::Graph> import_proto(const onnx_proto::ModelProto& proto) {
  const std::string bytes = proto.SerializeAsString();
  CORF_ASSIGN(auto model, onnx::parse_model(bytes.data(), bytes.size(), "/nonexistent"));
  // As the driver imports it.
  return within_budget(allowed_for(model->size(), {}), nullptr,
                       [&] { return onnx::import(*model, {}); });
}

Finding look_at(const Error& error) {
  if (error.message.empty()) return "refused without a reason";
  if (error.code == ErrorCode::kInternal) return "an internal error: " + error.message;
  return "";
}

Finding look_at(const graph::Graph& graph, std::string_view stage) {
  const Status sound = graph::verify(graph);
  if (sound) return "";
  return fmt::format("unsound after {}: {}\n{}", stage, sound.error().message,
                     graph::to_string(graph));
}

ImportedModel imported_model(Choices& choices, const ModelChoices& how, Finding& finding) {
  std::optional<Result<graph::Graph>> last;  // of the nodes that were taken
  const TryNode try_node =
      [&](const onnx_proto::ModelProto& model,
          const onnx_proto::NodeProto& node) -> std::optional<std::vector<ModelValue>> {
    auto graph = import_proto(model);
    if (!graph) {
      if (finding.empty()) finding = look_at(graph.error());
      return std::nullopt;
    }
    auto outputs = outputs_of(*graph, node);
    if (outputs) last = std::move(graph);
    return outputs;
  };
  onnx_proto::ModelProto proto = random_model(choices, how, try_node);
  if (!last) last = import_proto(proto);
  return {std::move(proto), std::move(*last)};
}

}  // namespace corf::fuzz
