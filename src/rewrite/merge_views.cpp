#include "rewrite/merge_views.h"

#include <algorithm>

#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Broadcast;
using graph::Concat;
using graph::Graph;
using graph::Node;
using graph::Pad;
using graph::Reshape;
using graph::Slice;
using graph::Transpose;
using graph::ValueId;
using graph::View;

namespace {

/// What stands for the view instead: another view, or (with `view` unset) the one input itself.
struct Simpler {
  std::optional<View> view;
  std::vector<ValueId> inputs;
};

bool moves_only_ones(const std::vector<int>& permutation, const Shape& input) {
  int last = -1;
  for (int dim : permutation) {
    if (input[dim] == 1) continue;
    if (dim < last) return false;
    last = dim;
  }
  return true;
}

class Simplifier {
 public:
  Simplifier(const Rebuild& rebuild, const Graph& graph, std::vector<ValueId> inputs,
             const Shape& output)
      : rebuild_(rebuild), graph_(graph), inputs_(std::move(inputs)), output_(output) {}

  std::optional<Simpler> operator()(const Reshape&) const {
    if (input_shape() == output_) return same();
    if (inner<Reshape>()) return Simpler{Reshape{}, inner_inputs()};
    return std::nullopt;
  }

  std::optional<Simpler> operator()(const Transpose& transpose) const {
    if (moves_only_ones(transpose.permutation, input_shape())) {
      if (input_shape() == output_) return same();
      return Simpler{Reshape{}, inputs_};
    }
    const auto* first = inner<Transpose>();
    if (!first) return std::nullopt;
    Transpose both;
    for (int dim : transpose.permutation) both.permutation.push_back(first->permutation[dim]);
    return Simpler{both, inner_inputs()};
  }

  std::optional<Simpler> operator()(const Slice& slice) const {
    if (input_shape() == output_ && takes_all(slice)) return same();
    if (const auto* first = inner<Slice>()) {
      Slice both = slice;
      for (size_t i = 0; i < output_.size(); ++i) {
        both.starts[i] = first->starts[i] + slice.starts[i] * first->steps[i];
        both.steps[i] = slice.steps[i] * first->steps[i];
      }
      return Simpler{both, inner_inputs()};
    }
    if (const auto* concat = inner<Concat>()) return slice_of_one_part(slice, *concat);
    return std::nullopt;
  }

  std::optional<Simpler> operator()(const Concat& concat) const {
    if (inputs_.size() == 1) return same();
    // Empty parts add nothing; parts that are concatenations themselves become parts of this one,
    // and slices that follow each other through a value become that value.
    std::vector<ValueId> parts;
    for (ValueId input : inputs_) {
      if (graph_.values[input].shape[concat.axis] == 0) continue;
      const View* view = producing_view(graph_, input);
      const auto* nested = view ? std::get_if<Concat>(view) : nullptr;
      if (nested && nested->axis == concat.axis && rebuild_.num_readers(input) == 1) {
        const std::vector<ValueId>& nested_parts = graph_.producer(input).inputs;
        parts.insert(parts.end(), nested_parts.begin(), nested_parts.end());
      } else {
        parts.push_back(input);
      }
    }
    parts = without_cuts(parts, concat.axis);
    if (parts.empty() || parts == inputs_) return std::nullopt;
    if (parts.size() == 1) return Simpler{std::nullopt, parts};
    return Simpler{concat, parts};
  }

  std::optional<Simpler> operator()(const Pad& pad) const {
    const bool moves = std::any_of(pad.before.begin(), pad.before.end(),
                                   [](int64_t before) { return before != 0; });
    return input_shape() == output_ && !moves ? same() : std::nullopt;
  }

  std::optional<Simpler> operator()(const Broadcast&) const {
    if (input_shape() == output_) return same();
    if (inner<Broadcast>()) return Simpler{Broadcast{}, inner_inputs()};
    if (num_elems(input_shape()) == num_elems(output_)) return Simpler{Reshape{}, inputs_};
    return std::nullopt;
  }

 private:
  const Shape& input_shape() const { return graph_.values[inputs_[0]].shape; }
  std::optional<Simpler> same() const { return Simpler{std::nullopt, inputs_}; }
  const std::vector<ValueId>& inner_inputs() const { return graph_.producer(inputs_[0]).inputs; }

  template <typename Kind>
  const Kind* inner() const {
    const View* view = producing_view(graph_, inputs_[0]);
    return view ? std::get_if<Kind>(view) : nullptr;
  }

  /// The value that the part is a slice of, from `begin` on along the axis and whole along the
  /// others; -1 if it is none.
  ValueId sliced_from(ValueId part, int axis, int64_t begin) const {
    const View* view = producing_view(graph_, part);
    const auto* slice = view ? std::get_if<Slice>(view) : nullptr;
    if (!slice) return -1;
    const ValueId source = graph_.producer(part).inputs[0];
    const Shape &shape = graph_.values[part].shape, &whole = graph_.values[source].shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      const bool along = static_cast<int>(d) == axis;
      if (slice->starts[d] != (along ? begin : 0)) return -1;
      if ((shape[d] > 1 && slice->steps[d] != 1) || (!along && shape[d] != whole[d])) return -1;
    }
    return source;
  }

  std::vector<ValueId> without_cuts(const std::vector<ValueId>& parts, int axis) const {
    std::vector<ValueId> result;
    for (size_t i = 0; i < parts.size();) {
      const ValueId source = sliced_from(parts[i], axis, 0);
      size_t end = i;
      int64_t extent = 0;
      while (source >= 0 && end < parts.size() && sliced_from(parts[end], axis, extent) == source) {
        extent += graph_.values[parts[end++]].shape[axis];
      }
      const bool whole = source >= 0 && extent == graph_.values[source].shape[axis];
      result.push_back(whole ? source : parts[i]);
      i = whole ? end : i + 1;
    }
    return result;
  }

  bool takes_all(const Slice& slice) const {
    for (size_t i = 0; i < output_.size(); ++i) {
      if (slice.starts[i] != 0 || (output_[i] > 1 && slice.steps[i] != 1)) return false;
    }
    return true;
  }

  std::optional<Simpler> slice_of_one_part(const Slice& slice, const Concat& concat) const {
    const int axis = concat.axis;
    if (output_[axis] == 0) return std::nullopt;
    const int64_t first = slice.starts[axis];
    const int64_t last = first + (output_[axis] - 1) * slice.steps[axis];
    int64_t offset = 0;
    for (ValueId part : inner_inputs()) {
      const int64_t extent = graph_.values[part].shape[axis];
      const auto inside = [&](int64_t at) { return offset <= at && at < offset + extent; };
      if (inside(first) && inside(last)) {
        Slice of_part = slice;
        of_part.starts[axis] -= offset;
        return Simpler{of_part, {part}};
      }
      offset += extent;
    }
    return std::nullopt;
  }

  const Rebuild& rebuild_;
  const Graph& graph_;
  std::vector<ValueId> inputs_;
  const Shape& output_;
};

}  // namespace

Result<Graph> merge_views(Graph graph) {
  return rebuild_until_stable(std::move(graph), [](Rebuild& rebuild, const Node& node) {
    const auto* view = std::get_if<View>(&node.op);
    if (!view) return false;
    const ValueId output = node.outputs[0];
    const Shape& shape = rebuild.old().values[output].shape;
    std::optional<Simpler> simpler =
        std::visit(Simplifier(rebuild, rebuild.graph(), rebuild.mapped(node.inputs), shape), *view);
    if (!simpler) return false;
    rebuild.replace(output, simpler->view
                                ? rebuild.graph().add_view(node.name, *simpler->view,
                                                           simpler->inputs, shape, node.origin)
                                : simpler->inputs[0]);
    return true;
  });
}

}  // namespace corf::rewrite
