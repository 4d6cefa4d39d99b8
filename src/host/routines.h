#pragma once
#include "host/call.h"

namespace corf::host {

using Routine = Result<Values> (*)(const Call&);

struct RoutineEntry {
  std::string_view name;  // "domain.Name" outside of ONNX's domain
  Routine run;
  /// The importer has nothing for it, whatever its inputs.
  bool host_only = false;
};

std::span<const RoutineEntry> selection_routines();
std::span<const RoutineEntry> sequence_routines();
std::span<const RoutineEntry> string_routines();
std::span<const RoutineEntry> narrow_routines();

/// Cast between types of numbers, those that are only stored among them.
Result<Value> cast_numbers(const Call& call);

/// Null if there is none.
Routine find_routine(const onnx_proto::NodeProto& node);

/// Whether a node can only be carried out by the host, be it for what its bodies hold.
bool is_host_only(const onnx_proto::NodeProto& node);
/// Whether the host can carry it out on tensors.
bool is_host_operator(const onnx_proto::NodeProto& node);

/// Whether an operator of ONNX's domain moves elements without looking at them.
bool only_moves_elements(std::string_view op_type);

}  // namespace corf::host
