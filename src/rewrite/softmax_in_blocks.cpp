#include "rewrite/softmax_in_blocks.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "graph/operators.h"
#include "rewrite/column_blocks.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/softmax.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Combiner;
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarNode;
using graph::ScalarOp;
using graph::ValueId;
using index::Expr;
using index::IndexMap;

namespace {

/// A softmax whose powers a product multiplies.
struct Match {
  NodeId product = -1, sum = -1;
  ValueId x = -1, max = -1, powers = -1;
  int column = -1;    // dimension of x and of the powers
  int operand = -1;   // of the product: the powers
  int64_t block = 0;  // columns
};

/// The only reduction axis, or -1.
int reduction_axis(const Compute& compute) {
  const int parallel = compute.space.num_parallel();
  return static_cast<int>(compute.space.axes.size()) == parallel + 1 ? parallel : -1;
}

/// Each dimension of the map is an axis of its own, or a constant.
bool selects_axes(const IndexMap& map) {
  std::set<int> seen;
  return std::all_of(map.exprs.begin(), map.exprs.end(), [&](const Expr& expr) {
    return expr.is_constant() ||
           (expr.kind() == index::ExprKind::kVariable && seen.insert(expr.variable_id()).second);
  });
}

class Matcher {
 public:
  Matcher(const Graph& graph, const SoftmaxBlockOptions& options)
      : graph_(graph), options_(options), consumers_(graph::consumers(graph)) {
    for (ValueId value : graph.outputs) outputs_.insert(value);
  }

  std::optional<Match> match(NodeId product) const {
    const auto* compute = std::get_if<Compute>(&graph_.nodes[product].op);
    if (!compute || compute->combiner != Combiner::kSum || compute->operands.size() != 2 ||
        compute->body.result_dtype() != DType::kF32 ||
        !applies_to_both(compute->body, ScalarOp::kMul) || reduction_axis(*compute) < 0 ||
        !reads_plainly(*compute)) {
      return std::nullopt;
    }
    for (int operand : {0, 1}) {
      if (auto found = match_powers(product, operand)) return found;
    }
    return std::nullopt;
  }

 private:
  bool is_output(ValueId value) const { return outputs_.count(value) > 0; }

  bool is_read_by(ValueId value, std::set<NodeId> nodes) const {
    return !is_output(value) &&
           std::set<NodeId>(consumers_[value].begin(), consumers_[value].end()) == nodes;
  }

  std::optional<Match> match_powers(NodeId product, int operand) const {
    const ValueId powers = graph_.nodes[product].inputs[operand];
    const std::vector<NodeId>& readers = consumers_[powers];
    if (readers.size() != 2) return std::nullopt;
    Match match;
    match.product = product;
    match.sum = readers[0] == product ? readers[1] : readers[0];
    match.operand = operand;
    match.powers = powers;
    const auto softmax = match_softmax(graph_, powers, graph_.nodes[match.sum].outputs[0]);
    const NodeId exp = graph_.values[powers].producer;
    if (!softmax || graph_.nodes[exp].inputs != std::vector{softmax->x, softmax->max}) {
      return std::nullopt;
    }
    match.x = softmax->x;
    match.max = softmax->max;
    if (!is_read_by(powers, {product, match.sum}) || !is_read_by(match.max, {exp}) ||
        !is_read_by(match.x, {exp, graph_.values[match.max].producer})) {
      return std::nullopt;
    }
    return with_block(match) ? std::optional(match) : std::nullopt;
  }

  /// Whether all parts run over the same columns, and rows are to be cut.
  bool with_block(Match& match) const {
    const auto& product = std::get<Compute>(graph_.nodes[match.product].op);
    const auto& sum = std::get<Compute>(graph_.nodes[match.sum].op);
    const auto& exp = std::get<Compute>(graph_.producer(match.powers).op);
    const auto& max = std::get<Compute>(graph_.producer(match.max).op);
    const IndexMap& read = product.operands[match.operand].map;
    match.column = dimension_of(read, reduction_axis(product));
    if (match.column < 0 || !selects_axes(read) || !reads_plainly(exp) || !reads_plainly(max) ||
        !reads_plainly(sum) || reduction_axis(sum) < 0 || reduction_axis(max) < 0) {
      return false;
    }
    const Shape& shape = graph_.values[match.powers].shape;
    const int column = match.column;
    if (dimension_of(sum.operands[0].map, reduction_axis(sum)) != column ||
        dimension_of(max.operands[0].map, reduction_axis(max)) != column ||
        !selects_axes(sum.operands[0].map) || !reads_own_point(exp.operands[0], shape, exp.space) ||
        dimension_of(exp.operands[1].map, column) >= 0) {
      return false;
    }
    for (size_t d = 0; d < shape.size(); ++d) {
      // A row of the powers is multiplied once.
      if (read.exprs[d].is_constant() && shape[d] != 1) return false;
    }
    const int64_t rows = num_elems(shape) / std::max<int64_t>(1, shape[column]);
    match.block = softmax_block(rows, shape[column], options_);
    return match.block < shape[column];
  }

  const Graph& graph_;
  const SoftmaxBlockOptions& options_;
  std::vector<std::vector<NodeId>> consumers_;
  std::set<ValueId> outputs_;
};

/// What a softmax and its product become.
struct Merged {
  ValueId sum = -1, product = -1;
};

/// The parts by blocks, and behind them what merges the blocks: nothing that needs all blocks
/// stands between the first part and the last, so that one kernel can go through them block by
/// block.
class Merge {
 public:
  Merge(Rebuild& rebuild, const Graph& old, const Match& match)
      : rebuild_(rebuild),
        graph_(rebuild.graph()),
        old_(old),
        match_(match),
        product_(std::get<Compute>(old.nodes[match.product].op)),
        blocks_(rebuild, old.values[match.powers].shape[match.column], match.block) {
    const IndexMap& read = product_.operands[match.operand].map;
    row_axes_.resize(product_.space.num_parallel(), -1);
    for (size_t d = 0; d < read.exprs.size(); ++d) {
      if (static_cast<int>(d) == match.column || read.exprs[d].is_constant()) continue;
      row_axes_[read.exprs[d].variable_id()] = static_cast<int>(d);
    }
  }

  Merged run() {
    blocks_.value(rebuild_.mapped(match_.x), match_.column);
    const Node max_node = graph_.producer(rebuild_.mapped(match_.max));
    const ValueId max =
        at_least_lowest(blocks_.cut(max_node, reduction_axis(std::get<Compute>(max_node.op))));
    blocks_.stands_for(rebuild_.mapped(match_.max), -1, max);
    const ValueId old_powers = rebuild_.mapped(match_.powers);
    const ValueId powers = blocks_.cut(graph_.producer(old_powers), match_.column);
    blocks_.stands_for(old_powers, match_.column, powers);
    const ValueId sums = sums_of(powers);
    Node product = old_.nodes[match_.product];
    product.inputs = rebuild_.mapped(product.inputs);
    const ValueId products = blocks_.cut(product, reduction_axis(product_));
    const ValueId weights = weights_of(max);
    return {merged_sum(weights, sums), merged_product(weights, products)};
  }

 private:
  ValueId at_least_lowest(ValueId max) {
    const Node node = graph_.producer(max);
    return graph::elementwise(
        graph_, node.name + "/finite", {max},
        [](ScalarBody& body, const std::vector<int>& x) {
          const double lowest = std::numeric_limits<float>::lowest();
          return body.apply(ScalarOp::kMax, x[0], body.constant(lowest, DType::kF32));
        },
        node.origin);
  }

  /// The product's axes where the powers have rows along them, else of extent 1.
  std::vector<index::Axis> row_axes() const {
    std::vector<index::Axis> axes;
    for (size_t a = 0; a < row_axes_.size(); ++a) {
      axes.push_back(product_.space.axes[a]);
      if (row_axes_[a] < 0) axes.back().extent = 1;
    }
    return axes;
  }

  /// Coordinates of a row of the powers, which is at `rows`, in what has a dimension for each of
  /// the product's.
  IndexMap at_row(const std::vector<Expr>& rows) const {
    IndexMap map;
    for (int dimension : row_axes_) map.exprs.push_back(dimension < 0 ? Expr(0) : rows[dimension]);
    return map;
  }
  /// The same in what has a dimension of blocks in front.
  static IndexMap of_block(Expr block, IndexMap map) {
    map.exprs.insert(map.exprs.begin(), std::move(block));
    return map;
  }
  /// Where each dimension of the powers is, as an axis behind `before` others.
  std::vector<Expr> rows_of_axes(int before) const {
    std::vector<Expr> rows(old_.values[match_.powers].shape.size(), Expr(0));
    for (size_t a = 0; a < row_axes_.size(); ++a) {
      if (row_axes_[a] >= 0) rows[row_axes_[a]] = Expr::variable(before + static_cast<int>(a));
    }
    return rows;
  }

  /// [block, the product's dimensions]: a result that keeps step with the product's.
  ValueId sums_of(ValueId powers) {
    const Node& node = old_.nodes[match_.sum];
    Compute sums;
    sums.space.axes = row_axes();
    sums.space.axes.insert(sums.space.axes.begin(), blocks_.block_axis(index::AxisKind::kParallel));
    const auto column = static_cast<int>(sums.space.axes.size());
    sums.space.axes.push_back({"column", match_.block, index::AxisKind::kReduction});
    std::vector<Expr> read = rows_of_axes(1);
    read[match_.column] = Expr::variable(column);
    read.insert(read.begin(), Expr::variable(0));
    sums.operands.push_back({IndexMap{std::move(read)}});
    sums.body.operand(0, DType::kF32);
    sums.combiner = Combiner::kSum;
    return graph_.add_compute(node.name, std::move(sums), {powers}, node.origin);
  }

  /// exp(m_b - m), as [block, the product's dimensions].
  ValueId weights_of(ValueId max) {
    const Node& node = old_.producer(match_.max);
    const IndexMap& of_powers = std::get<Compute>(old_.producer(match_.powers).op).operands[1].map;
    const auto read_max = [&](Expr block, const std::vector<Expr>& rows) {
      return of_block(std::move(block), index::compose(of_powers, IndexMap{rows}));
    };
    Compute most;
    most.space.axes = row_axes();
    const auto block = static_cast<int>(most.space.axes.size());
    most.space.axes.push_back(blocks_.block_axis(index::AxisKind::kReduction));
    most.operands.push_back({read_max(Expr::variable(block), rows_of_axes(0))});
    most.body.operand(0, DType::kF32);
    most.combiner = Combiner::kMax;
    const ValueId all =
        graph_.add_compute(node.name + "/merge", std::move(most), {max}, node.origin);
    Compute weights;
    weights.space.axes = row_axes();
    weights.space.axes.insert(weights.space.axes.begin(),
                              blocks_.block_axis(index::AxisKind::kParallel));
    weights.operands.push_back({read_max(Expr::variable(0), rows_of_axes(1))});
    weights.operands.push_back({at_row(rows_of_axes(1))});
    const int own = weights.body.operand(0, DType::kF32);
    const int most_of_all = weights.body.operand(1, DType::kF32);
    weights.body.apply(ScalarOp::kExp, weights.body.apply(ScalarOp::kSub, own, most_of_all));
    return graph_.add_compute(node.name + "/weights", std::move(weights), {max, all}, node.origin);
  }

  ValueId merged_sum(ValueId weights, ValueId sums) {
    const Node& node = old_.nodes[match_.sum];
    const auto& sum = std::get<Compute>(node.op);
    const int parallel = sum.space.num_parallel();
    Compute merge;
    merge.space.axes.assign(sum.space.axes.begin(), sum.space.axes.begin() + parallel);
    const IndexMap read = of_block(Expr::variable(parallel), at_row(sum.operands[0].map.exprs));
    return weighted_sum(node, std::move(merge), read, read, weights, sums);
  }

  ValueId merged_product(ValueId weights, ValueId products) {
    const int parallel = product_.space.num_parallel();
    Compute merge;
    merge.space.axes.assign(product_.space.axes.begin(), product_.space.axes.begin() + parallel);
    const Expr block = Expr::variable(parallel);
    return weighted_sum(old_.nodes[match_.product], std::move(merge),
                        of_block(block, at_row(rows_of_axes(0))),
                        of_block(block, IndexMap::identity(parallel)), weights, products);
  }

  ValueId weighted_sum(const Node& node, Compute merge, IndexMap weight, IndexMap read,
                       ValueId weights, ValueId parts) {
    merge.space.axes.push_back(blocks_.block_axis(index::AxisKind::kReduction));
    merge.operands.push_back({std::move(weight)});
    merge.operands.push_back({std::move(read)});
    const int a = merge.body.operand(0, DType::kF32);
    merge.body.apply(ScalarOp::kMul, a, merge.body.operand(1, DType::kF32));
    merge.combiner = Combiner::kSum;
    return graph_.add_compute(node.name + "/merge", std::move(merge), {weights, parts},
                              node.origin);
  }

  Rebuild& rebuild_;
  Graph& graph_;
  const Graph& old_;
  const Match& match_;
  const Compute& product_;
  ColumnBlocks blocks_;
  std::vector<int> row_axes_;  // by the product's parallel axis: dimension of the powers, or -1
};

/// Each softmax's sum, and what needs it, stands behind the product, unless that needs it.
Graph sums_behind_products(const Graph& graph, std::map<NodeId, Match>& matches) {
  std::vector<NodeId> order(graph.nodes.size());
  std::iota(order.begin(), order.end(), 0);
  for (auto match = matches.begin(); match != matches.end();) {
    std::vector<NodeId> kept, waiting;
    std::set<NodeId> behind = {match->second.sum};
    bool is_needed = false;
    auto at = order.begin();
    for (; *at != match->first; ++at) {
      bool needs = behind.count(*at) > 0;
      for (ValueId input : graph.nodes[*at].inputs) {
        needs |= behind.count(graph.values[input].producer) > 0;
      }
      if (needs) behind.insert(*at);
      (needs ? waiting : kept).push_back(*at);
    }
    for (ValueId input : graph.nodes[match->first].inputs) {
      is_needed |= behind.count(graph.values[input].producer) > 0;
    }
    if (is_needed) {
      match = matches.erase(match);
      continue;
    }
    kept.push_back(match->first);
    kept.insert(kept.end(), waiting.begin(), waiting.end());
    kept.insert(kept.end(), at + 1, order.end());
    order = std::move(kept);
    ++match;
  }
  std::vector<NodeId> number(order.size());
  for (size_t i = 0; i < order.size(); ++i) number[order[i]] = static_cast<NodeId>(i);
  Graph result = graph;
  for (size_t i = 0; i < order.size(); ++i) result.nodes[i] = graph.nodes[order[i]];
  for (graph::Value& value : result.values) value.producer = number[value.producer];
  std::map<NodeId, Match> renumbered;
  for (auto& [product, match] : matches) {
    match.product = number[match.product];
    match.sum = number[match.sum];
    renumbered[match.product] = match;
  }
  matches = std::move(renumbered);
  return result;
}

}  // namespace

int64_t softmax_block(int64_t rows, int64_t columns, const SoftmaxBlockOptions& options) {
  // Strips of attention hold two rings, scores and powers, of some 24 rows; long rows are those of
  // which they would fill a quarter of the second level. Blocks are short enough that twice as many
  // rows take half of that; shorter ones merge more. Measured: 2048 and 4096 columns, 1 MB.
  constexpr int64_t kRows = 24, kRings = 2, kShareOfLong = 4, kBlocksInLevel = 512;
  // So few rows leave workers idle, or a worker with less than a register tile.
  constexpr int64_t kFewRows = 8;
  if (options.l2_bytes <= 0 || rows <= 0) return columns;
  const auto bytes = static_cast<int64_t>(sizeof(float));
  const bool is_long = kRings * kRows * columns * bytes * kShareOfLong > options.l2_bytes;
  int64_t wanted = options.l2_bytes / (kBlocksInLevel * bytes);
  if (rows < kFewRows * options.threads) {
    wanted = std::min(wanted, columns / std::max(1, options.threads));
  } else if (!is_long) {
    return columns;
  }
  wanted = std::max(wanted, options.shortest);
  // The divisor that is nearest, of those within a factor of four.
  int64_t best = columns;
  for (int64_t block = std::max<int64_t>(2, wanted / 4); block <= 4 * wanted && block < columns;
       ++block) {
    if (columns % block != 0) continue;
    const auto distance = [&](int64_t length) {
      return double(std::max(length, wanted)) / double(std::min(length, wanted));
    };
    if (best == columns || distance(block) < distance(best)) best = block;
  }
  return best;
}

Result<Graph> softmax_in_blocks(Graph graph, const SoftmaxBlockOptions& options) {
  std::map<NodeId, Match> matches;
  const Matcher matcher(graph, options);
  for (NodeId id = 0; id < static_cast<NodeId>(graph.nodes.size()); ++id) {
    if (const auto match = matcher.match(id)) matches[id] = *match;
  }
  if (matches.empty()) return graph;
  graph = sums_behind_products(graph, matches);
  std::map<NodeId, ValueId> sums;  // by the node that made them
  Graph result = rebuild(graph, [&](Rebuild& rebuild, const Node& node) {
    const NodeId id = static_cast<NodeId>(&node - graph.nodes.data());
    if (const auto sum = sums.find(id); sum != sums.end()) {
      rebuild.replace(node.outputs[0], sum->second);
      return true;
    }
    const auto match = matches.find(id);
    if (match == matches.end()) return false;
    const Merged merged = Merge(rebuild, graph, match->second).run();
    rebuild.replace(node.outputs[0], merged.product);
    sums[match->second.sum] = merged.sum;
    return true;
  });
  return remove_dead_nodes(std::move(result));
}

}  // namespace corf::rewrite
