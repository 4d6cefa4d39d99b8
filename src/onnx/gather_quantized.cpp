// Rows of a table of a few bits each, com.microsoft.GatherBlockQuantized: picked as they lie, then
// turned into numbers.
#include <algorithm>

#include "graph/operators.h"
#include "onnx/compose.h"
#include "onnx/indices.h"
#include "onnx/quantization.h"
#include "support/checked.h"

namespace corf::onnx {
namespace {

using index::Expr;

struct Table {
  Tensor numbers;  // u8 or i8, one each
  ValueId scales = -1;
  std::optional<Tensor> zero_points;  // as the scales
  double zero_point = 0;              // where there are none
  int gather_axis = 0, block_axis = 0;
  int64_t block = 0;
};

/// Whether bytes hold several numbers each. A tensor of 4-bit integers is read as one byte for
/// each, and only the extents tell it from one of packed bytes; where blocks are so long that both
/// fit, the values do.
bool is_packed(const Tensor& data, int64_t per_byte, int64_t block, int64_t num_blocks) {
  if (data.dtype() != DType::kU8 || per_byte == 1) return false;
  const int64_t extent = data.shape().back();
  const bool fits_packed = ceil_div(extent * per_byte, block) == num_blocks;
  if (!fits_packed || ceil_div(extent, block) != num_blocks) return fits_packed;
  const auto bytes = data.elems<uint8_t>();
  return std::ranges::any_of(bytes, [&](uint8_t byte) { return byte >> (8 / per_byte) != 0; });
}

Result<Table> read_table(NodeImport& node) {
  const Tensor *const data = node.known(node.input(0)), *const zero_points =
                                                            node.has(3) ? node.known(node.input(3))
                                                                        : nullptr;
  if (data == nullptr || (node.has(3) && zero_points == nullptr)) {
    return node.unsupported("the table and its zero points must be constants");
  }
  Table table{*data, node.input(2)};
  const Shape shape = data->shape(), blocks = node.shape(table.scales);
  const auto rank = static_cast<int>(shape.size());
  CORF_ASSIGN(table.gather_axis, normal_axis(node, node.int_attribute("gather_axis", 0), rank));
  CORF_ASSIGN(table.block_axis, normal_axis(node, node.int_attribute("quantize_axis", 1), rank));
  table.block = node.int_attribute("block_size", 128);
  const int64_t bits = node.int_attribute("bits", 4);
  if (table.gather_axis == table.block_axis) {
    return node.unsupported("blocks along the axis that is gathered from are not supported");
  }
  if (table.block < 1 || (bits != 2 && bits != 4 && bits != 8) || blocks.size() != shape.size()) {
    return node.invalid("blocks of {} numbers of {} bits with scales of {}", table.block, bits,
                        to_string(blocks));
  }
  const int64_t per_byte = 8 / bits, num_blocks = blocks[table.block_axis];
  const bool last = table.block_axis == rank - 1;
  const bool packed = last && is_packed(*data, per_byte, table.block, num_blocks);
  if (packed) {
    table.numbers = unpack_digits(*data, bits, shape.back() * per_byte);
    table.zero_point = double(int64_t{1} << (bits - 1));
  } else if (data->dtype() == DType::kU8 && bits == 8) {
    table.zero_point = 128;
  }
  Shape expected = table.numbers.shape();
  expected[table.block_axis] = ceil_div(expected[table.block_axis], table.block);
  bool fits = blocks == expected;
  if (zero_points != nullptr && fits) {
    Shape zeros = blocks;
    if (packed) zeros.back() = ceil_div(num_blocks, per_byte);
    fits = zero_points->shape() == zeros && zero_points->dtype() == data->dtype();
    if (fits) {
      table.zero_points = packed ? unpack_digits(*zero_points, bits, num_blocks) : *zero_points;
    }
  }
  if (!fits) {
    return node.invalid("scales of {} do not fit a table of {} in blocks of {}", to_string(blocks),
                        to_string(table.numbers.shape()), table.block);
  }
  return table;
}

/// (numbers - zero point) * scale of what the indices pick.
Status import_gather_block_quantized(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(3));
  CORF_ASSIGN(const Table table, read_table(node));
  const DType dtype = node.dtype(table.scales);
  const Shape indices_shape = node.shape(node.input(1));
  CORF_ASSIGN(const ValueId indices, checked_indices(node, "indices", node.input(1),
                                                     {table.numbers.shape()[table.gather_axis]}));
  graph::Compute compute;
  std::vector<ValueId> inputs;
  const auto num_indices = static_cast<int>(indices_shape.size());
  const int block_axis =
      table.block_axis + (table.block_axis > table.gather_axis ? num_indices - 1 : 0);
  const auto picked = [&](const char* name, ValueId from) {
    inputs.push_back(graph::gather(node.graph, node.part(name), from, indices, table.gather_axis));
    return node.shape(inputs.back());
  };
  const auto constant = [&](const char* name, const Tensor& tensor) {
    return node.graph.add_constant(node.part(name), tensor);
  };
  const Shape shape = picked("numbers", constant("table", table.numbers));
  index::IndexMap by_block;
  for (size_t d = 0; d < shape.size(); ++d) {
    compute.space.axes.push_back({fmt::format("d{}", d), shape[d], index::AxisKind::kParallel});
    const Expr at = Expr::variable(static_cast<int>(d));
    const bool in_blocks = static_cast<int>(d) == block_axis;
    by_block.exprs.push_back(in_blocks ? floor_div(at, Expr(table.block)) : at);
  }
  ScalarBody& body = compute.body;
  const auto operand = [&](const index::IndexMap& map) {
    compute.operands.push_back({map});
    const auto number = static_cast<int>(inputs.size()) - 1;
    return body.cast(body.operand(number, node.dtype(inputs.back())), dtype);
  };
  int value = operand(index::IndexMap::identity(static_cast<int>(shape.size())));
  int zero = -1;
  if (table.zero_points) {
    picked("zero_points", constant("zeros", *table.zero_points));
    zero = operand(by_block);
  } else if (table.zero_point != 0) {
    zero = body.constant(table.zero_point, dtype);
  }
  if (zero >= 0) value = body.apply(ScalarOp::kSub, value, zero);
  picked("scales", table.scales);
  body.apply(ScalarOp::kMul, value, operand(by_block));
  node.set_output(node.graph.add_compute(node.name(), std::move(compute), std::move(inputs)));
  return {};
}

constexpr Operator kOperators[] = {
    {"com.microsoft.GatherBlockQuantized", 0, import_gather_block_quantized},
};

}  // namespace

std::span<const Operator> gather_quantized_operators() { return kOperators; }

}  // namespace corf::onnx
