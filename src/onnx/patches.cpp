// Pieces of tensors cut out, put together and centred.
#include <algorithm>

#include "onnx/compose.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

/// Each axis cut or padded with zeros at both ends, one more of an odd number at the end.
Status import_center_crop_pad(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  Shape shape = node.shape(x);
  const int rank = static_cast<int>(shape.size());
  CORF_ASSIGN(const auto extents, node.known_ints(1, "shape"));
  std::vector<int64_t> wanted_axes(rank);
  for (int d = 0; d < rank; ++d) wanted_axes[d] = d;
  wanted_axes = node.ints_attribute("axes", wanted_axes);
  CORF_RETURN_IF_ERROR(normal_axes(node, wanted_axes, rank));
  if (extents.size() != wanted_axes.size()) {
    return node.invalid("{} extents for {} axes", extents.size(), wanted_axes.size());
  }
  graph::Pad pad{std::vector<int64_t>(rank, 0), 0};
  Shape full = shape;
  for (size_t i = 0; i < extents.size(); ++i) {
    CORF_ASSIGN(const int axis, normal_axis(node, wanted_axes[i], rank));
    if (extents[i] < 0) return node.invalid("an extent of {}", extents[i]);
    if (extents[i] < shape[axis]) {
      const int64_t begin = (shape[axis] - extents[i]) / 2;
      x = slice(node.graph, node.part(fmt::format("crop{}", axis)), x, axis, begin,
                begin + extents[i]);
    }
    pad.before[axis] = std::max<int64_t>(0, (extents[i] - shape[axis]) / 2);
    full[axis] = extents[i];
  }
  const auto count = checked_num_elems(full);
  if (!count.ok()) return node.invalid("{}", count.error().message);
  if (full != node.shape(x)) x = node.graph.add_view(node.name(), std::move(pad), {x}, full);
  node.set_output(x);
  return {};
}

/// The slices along an axis, or elements, that a known condition selects.
Status import_compress(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  const Tensor* condition = node.known(node.input(1));
  if (condition == nullptr) {
    return node.depends_on_data(1, "condition", NodeImport::Bind::kNever);
  }
  std::vector<int64_t> selected;
  for (int64_t i = 0; i < condition->num_elems(); ++i) {
    if (condition->at_i64(i) != 0) selected.push_back(i);
  }
  int axis = 0;
  if (node.has_attribute("axis")) {
    CORF_ASSIGN(axis, normal_axis(node, node.int_attribute("axis", 0), node.rank(x)));
  } else {
    x = reshape(node.graph, node.part("flat"), x, {num_elems(node.shape(x))});
  }
  if (!selected.empty() && selected.back() >= node.shape(x)[axis]) {
    return node.invalid("its condition selects element {} of {}", selected.back(),
                        node.shape(x)[axis]);
  }
  const Shape count = {static_cast<int64_t>(selected.size())};
  const ValueId positions =
      node.graph.add_constant(node.part("positions"), make_tensor<int64_t>(count, selected));
  node.set_output(graph::gather(node.graph, node.name(), x, positions, axis));
  return {};
}

/// Overlapping blocks of columns added up, as a transposed convolution that spreads each row of a
/// column to its place in the block.
Status import_col2im(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  const ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  const Shape shape = node.shape(x);
  CORF_ASSIGN(const Shape image, node.known_ints(1, "image_shape"));
  CORF_ASSIGN(const Shape block, node.known_ints(2, "block_shape"));
  const size_t rank = image.size();
  const std::vector<int64_t> ones(rank, 1);
  graph::Window window;
  window.kernel = block;
  window.strides = node.ints_attribute("strides", ones);
  window.dilations = node.ints_attribute("dilations", ones);
  const std::vector<int64_t> pads = node.ints_attribute("pads", std::vector<int64_t>(2 * rank, 0));
  constexpr int64_t kMaxExtent = 1 << 24;
  auto is_extent = [](int64_t value) { return value >= 1 && value <= kMaxExtent; };
  auto fits = [&](const std::vector<int64_t>& values) {
    return values.size() == rank && std::all_of(values.begin(), values.end(), is_extent);
  };
  const bool pads_fit = pads.size() == 2 * rank && std::ranges::all_of(pads, [](int64_t pad) {
                          return pad >= 0 && pad <= kMaxExtent;
                        });
  if (shape.size() != 3 || rank == 0 || !fits(image) || !fits(block) || !fits(window.strides) ||
      !fits(window.dilations) || !pads_fit) {
    return node.invalid("columns {} do not fit image {} and block {}", to_string(shape),
                        to_string(image), to_string(block));
  }
  Shape grid = {shape[0], shape[1]};
  int64_t taps = 1, blocks = 1;
  for (size_t d = 0; d < rank; ++d) {
    window.pads_begin.push_back(pads[d]);
    window.pads_end.push_back(pads[rank + d]);
    const int64_t reach = window.dilations[d] * (block[d] - 1) + 1;
    const int64_t room = image[d] + pads[d] + pads[rank + d] - reach;
    if (room < 0) return node.invalid("a block of {} for an image of {}", reach, image[d]);
    grid.push_back(room / window.strides[d] + 1);
    const auto product = checked_mul(taps, block[d]), total = checked_mul(blocks, grid.back());
    if (!product || !total) return node.invalid("block {} is too large", to_string(block));
    taps = *product;
    blocks = *total;
  }
  if (shape[1] < 1 || shape[1] % taps != 0 || shape[2] != blocks) {
    return node.invalid("columns {} are not blocks of {} at {} places", to_string(shape), taps,
                        blocks);
  }
  Shape spread = {shape[1], 1};
  spread.insert(spread.end(), block.begin(), block.end());
  Tensor weights =
      filled(node.dtype(x), spread, [&](int64_t i) { return i / taps % taps == i % taps ? 1 : 0; });
  const ValueId columns = reshape(node.graph, node.part("grid"), x, grid);
  const ValueId places = node.graph.add_constant(node.part("places"), std::move(weights));
  node.set_output(graph::conv_transpose(node.graph, node.name(), columns, places, window,
                                        shape[1] / taps, image));
  return {};
}

Status import_depth_to_space(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  Shape s = node.shape(x);
  int64_t block = node.int_attribute("blocksize", 0);
  std::string mode = node.string_attribute("mode", "DCR");
  if (s.size() != 4 || block < 1 || block > (1 << 20) || s[1] % (block * block) != 0) {
    return node.invalid("blocksize {} for {}", block, to_string(s));
  }
  if (mode != "DCR" && mode != "CRD") return node.invalid("unknown mode '{}'", mode);
  int64_t depth = s[1] / (block * block);
  bool block_first = mode == "DCR";
  Shape split = block_first ? Shape{s[0], block, block, depth, s[2], s[3]}
                            : Shape{s[0], depth, block, block, s[2], s[3]};
  std::vector<int> permutation =
      block_first ? std::vector<int>{0, 3, 4, 1, 5, 2} : std::vector<int>{0, 1, 4, 2, 5, 3};
  ValueId parts = reshape(node.graph, node.part("split"), x, split);
  ValueId moved = transpose(node.graph, node.part("transpose"), parts, permutation);
  node.set_output(
      reshape(node.graph, node.name(), moved, {s[0], depth, s[2] * block, s[3] * block}));
  return {};
}

Status import_space_to_depth(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  Shape s = node.shape(x);
  int64_t block = node.int_attribute("blocksize", 0);
  if (s.size() != 4 || block < 1 || block > (1 << 20) || s[2] % block != 0 || s[3] % block != 0) {
    return node.invalid("blocksize {} for {}", block, to_string(s));
  }
  std::string mode = node.string_attribute("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") return node.invalid("unknown mode '{}'", mode);
  Shape split = {s[0], s[1], s[2] / block, block, s[3] / block, block};
  ValueId parts = reshape(node.graph, node.part("split"), x, split);
  ValueId moved = transpose(
      node.graph, node.part("transpose"), parts,
      mode == "DCR" ? std::vector<int>{0, 3, 5, 1, 2, 4} : std::vector<int>{0, 1, 3, 5, 2, 4});
  Shape to = {s[0], s[1] * block * block, s[2] / block, s[3] / block};
  node.set_output(reshape(node.graph, node.name(), moved, to));
  return {};
}

constexpr Operator kOperators[] = {
    {"CenterCropPad", 18, import_center_crop_pad},
    {"Col2Im", 18, import_col2im},
    {"Compress", 9, import_compress},
    {"DepthToSpace", 1, import_depth_to_space},
    {"SpaceToDepth", 1, import_space_to_depth},
};

}  // namespace

std::span<const Operator> patch_operators() { return kOperators; }

}  // namespace corf::onnx
