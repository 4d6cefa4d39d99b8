#pragma once
#include "tests/fuzz/random_model.h"
#include "tests/fuzz/targets.h"

namespace corf::fuzz {

/// A random model whose nodes can be imported, with its graph.
struct ImportedModel {
  onnx_proto::ModelProto proto;
  Result<graph::Graph> graph;
};
/// `finding`: what is wrong with the way in which a node was refused.
ImportedModel imported_model(Choices& choices, const ModelChoices& how, Finding& finding);

Result<graph::Graph> import_proto(const onnx_proto::ModelProto& proto);

/// "" or why an error says nothing that a user could act upon.
Finding look_at(const Error& error);
Finding look_at(const graph::Graph& graph, std::string_view stage);

}  // namespace corf::fuzz
