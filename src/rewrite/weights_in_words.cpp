#include "rewrite/weights_in_words.h"

#include <algorithm>
#include <numeric>

#include "rewrite/dense_products.h"
#include "rewrite/quantization.h"
#include "rewrite/rebuild.h"
#include "rewrite/remove_dead_nodes.h"
#include "rewrite/structure.h"

namespace corf::rewrite {
using graph::Compute;
using graph::Graph;
using graph::Node;
using graph::Operand;
using graph::ScalarBody;
using graph::ScalarOp;
using graph::ValueId;
using index::Expr;

namespace {

constexpr int64_t kWordBits = 32;
constexpr int64_t kFewestBits = 2;
/// More are worth it only where scales by blocks keep products of bytes away.
constexpr int64_t kMostBitsWithoutBlocks = 4;

/// An integer for each point of a shape: the sum of one for each of its coordinates.
class Offsets {
 public:
  /// nullopt where some term depends on several coordinates.
  static std::optional<Offsets> of(const Expr& expr, const Shape& shape) {
    const index::Linear linear = index::to_linear(expr);
    int in_rest = 0;
    for (size_t d = 0; d < shape.size(); ++d) {
      if (index::depends_on(linear.rest, static_cast<int>(d))) ++in_rest;
    }
    if (in_rest > 1) return std::nullopt;
    Offsets result;
    std::vector<int64_t> point(shape.size(), 0);
    result.first_ = index::evaluate(expr, point);
    for (size_t d = 0; d < shape.size(); ++d) {
      std::vector<int64_t>& steps = result.steps_.emplace_back();
      for (point[d] = 0; point[d] < shape[d]; ++point[d]) {
        steps.push_back(index::evaluate(expr, point) - result.first_);
      }
      point[d] = 0;
    }
    return result;
  }
  int64_t first() const { return first_; }
  const std::vector<int64_t>& along(size_t dim) const { return steps_[dim]; }
  int64_t at(const std::vector<int64_t>& point) const {
    int64_t offset = first_;
    for (size_t d = 0; d < point.size(); ++d) offset += steps_[d][point[d]];
    return offset;
  }

 private:
  int64_t first_ = 0;
  std::vector<std::vector<int64_t>> steps_;
};

/// Calls f(point) for each point of the shape with coordinate 0 along `dim`.
template <typename F>
void for_each_row(const Shape& shape, size_t dim, F f) {
  std::vector<int64_t> point(shape.size(), 0);
  const int64_t rows = num_elems(shape) / shape[dim];
  for (int64_t row = 0; row < rows; ++row) {
    f(point);
    for (size_t d = shape.size(); d-- > 0;) {
      if (d == dim) continue;
      if (++point[d] < shape[d]) break;
      point[d] = 0;
    }
  }
}

int64_t byte_at(const Tensor& bytes, int64_t at) {
  return bytes.dtype() == DType::kU8 ? int64_t{bytes.data<uint8_t>()[at]}
                                     : int64_t{bytes.data<int8_t>()[at]};
}

/// Dequantised weights of a product, as words hold them.
class Weights {
 public:
  /// `dim`: of the weights, summed over. nullopt where words do not hold them.
  static std::optional<Weights> of(const Graph& graph, const Node& node, const Dequantization& from,
                                   size_t dim) {
    const auto& compute = std::get<Compute>(node.op);
    const ValueId source = node.inputs[from.operand];
    Expr address;
    const std::vector<int64_t> strides = row_major_strides(graph.values[source].shape);
    for (size_t d = 0; d < strides.size(); ++d) {
      address = address + Expr(strides[d]) * compute.operands[from.operand].map.exprs[d];
    }
    Weights result(graph.values[node.outputs[0]].shape, dim, *constant_tensor(graph, source),
                   from.zero_point.values, from.scale->values);
    const Shape& shape = result.shape_;
    const auto at = Offsets::of(address, shape), zero = Offsets::of(from.zero_point.index, shape),
               scale = Offsets::of(from.scale->index, shape);
    if (!at || !zero || !scale) return std::nullopt;
    result.at_ = *at, result.zero_at_ = *zero, result.scale_at_ = *scale;
    if (!result.find_bits() || !result.find_block()) return std::nullopt;
    return result;
  }

  int64_t bits() const { return bits_; }
  int64_t per_word() const { return kWordBits / bits_; }
  int64_t block() const { return block_; }
  const Shape& shape() const { return shape_; }

  /// Words of i32, the first weight in the lowest bits.
  Tensor words() const {
    Tensor result(DType::kI32, with_extent(shape_[dim_] / per_word()));
    const int64_t step = row_major_strides(result.shape())[dim_];
    const std::vector<int64_t>& along = at_.along(dim_);
    auto* const out = result.data<int32_t>();
    for_each_row(shape_, dim_, [&](const std::vector<int64_t>& point) {
      const int64_t from = at_.at(point);
      int64_t to = offset_of(result.shape(), point);
      for (int64_t k = 0; k < shape_[dim_]; k += per_word(), to += step) {
        uint32_t word = 0;
        for (int64_t i = 0; i < per_word(); ++i) {
          const int64_t number = byte_at(bytes_, from + along[k + i]) - lowest_;
          word |= static_cast<uint32_t>(number) << (bits_ * i);
        }
        out[to] = static_cast<int32_t>(word);
      }
    });
    return result;
  }
  Tensor scales() const { return by_block(scales_, scale_at_, 0, DType::kF32); }
  /// Of the numbers that the words hold, less their middle.
  Tensor zero_points() const {
    const double middle = double(lowest_ + middle_number());
    const auto [least, most] = std::minmax_element(zero_points_.begin(), zero_points_.end());
    const bool fits = *least - middle >= INT8_MIN && *most - middle <= INT8_MAX;
    return by_block(zero_points_, zero_at_, middle, fits ? DType::kI8 : DType::kF32);
  }
  int64_t middle_number() const { return int64_t{1} << (bits_ - 1); }

 private:
  Weights(Shape shape, size_t dim, Tensor bytes, const std::vector<double>& zero_points,
          const std::vector<double>& scales)
      : shape_(std::move(shape)),
        dim_(dim),
        bytes_(std::move(bytes)),
        zero_points_(zero_points),
        scales_(scales) {}

  Shape with_extent(int64_t extent) const {
    Shape shape = shape_;
    shape[dim_] = extent;
    return shape;
  }
  static int64_t offset_of(const Shape& shape, const std::vector<int64_t>& point) {
    const std::vector<int64_t> strides = row_major_strides(shape);
    return std::inner_product(point.begin(), point.end(), strides.begin(), int64_t{0});
  }

  bool find_bits() {
    int64_t highest = INT64_MIN;
    lowest_ = INT64_MAX;
    for (int64_t i = 0; i < bytes_.num_elems(); ++i) {
      const int64_t number = byte_at(bytes_, i);
      lowest_ = std::min(lowest_, number), highest = std::max(highest, number);
    }
    bits_ = kFewestBits;
    while (highest - lowest_ >= int64_t{1} << bits_) bits_ *= 2;
    return shape_[dim_] % per_word() == 0;
  }

  bool find_block() {
    block_ = shape_[dim_];
    const std::vector<int64_t>&zero_along = zero_at_.along(dim_), &along = scale_at_.along(dim_);
    for_each_row(shape_, dim_, [&](const std::vector<int64_t>& point) {
      const int64_t zero = zero_at_.at(point), scale = scale_at_.at(point);
      for (int64_t k = 1; k < shape_[dim_]; ++k) {
        if (zero_along[k] == zero_along[k - 1] && along[k] == along[k - 1]) continue;
        if (zero_points_[zero + zero_along[k]] != zero_points_[zero + zero_along[k - 1]] ||
            scales_[scale + along[k]] != scales_[scale + along[k - 1]]) {
          block_ = std::gcd(block_, k);
        }
      }
    });
    return block_ % per_word() == 0 && (bits_ <= kMostBitsWithoutBlocks || block_ < shape_[dim_]);
  }

  Tensor by_block(const std::vector<double>& values, const Offsets& at, double less,
                  DType dtype) const {
    Tensor result(dtype, with_extent(shape_[dim_] / block_));
    const int64_t step = row_major_strides(result.shape())[dim_];
    for_each_row(shape_, dim_, [&](const std::vector<int64_t>& point) {
      const int64_t from = at.at(point), to = offset_of(result.shape(), point);
      for (int64_t i = 0; i < shape_[dim_] / block_; ++i) {
        const double value = values[from + at.along(dim_)[i * block_]] - less;
        if (is_float(dtype)) {
          result.set_f64(to + i * step, value);
        } else {
          result.set_i64(to + i * step, static_cast<int64_t>(value));
        }
      }
    });
    return result;
  }

  Shape shape_;
  size_t dim_;
  Tensor bytes_;
  const std::vector<double>&zero_points_, &scales_;
  Offsets at_, zero_at_, scale_at_;
  int64_t lowest_ = 0, bits_ = 0, block_ = 0;
};

/// The dimension of the weights that is summed over, if it is the only one, and each dimension is
/// an axis of its own.
std::optional<size_t> summed_dim(const Compute& product, const Operand& weights,
                                 const Shape& shape) {
  std::optional<size_t> summed;
  std::vector<bool> seen(product.space.axes.size(), false);
  for (size_t d = 0; d < shape.size(); ++d) {
    const Expr& expr = weights.map.exprs[d];
    if (shape[d] == 1) continue;
    if (expr.kind() != index::ExprKind::kVariable) return std::nullopt;
    const int axis = expr.variable_id();
    if (axis >= static_cast<int>(seen.size()) || seen[axis]) return std::nullopt;
    seen[axis] = true;
    if (product.space.axes[axis].extent != shape[d]) return std::nullopt;
    if (product.space.axes[axis].kind != index::AxisKind::kReduction) continue;
    if (summed) return std::nullopt;
    summed = d;
  }
  return summed;
}

/// The product with the axis in three: blocks, their words, and the digits of a word.
struct SplitProduct {
  Compute compute;
  std::vector<ValueId> inputs;

  SplitProduct(const Compute& product, int x, int axis, const Weights& weights) {
    const index::Axis whole = product.space.axes[axis];
    const int64_t words = weights.block() / weights.per_word();
    compute.combiner = product.combiner;
    compute.space = product.space;
    auto& axes = compute.space.axes;
    axes[axis] = {whole.name + "_block", whole.extent / weights.block(), whole.kind};
    axes.insert(axes.begin() + axis + 1, {{whole.name + "_word", words, whole.kind},
                                          {whole.name + "_digit", weights.per_word(), whole.kind}});
    block_ = Expr::variable(axis);
    word_ = block_ * Expr(words) + Expr::variable(axis + 1);
    digit_axis_ = axis + 2;
    step_ = word_ * Expr(weights.per_word()) + Expr::variable(digit_axis_);
    axis_ = axis;
    compute.operands.push_back(product.operands[x]);
    compute.operands[0].map = over_axes(product.operands[x].map, step_);
  }
  /// A map of the product's, with `step` for the axis.
  index::IndexMap over_axes(const index::IndexMap& map, const Expr& step) const {
    index::IndexMap result;
    for (const Expr& expr : map.exprs) {
      result.exprs.push_back(index::substitute(expr, [&](int variable) -> std::optional<Expr> {
        if (variable == axis_) return step;
        return Expr::variable(variable > axis_ ? variable + 2 : variable);
      }));
    }
    return result;
  }
  /// The number that the operand, a constant of the weights' dimensions, has at `step`.
  int add(Graph& graph, std::string name, Tensor tensor, const index::IndexMap& map,
          const Expr& step) {
    const DType dtype = tensor.dtype();
    const std::byte *const first = tensor.bytes(), *const end = first + tensor.size_bytes();
    if (std::equal(first + size_bytes(dtype), end, first)) {  // all alike
      return compute.body.constant(tensor.at_f64(0), DType::kF32);
    }
    inputs.push_back(graph.add_constant(std::move(name), std::move(tensor)));
    compute.operands.push_back({over_axes(map, step)});
    const int operand = compute.body.operand(static_cast<int>(inputs.size()) - 1, dtype);
    return dtype == DType::kF32 ? operand : compute.body.cast(operand, DType::kF32);
  }
  const Expr& block() const { return block_; }
  const Expr& word() const { return word_; }
  int digit_axis() const { return digit_axis_; }

 private:
  int axis_ = 0, digit_axis_ = 0;
  Expr block_, word_, step_;
};

bool visit(Rebuild& rebuild, const Node& node) {
  const auto* product = std::get_if<Compute>(&node.op);
  if (!product || !is_product(*product) || product->body.result_dtype() != DType::kF32) {
    return false;
  }
  Graph& graph = rebuild.graph();
  const std::vector<ValueId> inputs = rebuild.mapped(node.inputs);
  for (const int w : {1, 0}) {
    const Node w_node = graph.producer(inputs[w]);
    if (!dequantizes_constant(graph, w_node)) continue;
    const auto from = match_dequantization(graph, w_node);
    if (!from->scale || from->zero_point_value >= 0) continue;
    const Operand &x = product->operands[1 - w], &operand = product->operands[w];
    if (operand.guarded || !reads_axes_only(operand, product->space) ||
        !reads_axes_only(x, product->space)) {
      continue;
    }
    const auto dim = summed_dim(*product, operand, graph.values[inputs[w]].shape);
    if (!dim) continue;
    const auto weights = Weights::of(graph, w_node, *from, *dim);
    if (!weights) continue;
    SplitProduct split(*product, 1 - w, operand.map.exprs[*dim].variable_id(), *weights);
    ScalarBody& body = split.compute.body;
    split.inputs = {inputs[1 - w]};
    const int factor = body.operand(0, DType::kF32);
    split.inputs.push_back(graph.add_constant(w_node.name, weights->words()));
    split.compute.operands.push_back({split.over_axes(operand.map, split.word())});
    const int words = body.operand(1, DType::kI32);
    const int digit = body.axis_index(split.digit_axis(), DType::kI32);
    const int bits = body.constant_i64(weights->bits(), DType::kI32);
    const int shift = body.apply(ScalarOp::kMul, digit, bits);
    const int mask = body.constant_i64((int64_t{1} << weights->bits()) - 1, DType::kI32);
    const int shifted = body.apply(ScalarOp::kShiftRight, words, shift);
    int number = body.cast(body.apply(ScalarOp::kAnd, shifted, mask), DType::kF32);
    // Zero points lie about the middle, so that sums of what is less that are no larger than need
    // be.
    const auto middle = static_cast<double>(weights->middle_number());
    number = body.apply(ScalarOp::kSub, number, body.constant(middle, DType::kF32));
    const int zero = split.add(graph, w_node.name + "/zero_point", weights->zero_points(),
                               operand.map, split.block());
    const bool is_middle = body.nodes[zero].op == ScalarOp::kConstant && body.nodes[zero].f64 == 0;
    const int centred = is_middle ? number : body.apply(ScalarOp::kSub, number, zero);
    const int scale =
        split.add(graph, w_node.name + "/scale", weights->scales(), operand.map, split.block());
    body.apply(ScalarOp::kMul, factor, body.apply(ScalarOp::kMul, centred, scale));
    const ValueId result = graph.add_compute(node.name, std::move(split.compute),
                                             std::move(split.inputs), node.origin);
    graph.nodes[graph.values[result].producer].work_flops = node.work_flops;
    rebuild.replace(node.outputs[0], result);
    return true;
  }
  return false;
}

}  // namespace

Result<Graph> weights_in_words(Graph graph) { return without_dead_nodes(rebuild(graph, visit)); }

}  // namespace corf::rewrite
