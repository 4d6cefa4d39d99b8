#include "rewrite/rewrite.h"

#include "graph/text.h"
#include "rewrite/bf16_products.h"
#include "rewrite/byte_tables.h"
#include "rewrite/cancel_quantizations.h"
#include "rewrite/divide_after_products.h"
#include "rewrite/drop_outside_steps.h"
#include "rewrite/eliminate_common_subexpressions.h"
#include "rewrite/fold_batch_norm.h"
#include "rewrite/fold_constants.h"
#include "rewrite/fold_empty_values.h"
#include "rewrite/fold_views_into_operands.h"
#include "rewrite/group_statistics.h"
#include "rewrite/integer_contractions.h"
#include "rewrite/merge_branches.h"
#include "rewrite/merge_elementwise.h"
#include "rewrite/merge_views.h"
#include "rewrite/multiply_by_inverse_roots.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/remove_identities.h"
#include "rewrite/requantize.h"
#include "rewrite/simplify_bodies.h"
#include "rewrite/sum_rows_first.h"
#include "rewrite/weights_in_words.h"
#include "rewrite/widen_halves.h"

namespace corf::rewrite {
using graph::Graph;

namespace {

/// Of a pass that asks nothing.
template <Result<Graph> (*run)(Graph)>
Result<Graph> always(Graph graph, const RewriteOptions&) {
  return run(std::move(graph));
}

Result<Graph> bf16_products_if_wanted(Graph graph, const RewriteOptions& options) {
  if (!options.bf16_products) return graph;
  return bf16_products(std::move(graph));
}

Result<Graph> byte_tables_of_machine(Graph graph, const RewriteOptions& options) {
  const double look = options.has_byte_tables ? kInstructionsOfQuickLook : kInstructionsOfLook;
  return byte_tables(std::move(graph), look);
}

Result<Graph> softmax_in_blocks_of_machine(Graph graph, const RewriteOptions& options) {
  return softmax_in_blocks(std::move(graph), options.softmax_blocks);
}

Result<Graph> integer_contractions_of_machine(Graph graph, const RewriteOptions& options) {
  return integer_contractions(std::move(graph), options.has_byte_products);
}

constexpr Pass kPasses[] = {
    {"fold_empty_values", always<fold_empty_values>},
    {"remove_dead_nodes", always<remove_dead_nodes>},
    // First, so that no other pass meets a half inside of the graph.
    {"widen_halves", always<widen_halves>},
    // Before weights are folded: they are sliced.
    {"drop_outside_steps", always<drop_outside_steps>},
    // Weights stay bytes until products of integers have been found.
    {"fold_constants", always<fold_all_but_dequantizations>},
    {"simplify_bodies", always<simplify_bodies>},
    // While reshapes are nodes of their own.
    {"group_statistics", always<group_statistics>},
    {"remove_identities", always<remove_identities>},
    {"merge_views", always<merge_views>},
    {"fold_views_into_operands", always<fold_views_into_operands>},
    {"eliminate_common_subexpressions", always<eliminate_common_subexpressions>},
    {"cancel_quantizations", always<cancel_quantizations>},
    {"integer_contractions", integer_contractions_of_machine},
    {"weights_in_words", always<weights_in_words>},
    {"fold_dequantizations", always<fold_dequantizations>},
    // While a batch-norm is a node of its own.
    {"fold_batch_norm", always<fold_batch_norm>},
    // While a sum is a node of its own.
    {"merge_branches", always<merge_branches>},
    {"multiply_by_inverse_roots", always<multiply_by_inverse_roots>},
    {"divide_after_products", always<divide_after_products>},
    // Before what rounds a factor becomes part of what makes it.
    {"bf16_products", bf16_products_if_wanted},
    {"merge_elementwise", always<merge_elementwise>},
    {"requantize", always<requantize>},
    {"byte_tables", byte_tables_of_machine},
    // What is made of a look belongs to its readers, which then read bytes.
    {"merge_elementwise", always<merge_elementwise>},
    {"remove_identities", always<remove_identities>},
    {"eliminate_common_subexpressions", always<eliminate_common_subexpressions>},
    {"sum_rows_first", always<sum_rows_first>},
    // Behind what looks for a softmax, or reads views.
    {"softmax_in_blocks", softmax_in_blocks_of_machine},
};

}  // namespace

std::span<const Pass> passes() { return kPasses; }

Result<Graph> rewrite(Graph graph, const RewriteOptions& options, const PassOptions& watch) {
  return run_passes("rewrite", passes(), std::move(graph), options, watch);
}

}  // namespace corf::rewrite
