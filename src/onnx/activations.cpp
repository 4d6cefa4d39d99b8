#include "onnx/activations.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "graph/scalar_functions.h"
#include "onnx/compose.h"

namespace corf::onnx {
namespace {

/// Element-wise on the first input; `body` gets x and a maker of constants of x's type.
Status activate(
    NodeImport& node,
    const std::function<int(ScalarBody&, int, const std::function<int(double)>&)>& body) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  DType dtype = node.dtype(x);
  node.set_output(
      per_element(node.graph, node.name(), {x}, [&](ScalarBody& b, const std::vector<int>& in) {
        return body(b, in[0], [&](double value) { return b.constant(value, dtype); });
      }));
  return {};
}

using Maker = std::function<int(double)>;

int relu(ScalarBody& b, int x, const Maker& make) { return b.apply(ScalarOp::kMax, x, make(0)); }

Status import_relu(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  DType dtype = node.dtype(x);
  node.set_output(
      per_element(node.graph, node.name(), {x}, [&](ScalarBody& b, const std::vector<int>& in) {
        return b.apply(ScalarOp::kMax, in[0], number(b, 0, dtype));
      }));
  return {};
}

Status import_sigmoid(NodeImport& node) {
  return activate(
      node, [](ScalarBody& b, int x, const Maker&) { return b.apply(ScalarOp::kSigmoid, x); });
}

Status import_tanh(NodeImport& node) {
  return activate(node,
                  [](ScalarBody& b, int x, const Maker&) { return b.apply(ScalarOp::kTanh, x); });
}

/// max(0, min(1, alpha x + beta))
int hard_sigmoid(ScalarBody& b, int x, int alpha, int beta, const Maker& make) {
  int line = b.apply(ScalarOp::kAdd, b.apply(ScalarOp::kMul, x, alpha), beta);
  return b.apply(ScalarOp::kMax, b.apply(ScalarOp::kMin, line, make(1)), make(0));
}

Status import_hard_sigmoid(NodeImport& node) {
  double alpha = node.float_attribute("alpha", 0.2F);
  double beta = node.float_attribute("beta", 0.5);
  return activate(node, [&](ScalarBody& b, int x, const Maker& make) {
    return hard_sigmoid(b, x, make(alpha), make(beta), make);
  });
}

Status import_hard_swish(NodeImport& node) {
  return activate(node, [&](ScalarBody& b, int x, const Maker& make) {
    int gate = hard_sigmoid(b, x, make(1.0 / 6), make(0.5), make);
    return b.apply(ScalarOp::kMul, x, gate);
  });
}

/// x < 0 ? negative : x, or as `positive` says.
int by_sign(ScalarBody& b, int x, int negative, int positive, const Maker& make) {
  return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kLess, x, make(0)), negative, positive);
}

int leaky_relu(ScalarBody& b, int x, double alpha, const Maker& make) {
  return by_sign(b, x, b.apply(ScalarOp::kMul, x, make(alpha)), x, make);
}

Status import_leaky_relu(NodeImport& node) {
  double alpha = node.float_attribute("alpha", 0.01F);
  return activate(
      node, [&](ScalarBody& b, int x, const Maker& make) { return leaky_relu(b, x, alpha, make); });
}

/// exp(min(x, 0)) - 1, at any x.
int negative_exp_minus_one(ScalarBody& b, int x, const Maker& make) {
  return graph::exp_minus_one(b, b.apply(ScalarOp::kMin, x, make(0)), b.nodes[x].dtype);
}

int elu(ScalarBody& b, int x, double alpha, const Maker& make) {
  int curve = b.apply(ScalarOp::kMul, negative_exp_minus_one(b, x, make), make(alpha));
  return by_sign(b, x, curve, x, make);
}

Status import_elu(NodeImport& node) {
  double alpha = node.float_attribute("alpha", 1);
  return activate(node,
                  [&](ScalarBody& b, int x, const Maker& make) { return elu(b, x, alpha, make); });
}

constexpr double kSeluAlpha = 1.67326319217681884765625, kSeluGamma = 1.05070102214813232421875;

Status import_selu(NodeImport& node) {
  double alpha = node.float_attribute("alpha", kSeluAlpha);
  double gamma = node.float_attribute("gamma", kSeluGamma);
  return activate(node, [&](ScalarBody& b, int x, const Maker& make) {
    return b.apply(ScalarOp::kMul, elu(b, x, alpha, make), make(gamma));
  });
}

Status import_celu(NodeImport& node) {
  double alpha = node.float_attribute("alpha", 1);
  if (alpha == 0) return node.invalid("attribute 'alpha' is 0");
  return activate(node, [&](ScalarBody& b, int x, const Maker& make) {
    int scaled = b.apply(ScalarOp::kDiv, x, make(alpha));  // whose inverse may be infinite
    int curve = b.apply(ScalarOp::kMul, negative_exp_minus_one(b, scaled, make), make(alpha));
    return b.apply(ScalarOp::kAdd, b.apply(ScalarOp::kMax, x, make(0)),
                   b.apply(ScalarOp::kMin, curve, make(0)));
  });
}

int thresholded_relu(ScalarBody& b, int x, double alpha, const Maker& make) {
  return b.apply(ScalarOp::kSelect, b.apply(ScalarOp::kLess, make(alpha), x), x, make(0));
}

Status import_thresholded_relu(NodeImport& node) {
  double alpha = node.float_attribute("alpha", 1);
  return activate(node, [&](ScalarBody& b, int x, const Maker& make) {
    return thresholded_relu(b, x, alpha, make);
  });
}

Status import_softplus(NodeImport& node) {
  return activate(node, [](ScalarBody& b, int x, const Maker&) {
    return graph::softplus(b, x, b.nodes[x].dtype);
  });
}

/// x * sigmoid(alpha * x)
int swish(ScalarBody& b, int x, double alpha, const Maker& make) {
  int scaled = alpha == 1 ? x : b.apply(ScalarOp::kMul, x, make(alpha));
  return b.apply(ScalarOp::kMul, x, b.apply(ScalarOp::kSigmoid, scaled));
}

Status import_swish(NodeImport& node) {
  double alpha = node.float_attribute("alpha", 1);
  return activate(
      node, [&](ScalarBody& b, int x, const Maker& make) { return swish(b, x, alpha, make); });
}

Status import_swiglu(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId gate = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, gate));
  CORF_RETURN_IF_ERROR(require_same_type(node, {gate, node.input(1)}));
  if (node.shape(gate) != node.shape(node.input(1))) {
    return node.invalid("its inputs are of different shapes");
  }
  double alpha = node.float_attribute("alpha", 1);
  DType dtype = node.dtype(gate);
  node.set_output(per_element(node.graph, node.name(), {gate, node.input(1)},
                              [&](ScalarBody& b, const std::vector<int>& in) {
                                auto make = [&](double value) { return b.constant(value, dtype); };
                                return b.apply(ScalarOp::kMul, swish(b, in[0], alpha, make), in[1]);
                              }));
  return {};
}

int softsign(ScalarBody& b, int x, const Maker& make) {
  return b.apply(ScalarOp::kDiv, x, b.apply(ScalarOp::kAdd, make(1), b.apply(ScalarOp::kAbs, x)));
}

Status import_softsign(NodeImport& node) { return activate(node, softsign); }

/// x tanh(log(1 + exp(x))) = x g / (g + h) with g = e (e + 2) and h = 2 for e = exp(x), or, both
/// divided by e^2, g = 1 + 2 e and h = 2 e^2 for e = exp(-x): for the e that is at most 1.
Status import_mish(NodeImport& node) {
  return activate(node, [](ScalarBody& b, int x, const Maker& make) {
    int e = graph::exp_of_minus_abs(b, x, b.nodes[x].dtype);
    int below = b.apply(ScalarOp::kMul, e, b.apply(ScalarOp::kAdd, e, make(2)));
    int twice = b.apply(ScalarOp::kMul, e, make(2));
    int g = by_sign(b, x, below, b.apply(ScalarOp::kAdd, twice, make(1)), make);
    int h = by_sign(b, x, make(2), b.apply(ScalarOp::kMul, twice, e), make);
    int gate = b.apply(ScalarOp::kDiv, g, b.apply(ScalarOp::kAdd, g, h));
    return b.apply(ScalarOp::kMul, x, gate);
  });
}

/// x / 2 (1 + erf(x / sqrt(2))), or with sqrt(2 / pi) (x + 0.044715 x^3) under a tanh for the erf.
int gelu(ScalarBody& b, int x, bool with_tanh, const Maker& make) {
  int half = b.apply(ScalarOp::kMul, x, make(0.5));
  int curve = -1;
  if (!with_tanh) {
    curve = b.apply(ScalarOp::kErf, b.apply(ScalarOp::kMul, x, make(std::numbers::sqrt2 / 2)));
  } else {
    int cube = b.apply(ScalarOp::kMul, b.apply(ScalarOp::kMul, x, x), x);
    int inner = b.apply(ScalarOp::kAdd, x, b.apply(ScalarOp::kMul, cube, make(0.044715)));
    double scale = std::sqrt(2 / std::numbers::pi);
    curve = b.apply(ScalarOp::kTanh, b.apply(ScalarOp::kMul, inner, make(scale)));
  }
  return b.apply(ScalarOp::kMul, half, b.apply(ScalarOp::kAdd, curve, make(1)));
}

Status import_gelu(NodeImport& node) {
  std::string approximate = node.string_attribute("approximate", "none");
  if (approximate != "none" && approximate != "tanh") {
    return node.invalid("attribute 'approximate' is '{}', not none or tanh", approximate);
  }
  return activate(node, [&](ScalarBody& b, int x, const Maker& make) {
    return gelu(b, x, approximate == "tanh", make);
  });
}

/// gelu(x + bias); the bias may be left out. As the models of ONNX Runtime's optimiser have them.
Status import_biased_gelu(NodeImport& node, bool with_tanh) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  const ValueId x = node.input(0);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  const DType dtype = node.dtype(x);
  std::vector<ValueId> inputs = {x};
  if (node.has(1)) inputs.push_back(node.input(1));
  if (node.has(1) && broadcast_shape(node.shape(x), node.shape(inputs[1])) != node.shape(x)) {
    return node.invalid("bias {} does not broadcast to {}", to_string(node.shape(inputs[1])),
                        to_string(node.shape(x)));
  }
  node.set_output(
      per_element(node.graph, node.name(), inputs, [&](ScalarBody& b, const std::vector<int>& in) {
        const int sum = in.size() > 1 ? b.apply(ScalarOp::kAdd, in[0], in[1]) : in[0];
        return gelu(b, sum, with_tanh, [&](double value) { return b.constant(value, dtype); });
      }));
  return {};
}

Status import_bias_gelu(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  return import_biased_gelu(node, false);
}
Status import_fast_gelu(NodeImport& node) { return import_biased_gelu(node, true); }

/// left * gelu(right), the halves of x + bias along its last axis: as diffusion models have them.
Status import_bias_split_gelu(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  const ValueId x = node.input(0), bias = node.input(1);
  CORF_RETURN_IF_ERROR(require_float(node, x));
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, bias}));
  const int last = node.rank(x) - 1;
  const int64_t size = last < 0 ? 0 : node.shape(x)[last];
  if (last < 0 || size % 2 != 0 || node.shape(bias) != Shape{size}) {
    return node.invalid("x {} and bias {} have no halves along a common last axis",
                        to_string(node.shape(x)), to_string(node.shape(bias)));
  }
  const DType dtype = node.dtype(x);
  const auto half = [&](ValueId value, int axis, bool is_right, std::string_view name) {
    const int64_t begin = is_right ? size / 2 : 0;
    return slice(node.graph, node.part(name), value, axis, begin, begin + size / 2);
  };
  const std::vector<ValueId> halves = {
      half(x, last, false, "left"), half(bias, 0, false, "left_bias"), half(x, last, true, "right"),
      half(bias, 0, true, "right_bias")};
  node.set_output(
      per_element(node.graph, node.name(), halves, [&](ScalarBody& b, const std::vector<int>& in) {
        const int left = b.apply(ScalarOp::kAdd, in[0], in[1]);
        const int right = b.apply(ScalarOp::kAdd, in[2], in[3]);
        const auto make = [&](double value) { return b.constant(value, dtype); };
        return b.apply(ScalarOp::kMul, left, gelu(b, right, false, make));
      }));
  return {};
}

/// x sigmoid(alpha x)
Status import_quick_gelu(NodeImport& node) {
  const double alpha = node.float_attribute("alpha", 1.702F);
  return activate(
      node, [&](ScalarBody& b, int x, const Maker& make) { return swish(b, x, alpha, make); });
}

Status import_shrink(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  DType dtype = node.dtype(x);
  double bias = node.float_attribute("bias", 0);
  double lambd = node.float_attribute("lambd", 0.5);
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    int below = b.apply(ScalarOp::kLess, in[0], number(b, -lambd, dtype));
    int above = b.apply(ScalarOp::kLess, number(b, lambd, dtype), in[0]);
    int raised = b.apply(ScalarOp::kAdd, in[0], number(b, bias, dtype));
    int lowered = b.apply(ScalarOp::kSub, in[0], number(b, bias, dtype));
    int inside = b.apply(ScalarOp::kSelect, above, lowered, number(b, 0, dtype));
    return b.apply(ScalarOp::kSelect, below, raised, inside);
  };
  node.set_output(per_element(node.graph, node.name(), {x}, body));
  return {};
}

Status import_prelu(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(2));
  ValueId x = node.input(0);
  ValueId slope = node.input(1);
  CORF_RETURN_IF_ERROR(require_same_type(node, {x, slope}));
  if (node.opset() < 7 && node.rank(x) >= 2 && node.rank(slope) == 1) {  // one for each channel
    Shape channels(node.rank(x) - 1, 1);
    channels[0] = node.shape(slope)[0];
    slope = reshape(node.graph, node.part("slopes"), slope, channels);
  }
  auto shape = broadcast_shape(node.shape(x), node.shape(slope));
  if (shape != node.shape(x)) {
    return node.invalid("slope {} does not broadcast to input {}", to_string(node.shape(slope)),
                        to_string(node.shape(x)));
  }
  DType dtype = node.dtype(x);
  node.set_output(per_element(node.graph, node.name(), {x, slope},
                              [&](ScalarBody& b, const std::vector<int>& in) {
                                int negative = b.apply(ScalarOp::kLess, in[0], number(b, 0, dtype));
                                int scaled = b.apply(ScalarOp::kMul, in[0], in[1]);
                                return b.apply(ScalarOp::kSelect, negative, scaled, in[0]);
                              }));
  return {};
}

/// Bounds are attributes before opset 11 and optional scalar inputs from then on.
Status import_clip(NodeImport& node) {
  CORF_RETURN_IF_ERROR(node.require_inputs(1));
  ValueId x = node.input(0);
  DType dtype = node.dtype(x);
  std::vector<ValueId> inputs = {x};
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  if (node.opset() >= 6 && node.opset() < 11 && dtype == DType::kF32) {
    high = std::numeric_limits<float>::max();  // the attributes' defaults, finite
    low = -high;
  }
  int low_input = -1;  // positions in `inputs`
  int high_input = -1;
  if (node.opset() < 11) {
    low = node.float_attribute("min", low);
    high = node.float_attribute("max", high);
  } else {
    if (node.has(1)) {
      low_input = static_cast<int>(inputs.size());
      inputs.push_back(node.input(1));
    }
    if (node.has(2)) {
      high_input = static_cast<int>(inputs.size());
      inputs.push_back(node.input(2));
    }
    CORF_RETURN_IF_ERROR(require_same_type(node, inputs));
    for (size_t i = 1; i < inputs.size(); ++i) {
      if (num_elems(node.shape(inputs[i])) != 1) {
        return node.invalid("a bound has shape {}, not one element",
                            to_string(node.shape(inputs[i])));
      }
    }
  }
  bool bounded_below = low_input >= 0 || !std::isinf(low);
  bool bounded_above = high_input >= 0 || !std::isinf(high);
  if (!bounded_below && !bounded_above) {
    node.set_output(x);
    return {};
  }
  auto body = [&](ScalarBody& b, const std::vector<int>& in) {
    int y = in[0];
    if (bounded_below) {
      y = b.apply(ScalarOp::kMax, y, low_input >= 0 ? in[low_input] : number(b, low, dtype));
    }
    if (bounded_above) {
      y = b.apply(ScalarOp::kMin, y, high_input >= 0 ? in[high_input] : number(b, high, dtype));
    }
    return y;
  };
  CORF_ASSIGN(ValueId y, map_elements(node, node.name(), inputs, body));
  node.set_output(y);
  return {};
}

/// The functions that fused operators apply to their result.
int apply_activation(ScalarBody& b, int x, const Activation& activation, const Maker& make) {
  const std::string& name = activation.name;
  const auto given = [&](size_t i, double otherwise) {
    return i < activation.parameters.size() ? activation.parameters[i] : otherwise;
  };
  if (name == "Relu") return relu(b, x, make);
  if (name == "Sigmoid") return b.apply(ScalarOp::kSigmoid, x);
  if (name == "Tanh") return b.apply(ScalarOp::kTanh, x);
  if (name == "LeakyRelu") return leaky_relu(b, x, given(0, 0.01F), make);
  if (name == "Elu") return elu(b, x, given(0, 1), make);
  if (name == "Selu") {
    return b.apply(ScalarOp::kMul, elu(b, x, given(0, kSeluAlpha), make),
                   make(given(2, kSeluGamma)));
  }
  if (name == "HardSigmoid") {
    return hard_sigmoid(b, x, make(given(0, 0.2F)), make(given(1, 0.5)), make);
  }
  if (name == "Softplus") return graph::softplus(b, x, b.nodes[x].dtype);
  if (name == "Softsign") return softsign(b, x, make);
  if (name == "ThresholdedRelu") return thresholded_relu(b, x, given(0, 1), make);
  if (name == "HardSwish") {
    return b.apply(ScalarOp::kMul, x, hard_sigmoid(b, x, make(1.0 / 6), make(0.5), make));
  }
  if (name == "Clip") {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    x = b.apply(ScalarOp::kMax, x, make(given(0, -kInfinity)));
    return b.apply(ScalarOp::kMin, x, make(given(1, kInfinity)));
  }
  return -1;
}

constexpr Operator kOperators[] = {
    {"Celu", 12, import_celu},
    {"Clip", 1, import_clip},
    {"Elu", 1, import_elu},
    {"Gelu", 20, import_gelu},
    {"HardSigmoid", 1, import_hard_sigmoid},
    {"HardSwish", 14, import_hard_swish},
    {"LeakyRelu", 1, import_leaky_relu},
    {"Mish", 18, import_mish},
    {"PRelu", 1, import_prelu},
    {"Relu", 1, import_relu},
    {"Selu", 1, import_selu},
    {"Shrink", 9, import_shrink},
    {"Sigmoid", 1, import_sigmoid},
    {"Softplus", 1, import_softplus},
    {"Softsign", 1, import_softsign},
    {"SwiGLU", 28, import_swiglu},
    {"Swish", 24, import_swish},
    {"Tanh", 1, import_tanh},
    {"ThresholdedRelu", 1, import_thresholded_relu},
    {"com.microsoft.BiasGelu", 0, import_bias_gelu},
    {"com.microsoft.BiasSplitGelu", 0, import_bias_split_gelu},
    {"com.microsoft.FastGelu", 0, import_fast_gelu},
    {"com.microsoft.Gelu", 0, import_gelu},
    {"com.microsoft.QuickGelu", 0, import_quick_gelu},
};

}  // namespace

Result<ValueId> activated(NodeImport& node, std::string name, ValueId x,
                          const Activation& activation) {
  if (activation.name.empty()) return x;
  const DType dtype = node.dtype(x);
  int result = -1;
  const ValueId y =
      per_element(node.graph, std::move(name), {x}, [&](ScalarBody& b, const std::vector<int>& in) {
        result = apply_activation(b, in[0], activation,
                                  [&](double value) { return b.constant(value, dtype); });
        return result < 0 ? in[0] : result;
      });
  if (result < 0) return node.unsupported("activation '{}' is not supported", activation.name);
  return y;
}

std::span<const Operator> activation_operators() { return kOperators; }

}  // namespace corf::onnx
