#pragma once
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace corf::rewrite {

/// y = x * scale[c] + shift[c] with constants, c being the coordinate along `axis`. What
/// batch-norm, a bias, a layer-scale or a normalisation of pixels come down to.
struct ChannelAffine {
  graph::ValueId x = -1;
  int axis = -1;                     // -1: one scale and one shift for all elements
  std::vector<double> scale, shift;  // equally long; one element if axis is -1

  bool scales() const;
  bool shifts() const;
  bool finite() const;
};

/// The element-wise node as an affine function of its only operand that is not constant; nullopt if
/// it is none. Recognised by the body, so that it covers every way of writing it.
std::optional<ChannelAffine> match_channel_affine(const graph::Graph& graph,
                                                  const graph::Node& node);

/// second(first(x)); nullopt if they vary along different axes.
std::optional<ChannelAffine> after(const ChannelAffine& second, const ChannelAffine& first);

/// Emits affine.x * scale + shift, leaving out what does nothing.
graph::ValueId add_channel_affine(graph::Graph& graph, const std::string& name,
                                  const std::string& origin, const ChannelAffine& affine);

}  // namespace corf::rewrite
