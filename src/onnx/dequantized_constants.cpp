#include "onnx/dequantized_constants.h"

#include <map>

#include "onnx/tensor_proto.h"

namespace corf::onnx {
namespace {

using onnx_proto::GraphProto;
using onnx_proto::NodeProto;

using Types = std::map<std::string, int>;

/// Of the node's operands: those that DequantizeLinear takes numbers from, x and zero point, if all
/// of them are candidates of one type.
bool may_read(const NodeProto& node, int input, const Types& candidates) {
  constexpr int kX = 0, kZeroPoint = 2;
  if (node.op_type() != "DequantizeLinear" || (input != kX && input != kZeroPoint)) return false;
  const auto x = candidates.find(node.input(kX));
  if (x == candidates.end()) return false;
  if (node.input_size() <= kZeroPoint || node.input(kZeroPoint).empty()) return true;
  const auto zero_point = candidates.find(node.input(kZeroPoint));
  return zero_point != candidates.end() && zero_point->second == x->second;
}

/// Takes out what nodes of a body read.
void remove_reads(const GraphProto& body, Types& candidates) {
  for (const auto& output : body.output()) candidates.erase(output.name());
  for (const NodeProto& node : body.node()) {
    for (const std::string& name : node.input()) candidates.erase(name);
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) remove_reads(attribute.g(), candidates);
      for (const GraphProto& inner : attribute.graphs()) remove_reads(inner, candidates);
    }
  }
}

}  // namespace

std::set<std::string> find_dequantized_constants(const GraphProto& graph) {
  Types candidates;
  for (const auto& proto : graph.initializer()) {
    if (digit_bits(proto.data_type()) > 0) candidates[proto.name()] = proto.data_type();
  }
  if (candidates.empty()) return {};
  for (const auto& input : graph.input()) candidates.erase(input.name());
  for (const auto& output : graph.output()) candidates.erase(output.name());
  for (const NodeProto& node : graph.node()) {
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) remove_reads(attribute.g(), candidates);
      for (const GraphProto& body : attribute.graphs()) remove_reads(body, candidates);
    }
  }
  for (size_t before = 0; before != candidates.size();) {
    before = candidates.size();
    for (const NodeProto& node : graph.node()) {
      for (int i = 0; i < node.input_size(); ++i) {
        if (!may_read(node, i, candidates)) candidates.erase(node.input(i));
      }
    }
  }
  std::set<std::string> names;
  for (const auto& [name, type] : candidates) names.insert(name);
  return names;
}

}  // namespace corf::onnx
