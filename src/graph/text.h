#pragma once
#include <map>
#include <string>
#include <string_view>

#include "graph/graph.h"

namespace corf::graph {

/// The graph as text. Constants above a few elements print as `dense<hash>`; with
/// `with_data`, as hexadecimal, so that parse gives the same graph.
std::string to_string(const Graph& graph, bool with_data = false);
/// The graph's constants by the hash that to_string prints for them.
std::map<std::string, Tensor> constants_by_hash(const Graph& graph);
/// What to_string printed; constants printed as a hash are taken from `constants` by that hash, or
/// are zero-filled. Errors: kInvalidArgument with line and column.
Result<Graph> parse(std::string_view text, const std::map<std::string, Tensor>& constants = {});
/// kInternal naming the first node that breaks the graph's rules.
Status verify(const Graph& graph);

}  // namespace corf::graph
