#include "rewrite/rewrite.h"

#include <chrono>
#include <filesystem>
#include <fmt/format.h>

#include "graph/text.h"
#include "rewrite/bf16_products.h"
#include "rewrite/byte_tables.h"
#include "rewrite/cancel_quantizations.h"
#include "rewrite/divide_after_products.h"
#include "rewrite/eliminate_common_subexpressions.h"
#include "rewrite/fold_batch_norm.h"
#include "rewrite/fold_constants.h"
#include "rewrite/fold_empty_values.h"
#include "rewrite/fold_views_into_operands.h"
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
#include "rewrite/widen_halves.h"
#include "support/log.h"
#include "support/write_file.h"

namespace corf::rewrite {
using graph::Graph;

namespace {

Result<Graph> unchanged(Graph graph) { return graph; }

}  // namespace

std::vector<Pass> passes(const RewriteOptions& options) {
  const double look = options.has_byte_tables ? kInstructionsOfQuickLook : kInstructionsOfLook;
  return {
      {"fold_empty_values", fold_empty_values},
      {"remove_dead_nodes", remove_dead_nodes},
      // First, so that no other pass meets a half inside of the graph.
      {"widen_halves", widen_halves},
      // Weights stay bytes until products of integers have been found.
      {"fold_constants", fold_all_but_dequantizations},
      {"simplify_bodies", simplify_bodies},
      {"remove_identities", remove_identities},
      {"merge_views", merge_views},
      {"fold_views_into_operands", fold_views_into_operands},
      {"eliminate_common_subexpressions", eliminate_common_subexpressions},
      {"cancel_quantizations", cancel_quantizations},
      {"integer_contractions", integer_contractions},
      {"fold_dequantizations", fold_dequantizations},
      // While a batch-norm is a node of its own.
      {"fold_batch_norm", fold_batch_norm},
      // While a sum is a node of its own.
      {"merge_branches", merge_branches},
      {"multiply_by_inverse_roots", multiply_by_inverse_roots},
      {"divide_after_products", divide_after_products},
      // Before what rounds a factor becomes part of what makes it.
      {"bf16_products", options.bf16_products ? bf16_products : unchanged},
      {"merge_elementwise", merge_elementwise},
      {"requantize", requantize},
      {"byte_tables", [=](Graph graph) { return byte_tables(std::move(graph), look); }},
      // What is made of a look belongs to its readers, which then read bytes.
      {"merge_elementwise", merge_elementwise},
      {"remove_identities", remove_identities},
      {"eliminate_common_subexpressions", eliminate_common_subexpressions},
      {"sum_rows_first", sum_rows_first},
  };
}

namespace {

Status dump(const std::string& directory, size_t number, const std::string& pass,
            const std::string& text) {
  const std::filesystem::path path =
      std::filesystem::path(directory) / fmt::format("rewrite_{:02}_{}.txt", number, pass);
  return write_file_and_folder(path.string(), text);
}

}  // namespace

Result<Graph> rewrite(Graph graph, const RewriteOptions& options) {
  std::string before = options.dump_dir.empty() ? "" : graph::to_string(graph);
  const std::vector<Pass> all = passes(options);
  for (size_t i = 0; i < all.size(); ++i) {
    const Pass& pass = all[i];
    const auto start = std::chrono::steady_clock::now();
    CORF_ASSIGN(graph, pass.run(std::move(graph)));
    if (options.time_passes) {
      const std::chrono::duration<double, std::milli> elapsed =
          std::chrono::steady_clock::now() - start;
      log().info("{:9.3f} ms  rewrite.{}", elapsed.count(), pass.name);
    }
    if (options.verify_each) {
      if (Status status = graph::verify(graph); !status.ok()) {
        return make_error(ErrorCode::kInternal, "after the rewrite {}: {}", pass.name,
                          status.error().message);
      }
    }
    if (!options.dump_dir.empty()) {
      std::string after = graph::to_string(graph);
      if (after != before) CORF_RETURN_IF_ERROR(dump(options.dump_dir, i + 1, pass.name, after));
      before = std::move(after);
    }
  }
  return graph;
}

}  // namespace corf::rewrite
