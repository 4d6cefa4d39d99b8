#pragma once
#include <optional>
#include <string>

#include "graph/graph.h"
#include "target/machine.h"

namespace corf::driver {

/// The file that holds the tuned plan of a prepared graph on this kind of machine; "" without `dir`
/// or while it holds no plans at all and none is about to be written.
std::string plan_file(const graph::Graph& graph, const Machine& machine, const std::string& dir,
                      bool for_writing);

/// The plan's text; nullopt if there is no such file.
std::optional<std::string> read_plan(const std::string& file);

}  // namespace corf::driver
