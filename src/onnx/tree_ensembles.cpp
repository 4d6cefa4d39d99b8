// Decision trees of ai.onnx.ml: a routine of the runtime walks them, their sums and labels are core
// nodes.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "onnx/scores.h"

namespace corf::onnx {
namespace {

/// Numbers of the routine TreeEnsemble; kMember is a chain of kEq there.
enum Mode : int32_t { kLeq, kLt, kGte, kGt, kEq, kNeq, kLeaf, kMember };
constexpr int32_t kMissingTracksTrue = 8;
enum Aggregate : int64_t { kAverage, kSum, kMin, kMax };

/// A node of a tree, and where a row goes from it: the number of a node, or ~ that of a leaf.
struct Split {
  int64_t feature = 0;
  Mode mode = kLeq;
  double value = 0;
  std::vector<double> members;
  bool missing_tracks_true = false;
  int64_t yes = 0, no = 0;
};
struct Contribution {
  int64_t target = 0;
  double weight = 0;
};
struct Forest {
  std::vector<Split> splits;
  std::vector<std::vector<Contribution>> leaves;
  std::vector<int64_t> roots;  // as Split::yes
};

/// A forest as the routine reads it: children stand behind their parents.
struct FlatForest {
  std::vector<int32_t> nodes;  // feature, mode, yes, no; of a leaf the range of contributions
  std::vector<double> values;
  std::vector<int32_t> targets;
  std::vector<double> weights;
  std::vector<int32_t> roots;
};

class Flattening {
 public:
  Flattening(const NodeImport& node, const Forest& forest)
      : node_(node), forest_(forest), is_seen_(forest.splits.size(), false) {}

  Result<FlatForest> run() {
    for (size_t tree = 0; tree < forest_.roots.size(); ++tree) {
      open_.push_back({forest_.roots[tree], {}});
      flat_.roots.push_back(size());
      while (!open_.empty()) {
        const Open next = std::move(open_.back());
        open_.pop_back();
        for (size_t place : next.places) flat_.nodes[place] = size();
        CORF_RETURN_IF_ERROR(next.source < 0 ? add_leaf(~next.source) : add_split(next.source));
        if (flat_.values.size() > size_t{1} << 28) return node_.invalid("it has too many nodes");
      }
    }
    return std::move(flat_);
  }

 private:
  /// A node that is to come, and the numbers in `nodes` that say where it is.
  struct Open {
    int64_t source = 0;
    std::vector<size_t> places;
  };

  int32_t size() const { return static_cast<int32_t>(flat_.values.size()); }
  void add(int64_t feature, int32_t mode, double value, int64_t yes, int64_t no) {
    for (int64_t number : {feature, int64_t{mode}, yes, no}) {
      flat_.nodes.push_back(static_cast<int32_t>(number));
    }
    flat_.values.push_back(value);
  }
  Status add_leaf(int64_t leaf) {
    if (leaf >= static_cast<int64_t>(forest_.leaves.size())) {
      return node_.invalid("leaf {} is not there", leaf);
    }
    const auto begin = static_cast<int64_t>(flat_.targets.size());
    for (const Contribution& one : forest_.leaves[static_cast<size_t>(leaf)]) {
      flat_.targets.push_back(static_cast<int32_t>(one.target));
      flat_.weights.push_back(one.weight);
    }
    add(0, kLeaf, 0, begin, static_cast<int64_t>(flat_.targets.size()));
    return {};
  }
  Status add_split(int64_t number) {
    if (number >= static_cast<int64_t>(forest_.splits.size())) {
      return node_.invalid("node {} is not there", number);
    }
    if (is_seen_[static_cast<size_t>(number)]) {
      return node_.invalid("node {} is reached in two ways", number);
    }
    is_seen_[static_cast<size_t>(number)] = true;
    const Split& split = forest_.splits[static_cast<size_t>(number)];
    if (split.feature < 0 || split.feature > std::numeric_limits<int32_t>::max()) {
      return node_.invalid("feature {}", split.feature);
    }
    Open yes{split.yes, {}}, no{split.no, {}};
    const std::vector<double> members =
        split.mode == kMember ? split.members : std::vector<double>{split.value};
    const int32_t mode = (split.mode == kMember ? kEq : split.mode) +
                         (split.missing_tracks_true ? kMissingTracksTrue : 0);
    for (size_t i = 0; i < members.size(); ++i) {
      add(split.feature, mode, members[i], 0, size() + 1);
      yes.places.push_back(flat_.nodes.size() - 2);
    }
    no.places.push_back(flat_.nodes.size() - 1);
    open_.push_back(std::move(no));
    open_.push_back(std::move(yes));
    return {};
  }

  const NodeImport& node_;
  const Forest& forest_;
  std::vector<bool> is_seen_;
  std::vector<Open> open_;
  FlatForest flat_;
};

template <typename T>
Tensor vector_of(const std::vector<T>& values, Shape shape = {}) {
  if (shape.empty()) shape = {static_cast<int64_t>(values.size())};
  return make_tensor<T>(std::move(shape), std::span<const T>(values));
}

/// What the trees come to, [rows, targets] of x's type.
Result<ValueId> add_ensemble(NodeImport& node, ValueId x, const Forest& forest, int64_t targets,
                             Aggregate aggregate) {
  if (forest.roots.empty()) return node.invalid("it has no trees");
  for (const auto& leaf : forest.leaves) {
    for (const Contribution& one : leaf) {
      if (one.target < 0 || one.target >= targets) {
        return node.invalid("a leaf adds to {} of {} targets", one.target, targets);
      }
    }
  }
  const Shape shape = node.shape(x);
  for (const Split& split : forest.splits) {
    if (split.feature >= shape[1]) {
      return node.invalid("feature {} of {}", split.feature, shape[1]);
    }
  }
  CORF_ASSIGN(const FlatForest flat, Flattening(node, forest).run());
  const DType dtype = node.dtype(x);
  const auto constant = [&](const char* suffix, Tensor tensor) {
    return node.graph.add_constant(node.part(suffix), std::move(tensor));
  };
  const auto count = static_cast<int64_t>(flat.values.size());
  const ValueId nodes = constant("nodes", vector_of(flat.nodes, {count, 4}));
  const ValueId values = constant("values", filled(dtype, {count}, [&](int64_t i) {
                                    return flat.values[static_cast<size_t>(i)];
                                  }));
  const std::vector<ValueId> inputs = {x,
                                       nodes,
                                       values,
                                       constant("leaf_targets", vector_of(flat.targets)),
                                       constant("leaf_weights", vector_of(flat.weights)),
                                       constant("roots", vector_of(flat.roots))};
  return node.graph.add_opaque(node.part("trees"),
                               {"TreeEnsemble", {{"aggregate", int64_t{aggregate}}}}, inputs,
                               {{dtype, {shape[0], targets}}})[0];
}

std::vector<std::string> words_of(const std::string& joined) {
  std::vector<std::string> words;
  size_t begin = 0;
  while (begin <= joined.size() && !joined.empty()) {
    const size_t end = std::min(joined.find(',', begin), joined.size());
    words.push_back(joined.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::optional<Mode> mode_of(const std::string& name) {
  static const std::map<std::string, Mode> modes = {
      {"BRANCH_LEQ", kLeq}, {"BRANCH_LT", kLt},   {"BRANCH_GTE", kGte}, {"BRANCH_GT", kGt},
      {"BRANCH_EQ", kEq},   {"BRANCH_NEQ", kNeq}, {"LEAF", kLeaf}};
  const auto found = modes.find(name);
  return found == modes.end() ? std::nullopt : std::optional(found->second);
}

/// A list of numbers that is an attribute of floats, or one of a tensor with "_as_tensor" behind
/// its name.
Result<std::vector<double>> numbers_attribute(NodeImport& node, const std::string& name) {
  if (!node.has_attribute(name + "_as_tensor")) return node.floats_attribute(name);
  CORF_ASSIGN(const Tensor tensor, node.tensor_attribute(name + "_as_tensor"));
  std::vector<double> values(static_cast<size_t>(tensor.num_elems()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = tensor.at_f64(static_cast<int64_t>(i));
  return values;
}

using NodeKey = std::pair<int64_t, int64_t>;  // of tree and node

/// Trees as lists of nodes with numbers of their own, attributes nodes_*; `prefix` begins the names
/// of those that say what leaves add ("class", "target").
Result<Forest> read_forest(NodeImport& node, const std::string& prefix) {
  const auto trees = node.ints_attribute("nodes_treeids"),
             ids = node.ints_attribute("nodes_nodeids");
  const auto features = node.ints_attribute("nodes_featureids");
  const auto yes = node.ints_attribute("nodes_truenodeids");
  const auto no = node.ints_attribute("nodes_falsenodeids");
  const auto missing = node.ints_attribute("nodes_missing_value_tracks_true");
  const auto modes = words_of(node.strings_attribute("nodes_modes"));
  CORF_ASSIGN(const auto values, numbers_attribute(node, "nodes_values"));
  const size_t count = trees.size();
  for (size_t size :
       {ids.size(), features.size(), yes.size(), no.size(), modes.size(), values.size()}) {
    if (size != count) return node.invalid("its attributes nodes_* are not equally long");
  }
  if (!missing.empty() && missing.size() != count) {
    return node.invalid("nodes_missing_value_tracks_true does not fit its nodes");
  }
  Forest forest;
  std::map<NodeKey, int64_t> places;
  std::vector<Mode> mode_of_node;
  for (size_t i = 0; i < count; ++i) {
    const auto mode = mode_of(modes[i]);
    if (!mode) return node.unsupported("nodes of mode '{}' are not supported", modes[i]);
    mode_of_node.push_back(*mode);
    const bool is_leaf = *mode == kLeaf;
    const auto number = static_cast<int64_t>(is_leaf ? forest.leaves.size() : forest.splits.size());
    if (!places.emplace(NodeKey{trees[i], ids[i]}, is_leaf ? ~number : number).second) {
      return node.invalid("tree {} has two nodes {}", trees[i], ids[i]);
    }
    is_leaf ? (void)forest.leaves.emplace_back() : (void)forest.splits.emplace_back();
  }
  std::map<NodeKey, bool> is_child;
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    if (mode_of_node[i] == kLeaf) continue;
    Split& split = forest.splits[next++];
    split.feature = features[i];
    split.mode = mode_of_node[i];
    split.value = values[i];
    split.missing_tracks_true = !missing.empty() && missing[i] != 0;
    for (const auto& [ids_of, place] : {std::pair(&yes, &split.yes), std::pair(&no, &split.no)}) {
      const NodeKey key = {trees[i], (*ids_of)[i]};
      const auto found = places.find(key);
      if (found == places.end())
        return node.invalid("tree {} has no node {}", key.first, key.second);
      *place = found->second;
      is_child[key] = true;
    }
  }
  std::map<int64_t, bool> has_root;
  for (size_t i = 0; i < count; ++i) {
    const NodeKey key = {trees[i], ids[i]};
    if (is_child.contains(key) || has_root[trees[i]]) continue;
    has_root[trees[i]] = true;
    forest.roots.push_back(places[key]);
  }
  for (size_t i = 0; i < count; ++i) {
    if (!has_root[trees[i]]) return node.invalid("tree {} has no root", trees[i]);
  }

  const auto leaf_trees = node.ints_attribute(prefix + "_treeids");
  const auto leaf_nodes = node.ints_attribute(prefix + "_nodeids");
  const auto leaf_ids = node.ints_attribute(prefix + "_ids");
  CORF_ASSIGN(const auto weights, numbers_attribute(node, prefix + "_weights"));
  if (leaf_nodes.size() != leaf_trees.size() || leaf_ids.size() != leaf_trees.size() ||
      weights.size() != leaf_trees.size()) {
    return node.invalid("its attributes {}_* are not equally long", prefix);
  }
  for (size_t i = 0; i < leaf_trees.size(); ++i) {
    const auto found = places.find({leaf_trees[i], leaf_nodes[i]});
    if (found == places.end()) {
      return node.invalid("tree {} has no node {}", leaf_trees[i], leaf_nodes[i]);
    }
    if (found->second >= 0) continue;  // no leaf: nothing ends there
    forest.leaves[static_cast<size_t>(~found->second)].push_back({leaf_ids[i], weights[i]});
  }
  return forest;
}

/// y + base values, one for each column.
Result<ValueId> with_base(NodeImport& node, ValueId y, const std::vector<double>& base) {
  if (base.empty()) return y;
  const int64_t columns = node.shape(y)[1];
  if (static_cast<int64_t>(base.size()) != columns) {
    return node.unsupported("{} base values for {} targets are not supported", base.size(),
                            columns);
  }
  const ValueId row = node.graph.add_constant(
      node.part("base"),
      filled(node.dtype(y), {columns}, [&](int64_t i) { return base[static_cast<size_t>(i)]; }));
  return binary(node.graph, node.part("with_base"), ScalarOp::kAdd, y, row);
}

std::optional<Aggregate> aggregate_of(const std::string& name) {
  if (name == "AVERAGE") return kAverage;
  if (name == "SUM") return kSum;
  if (name == "MIN") return kMin;
  if (name == "MAX") return kMax;
  return std::nullopt;
}

Status import_tree_ensemble_regressor(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(const ValueId x, feature_rows(node, node.input(0)));
  CORF_ASSIGN(const Forest forest, read_forest(node, "target"));
  const int64_t targets = node.int_attribute("n_targets", 1);
  constexpr int64_t kMostTargets = 1 << 20;
  if (targets < 1 || targets > kMostTargets) return node.invalid("it has {} targets", targets);
  const auto aggregate = aggregate_of(node.string_attribute("aggregate_function", "SUM"));
  if (!aggregate) return node.invalid("unknown aggregate_function");
  CORF_ASSIGN(ValueId y, add_ensemble(node, x, forest, targets, *aggregate));
  CORF_ASSIGN(const auto base, numbers_attribute(node, "base_values"));
  CORF_ASSIGN(y, with_base(node, y, base));
  CORF_ASSIGN(y, transformed_scores(node, node.part("transformed"), y,
                                    node.string_attribute("post_transform", "NONE")));
  node.set_output(cast(node.graph, node.name(), y, DType::kF32));
  return {};
}

/// Whether all contributions are to one class of two, and none is negative.
struct OneClass {
  bool is_one = true, is_positive = true;
  int64_t target = -1;
};
OneClass only_class(const Forest& forest) {
  OneClass result;
  for (const auto& leaf : forest.leaves) {
    for (const Contribution& one : leaf) {
      result.is_one = result.is_one && (result.target < 0 || result.target == one.target);
      result.target = one.target;
      result.is_positive = result.is_positive && one.weight >= 0;
    }
  }
  return result;
}

Status import_tree_ensemble_classifier(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(const ValueId x, feature_rows(node, node.input(0)));
  CORF_ASSIGN(Forest forest, read_forest(node, "class"));
  const ClassLabels labels = read_labels(node, "classlabels_int64s", "classlabels_strings");
  const std::string kind = node.string_attribute("post_transform", "NONE");
  CORF_ASSIGN(const auto base, numbers_attribute(node, "base_values"));
  const OneClass one = only_class(forest);
  const double threshold = one.is_positive ? 0.5 : 0;
  const bool is_binary = labels.count == 2 && one.is_one;
  if (!is_binary || one.target == 1) {
    CORF_ASSIGN(ValueId scores, add_ensemble(node, x, forest, labels.count, kSum));
    CORF_ASSIGN(scores, with_base(node, scores, base));
    // The first class then has a score of its own, 0.
    const ValueId second =
        is_binary ? slice(node.graph, node.part("second_class"), scores, 1, 1, 2) : -1;
    set_labels(node, labels,
               is_binary ? class_above(node, second, threshold) : best_class(node, scores));
    CORF_ASSIGN(scores, transformed_scores(node, node.part("scores"), scores, kind));
    node.set_output(1, cast(node.graph, node.part("scores_f32"), scores, DType::kF32));
    return {};
  }
  // One score says which of the two it is.
  for (auto& leaf : forest.leaves) {
    for (Contribution& contribution : leaf) contribution.target = 0;
  }
  CORF_ASSIGN(ValueId score, add_ensemble(node, x, forest, 1, kSum));
  CORF_ASSIGN(score, with_base(node, score, base));
  set_labels(node, labels, class_above(node, score, threshold));
  const SecondClass how = one.is_positive ? SecondClass::kComplement : SecondClass::kNegative;
  CORF_ASSIGN(const ValueId scores, both_scores(node, node.part("scores"), score, how, kind));
  node.set_output(1, cast(node.graph, node.part("scores_f32"), scores, DType::kF32));
  return {};
}

Result<std::vector<double>> tensor_numbers(NodeImport& node, const std::string& name) {
  CORF_ASSIGN(const Tensor tensor, node.tensor_attribute(name));
  std::vector<double> values(static_cast<size_t>(tensor.num_elems()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = tensor.at_f64(static_cast<int64_t>(i));
  return values;
}

/// Trees as lists of nodes that are numbered by their place, attributes nodes_* and leaf_*.
Result<Forest> read_numbered_forest(NodeImport& node) {
  const auto features = node.ints_attribute("nodes_featureids");
  const auto yes = node.ints_attribute("nodes_truenodeids");
  const auto no = node.ints_attribute("nodes_falsenodeids");
  const auto yes_is_leaf = node.ints_attribute("nodes_trueleafs");
  const auto no_is_leaf = node.ints_attribute("nodes_falseleafs");
  const auto missing = node.ints_attribute("nodes_missing_value_tracks_true");
  CORF_ASSIGN(const auto modes, tensor_numbers(node, "nodes_modes"));
  CORF_ASSIGN(const auto values, tensor_numbers(node, "nodes_splits"));
  const size_t count = features.size();
  for (size_t size : {yes.size(), no.size(), yes_is_leaf.size(), no_is_leaf.size(), modes.size(),
                      values.size()}) {
    if (size != count) return node.invalid("its attributes nodes_* are not equally long");
  }
  if (!missing.empty() && missing.size() != count) {
    return node.invalid("nodes_missing_value_tracks_true does not fit its nodes");
  }
  std::vector<double> members;  // of one node after the other, a NaN behind each
  if (node.has_attribute("membership_values")) {
    CORF_ASSIGN(members, tensor_numbers(node, "membership_values"));
  }
  constexpr Mode kModes[] = {kLeq, kLt, kGte, kGt, kEq, kNeq, kMember};
  Forest forest;
  size_t next_member = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!(modes[i] >= 0 && modes[i] < 7)) return node.invalid("a node of mode {}", modes[i]);
    for (int64_t child : {yes[i], no[i]}) {
      if (child < 0) return node.invalid("a child {}", child);
    }
    Split split;
    split.feature = features[i];
    split.mode = kModes[static_cast<size_t>(modes[i])];
    split.value = values[i];
    split.missing_tracks_true = !missing.empty() && missing[i] != 0;
    split.yes = yes_is_leaf[i] != 0 ? ~yes[i] : yes[i];
    split.no = no_is_leaf[i] != 0 ? ~no[i] : no[i];
    while (split.mode == kMember && next_member < members.size()) {
      const double member = members[next_member++];
      if (std::isnan(member)) break;
      split.members.push_back(member);
    }
    if (split.mode == kMember && split.members.empty())
      return node.invalid("a set without members");
    forest.splits.push_back(std::move(split));
  }
  const auto targets = node.ints_attribute("leaf_targetids");
  CORF_ASSIGN(const auto weights, tensor_numbers(node, "leaf_weights"));
  if (targets.size() != weights.size()) return node.invalid("its leaves do not fit");
  for (size_t i = 0; i < targets.size(); ++i) forest.leaves.push_back({{targets[i], weights[i]}});
  forest.roots = node.ints_attribute("tree_roots");
  for (int64_t& root : forest.roots) {
    if (root < 0 || root >= static_cast<int64_t>(count)) return node.invalid("a root {}", root);
    // A tree that is a leaf is a node whose children are that leaf.
    const Split& split = forest.splits[static_cast<size_t>(root)];
    if (split.yes < 0 && split.yes == split.no) root = split.yes;
  }
  return forest;
}

Status import_tree_ensemble(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  CORF_ASSIGN(const ValueId x, feature_rows(node, node.input(0)));
  CORF_ASSIGN(const Forest forest, read_numbered_forest(node));
  const int64_t targets = node.int_attribute("n_targets", 1);
  constexpr int64_t kMostTargets = 1 << 20;
  if (targets < 1 || targets > kMostTargets) return node.invalid("it has {} targets", targets);
  const int64_t aggregate = node.int_attribute("aggregate_function", kSum);
  const int64_t transform = node.int_attribute("post_transform", 0);
  constexpr const char* kTransforms[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  if (aggregate < kAverage || aggregate > kMax || transform < 0 || transform > 4) {
    return node.invalid("aggregate_function {} and post_transform {}", aggregate, transform);
  }
  CORF_ASSIGN(ValueId y, add_ensemble(node, x, forest, targets, static_cast<Aggregate>(aggregate)));
  CORF_ASSIGN(y, transformed_scores(node, node.part("transformed"), y, kTransforms[transform]));
  node.set_output(y);
  return {};
}

constexpr Operator kOperators[] = {
    {"ai.onnx.ml.TreeEnsemble", 0, import_tree_ensemble},
    {"ai.onnx.ml.TreeEnsembleClassifier", 0, import_tree_ensemble_classifier},
    {"ai.onnx.ml.TreeEnsembleRegressor", 0, import_tree_ensemble_regressor},
};

}  // namespace

std::span<const Operator> tree_ensemble_operators() { return kOperators; }

}  // namespace corf::onnx
