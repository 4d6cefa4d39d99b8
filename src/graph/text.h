#pragma once
#include <string>
#include <string_view>

#include "graph/graph.h"

namespace corf::graph {

/// The graph as text. Constants above a few elements print as `dense<hash>`; with
/// `with_data`, as hexadecimal, so that parse gives the same graph.
std::string to_string(const Graph& graph, bool with_data = false);
/// What to_string printed; constants printed as a hash are taken from `constants` by that hash, or
/// are zero-filled. Errors: kInvalidArgument with line and column.
Result<Graph> parse(std::string_view text);
/// kInternal naming the first node that breaks the graph's rules.
Status verify(const Graph& graph);

}  // namespace corf::graph
