#pragma once
#include <string>
#include <string_view>

#include "fusion/plan.h"

namespace corf::fusion {

/// The plan's decisions as text; what follows from them (storage, how values go, the nests'
/// loops) stands in comments:
///
///   plan
///   group compute {
///     node "conv1"
///     node "relu1"
///     store "relu1_out"  # buffer 4 at 448, strides [1605632, 1, 7296, 64]
///     # "conv1_out" from "conv1" to "relu1": inline
///     # m=64 oh=112 ow=112 | c=3 kh=7 kw=7
///     schedule vector m 64 tile ow 7 unroll - reduce c, kh, kw steps 1 order oh, m, ow
///       block - 0 split oh 2
///   }
///
/// A group of several stages begins each with `stage` and says how they share loops:
/// `strips DIM by ROWS [outer DIM by POINTS]... split LOOP PARTITIONS`.
std::string to_string(const graph::Graph& graph, const FusionPlan& plan);

/// How far a search went, as a comment.
std::string to_string(const SearchEffort& search);

/// What to_string printed, for the same graph. Storage and nests are derived anew.
/// Errors: kInvalidArgument with line and column; kInvalidArgument if a group's nodes do not exist
/// or a schedule does not fit its nest.
Result<FusionPlan> parse_plan(const graph::Graph& graph, std::string_view text);

/// FNV-1a of the plan's text, 16 hexadecimal digits.
std::string plan_hash(const graph::Graph& graph, const FusionPlan& plan);

}  // namespace corf::fusion
