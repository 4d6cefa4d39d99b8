#include "host/routines.h"

#include <algorithm>
#include <array>

#include "host/narrow.h"

namespace corf::host {
namespace {

using onnx_proto::NodeProto;
using onnx_proto::TensorProto;

const RoutineEntry* find_entry(const NodeProto& node) {
  const bool standard = node.domain().empty() || node.domain() == "ai.onnx";
  const std::string name = standard ? node.op_type() : node.domain() + "." + node.op_type();
  for (const auto table :
       {selection_routines(), sequence_routines(), string_routines(), narrow_routines()}) {
    for (const RoutineEntry& entry : table) {
      if (entry.name == name) return &entry;
    }
  }
  return nullptr;
}

bool has_bodies(const NodeProto& node) {
  const std::string& op = node.op_type();
  return op == "If" || op == "Loop" || op == "Scan" || op == "SequenceMap";
}

/// Of a node whose attributes say that it makes strings, or elements that are only stored.
bool makes_others(const NodeProto& node) {
  for (const auto& attribute : node.attribute()) {
    if ((node.op_type() == "Cast" && attribute.name() == "to") ||
        (node.op_type() == "QuantizeLinear" && attribute.name() == "output_dtype")) {
      return attribute.i() == TensorProto::STRING || is_narrow(attribute.i());
    }
    const bool is_value = attribute.has_t() && (attribute.t().data_type() == TensorProto::STRING ||
                                                is_narrow(attribute.t().data_type()));
    if (is_value || attribute.name() == "value_string" || attribute.name() == "value_strings" ||
        attribute.name() == "values_strings" || attribute.name() == "keys_strings") {
      return true;
    }
  }
  return false;
}

}  // namespace

Routine find_routine(const NodeProto& node) {
  const RoutineEntry* entry = find_entry(node);
  return entry != nullptr ? entry->run : nullptr;
}

bool is_host_only(const NodeProto& node) {
  const RoutineEntry* entry = find_entry(node);
  if (node.op_type() == "SequenceMap" || (entry != nullptr && entry->host_only)) return true;
  if (entry != nullptr && makes_others(node)) return true;
  for (const auto& attribute : node.attribute()) {
    for (const NodeProto& inner : attribute.g().node()) {
      if (is_host_only(inner)) return true;
    }
  }
  return false;
}

bool is_host_operator(const NodeProto& node) {
  return has_bodies(node) || find_entry(node) != nullptr;
}

bool only_moves_elements(std::string_view op_type) {
  static constexpr std::array kMoving = {"Concat",          "Expand",          "Flatten",
                                         "Gather",          "GatherElements",  "GatherND",
                                         "Reshape",         "Reverse",         "Slice",
                                         "Split",           "Squeeze",         "Tile",
                                         "Where",           "Transpose",       "Unsqueeze",
                                         "ScatterElements", "ScatterND",       "DepthToSpace",
                                         "SpaceToDepth",    "ReverseSequence", "Trilu"};
  return std::find(kMoving.begin(), kMoving.end(), op_type) != kMoving.end();
}

}  // namespace corf::host
