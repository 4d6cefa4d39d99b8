/// Networks of tests/fusion/random_chain.h.
#include <algorithm>

#include "tests/fusion/random_chain.h"

namespace corf::test {

using graph::ValueId;

void RandomChain::make_network() {
  const std::vector<int64_t> channels = {2, 4, 5, 8, 11, 16, 24};
  const Shape images = {chance(0.2) ? 2 : 1, any(channels), image_extent(), image_extent()};
  chain_.push_back(input(images));
  if (chance(0.3)) chain_.push_back(input(images));
  const int64_t layers = pick(3, 8);
  for (int64_t i = 0; i < layers; ++i) {
    chain_.push_back(add_network_layer(chance(0.6) ? chain_.back() : any(chain_)));
  }
  std::vector<bool> is_read(graph_.values.size(), false);
  for (const graph::Node& node : graph_.nodes) {
    for (const ValueId value : node.inputs) is_read[value] = true;
  }
  for (const ValueId value : chain_) {
    const bool made = !std::holds_alternative<graph::Input>(graph_.producer(value).op);
    if (made && (!is_read[value] || chance(0.1))) graph_.outputs.push_back(value);
  }
}

ValueId RandomChain::add_network_layer(ValueId x) {
  switch (pick(0, 9)) {
    case 0:
    case 1:
    case 2:
      return add_epilogue(add_same_conv(x), 1);
    case 3:
      return add_epilogue(add_pointwise(x), 1);
    case 4:
      return add_image_layer(x);
    case 5:
    case 6:
      return add_concat(x);
    case 7:
      return add_slice(x);
    case 8:
      return add_residual(x);
    default:
      return add_shuffle(x);
  }
}

/// Of the image's own size, dense or depthwise.
ValueId RandomChain::add_same_conv(ValueId x) {
  const Shape in = shape(x);
  const int64_t kernel = any<int64_t>({1, 3, 3, 5}), pad = kernel / 2;
  const bool depthwise = chance(0.3);
  const int64_t outputs = depthwise ? in[1] : any<int64_t>({3, 4, 8, 16});
  const int64_t inputs = depthwise ? 1 : in[1];
  const ValueId w = graph_.add_constant(name("w"), ternary({outputs, inputs, kernel, kernel}));
  const graph::Window window{{kernel, kernel}, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}};
  return keep(graph::conv(graph_, name("same"), x, w, window, depthwise ? in[1] : 1),
              magnitude_[x] * static_cast<double>(inputs * kernel * kernel));
}

ValueId RandomChain::add_concat(ValueId x) {
  const int axis = chance(0.85) ? 1 : static_cast<int>(pick(2, 3));
  std::vector<ValueId> parts = {x};
  Shape out = shape(x);
  for (const ValueId other : chain_) {
    bool fits = parts.size() < 4 && out[axis] + shape(other)[axis] <= 48 && chance(0.5);
    for (int d = 0; d < 4; ++d) fits = fits && (d == axis || shape(other)[d] == out[d]);
    if (!fits) continue;
    parts.insert(chance(0.5) ? parts.begin() : parts.end(), other);
    out[axis] += shape(other)[axis];
  }
  double magnitude = 0;
  for (const ValueId part : parts) magnitude = std::max(magnitude, magnitude_[part]);
  return keep(graph_.add_view(name("concat"), graph::Concat{axis}, parts, out), magnitude);
}

ValueId RandomChain::add_slice(ValueId x) {
  const int axis = chance(0.8) ? 1 : static_cast<int>(pick(2, 3));
  graph::Slice slice{{0, 0, 0, 0}, {1, 1, 1, 1}};
  Shape out = shape(x);
  const int64_t extent = out[axis];
  if (extent < 2) return add_clip(x);
  slice.starts[axis] = chance(0.4) ? 0 : chance(0.6) ? extent / 2 : pick(0, extent - 1);
  slice.steps[axis] = chance(0.15) ? 2 : 1;
  const int64_t most = (extent - slice.starts[axis] + slice.steps[axis] - 1) / slice.steps[axis];
  out[axis] = chance(0.5) ? most : std::min(most, std::max<int64_t>(1, extent / 2));
  return keep(graph_.add_view(name("slice"), slice, {x}, out), magnitude_[x]);
}

/// Channels of two halves by turns.
ValueId RandomChain::add_shuffle(ValueId x) {
  const Shape in = shape(x);
  if (in[1] % 2 != 0) return add_clip(x);
  const Shape split = {in[0], 2, in[1] / 2, in[2], in[3]};
  const Shape turned = {in[0], in[1] / 2, 2, in[2], in[3]};
  const ValueId halves = graph_.add_view(name("halves"), graph::Reshape{}, {x}, split);
  const ValueId turns =
      graph_.add_view(name("turns"), graph::Transpose{{0, 2, 1, 3, 4}}, {halves}, turned);
  return keep(graph_.add_view(name("shuffled"), graph::Reshape{}, {turns}, in), magnitude_[x]);
}

}  // namespace corf::test
