#include "driver/check_routines.h"

#include <fmt/format.h>

#include "runtime/routines/routine.h"
#include "support/printable.h"

namespace corf::driver {

Status check_routines(const graph::Graph& graph) {
  for (const graph::Node& node : graph.nodes) {
    const auto* opaque = std::get_if<graph::Opaque>(&node.op);
    if (opaque == nullptr) continue;
    runtime::RoutineCall call{opaque->attributes, {}, {}};
    auto describe = [&](const std::vector<graph::ValueId>& values,
                        std::vector<runtime::RoutineOperand>& operands) {
      for (graph::ValueId value : values) {
        operands.push_back({graph.values[value].dtype, graph.values[value].shape});
      }
    };
    describe(node.inputs, call.inputs);
    describe(node.outputs, call.outputs);
    const auto prepared = runtime::prepare_routine(opaque->routine, std::move(call));
    if (prepared) continue;
    return Error{prepared.error().code,
                 fmt::format("node '{}' ({}): {}", printable(node.name), printable(opaque->routine),
                             prepared.error().message)};
  }
  return {};
}

}  // namespace corf::driver
