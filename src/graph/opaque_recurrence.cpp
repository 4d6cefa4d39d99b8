#include "graph/opaque_recurrence.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <sstream>

namespace corf::graph {
namespace {

// ---- activations ------------------------------------------------------------------------------

using Function = double (*)(double x, double alpha, double beta);

struct Activation {
  std::string_view name;
  Function function;
  int parameters = 0;
  double alpha = 0, beta = 0;  // defaults
};

constexpr Activation kActivations[] = {
    {"affine", [](double x, double a, double b) { return a * x + b; }, 2, 1, 0},
    {"elu", [](double x, double a, double) { return x < 0 ? a * std::expm1(x) : x; }, 1, 1},
    {"hardsigmoid", [](double x, double a, double b) { return std::clamp(a * x + b, 0.0, 1.0); }, 2,
     0.2, 0.5},
    {"leakyrelu", [](double x, double a, double) { return x < 0 ? a * x : x; }, 1, 0.01},
    {"relu", [](double x, double, double) { return std::max(x, 0.0); }},
    {"scaledtanh", [](double x, double a, double b) { return a * std::tanh(b * x); }, 2, 1, 1},
    {"sigmoid", [](double x, double, double) { return 1 / (1 + std::exp(-x)); }},
    {"softplus", [](double x, double, double) { return std::log1p(std::exp(x)); }},
    {"softsign", [](double x, double, double) { return x / (1 + std::fabs(x)); }},
    {"tanh", [](double x, double, double) { return std::tanh(x); }},
    {"thresholdedrelu", [](double x, double a, double) { return x < a ? 0 : x; }, 1, 1},
};

template <typename T>
T attribute(const Opaque& opaque, const std::string& name, T absent) {
  const auto found = opaque.attributes.find(name);
  if (found == opaque.attributes.end()) return absent;
  const T* value = std::get_if<T>(&found->second);
  return value ? *value : absent;
}

/// nullopt if one is unknown.
std::optional<std::vector<Activation>> read_activations(const Opaque& opaque, std::string names) {
  std::vector<Activation> result;
  const auto alphas = attribute<std::vector<double>>(opaque, "activation_alpha", {});
  const auto betas = attribute<std::vector<double>>(opaque, "activation_beta", {});
  size_t next_alpha = 0, next_beta = 0;
  for (char& c : names) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::istringstream stream(names);
  for (std::string name; std::getline(stream, name, ',');) {
    const auto found = std::find_if(std::begin(kActivations), std::end(kActivations),
                                    [&](const Activation& a) { return a.name == name; });
    if (found == std::end(kActivations)) return std::nullopt;
    Activation activation = *found;
    if (activation.parameters > 0 && next_alpha < alphas.size()) {
      activation.alpha = alphas[next_alpha++];
    }
    if (activation.parameters > 1 && next_beta < betas.size()) {
      activation.beta = betas[next_beta++];
    }
    result.push_back(activation);
  }
  return result;
}

// ---- the operator -----------------------------------------------------------------------------

constexpr int64_t kPanel = 16, kByteSteps = 4;  // of runtime/routines

struct Operator {
  std::string routine;
  int64_t gates = 1, directions = 1, steps = 0, batch = 0, hidden = 0;
  bool batch_first = false, first_is_reverse = false, linear_before_reset = false,
       input_forget = false;
  double clip = std::numeric_limits<double>::infinity();
  std::vector<Activation> activations;

  int64_t rows() const { return gates * hidden; }
  int64_t functions() const { return static_cast<int64_t>(activations.size()) / directions; }
  bool has_bytes() const { return routine == "DynamicQuantizeLSTM"; }
};

std::optional<Operator> read_operator(const Opaque& opaque, const std::vector<Tensor>& inputs) {
  Operator op;
  op.routine = opaque.routine;
  const bool is_gru = op.routine == "GRU", is_rnn = op.routine == "RNN";
  op.gates = is_rnn ? 1 : is_gru ? 3 : 4;
  const auto direction = attribute<std::string>(opaque, "direction", "forward");
  op.directions = direction == "bidirectional" ? 2 : 1;
  op.first_is_reverse = direction == "reverse";
  op.batch_first = attribute<int64_t>(opaque, "layout", 0) != 0;
  op.linear_before_reset = attribute<int64_t>(opaque, "linear_before_reset", 0) != 0;
  op.input_forget = attribute<int64_t>(opaque, "input_forget", 0) != 0;
  op.clip = attribute<double>(opaque, "clip", op.clip);
  const Shape& x = inputs[0].shape();
  if (x.size() != 3 || inputs.size() < (op.has_bytes() ? 10 : 3)) return std::nullopt;
  op.steps = x[op.batch_first ? 1 : 0];
  op.batch = x[op.batch_first ? 0 : 1];
  op.hidden = x[2] / (op.directions * op.gates);
  std::string names = is_rnn ? "tanh" : is_gru ? "sigmoid,tanh" : "sigmoid,tanh,tanh";
  const auto count = static_cast<size_t>(1 + std::count(names.begin(), names.end(), ','));
  if (op.directions == 2) names += "," + names;
  const auto given = attribute<std::string>(opaque, "activations", "");
  const auto activations = read_activations(opaque, given.empty() ? names : given);
  if (!activations || activations->size() != count * static_cast<size_t>(op.directions)) {
    return std::nullopt;
  }
  op.activations = *activations;
  const int64_t panels = (op.hidden + kPanel - 1) / kPanel;
  const int64_t steps = (op.hidden + kByteSteps - 1) / kByteSteps;
  const Shape r = op.has_bytes() ? Shape{op.directions, op.gates, panels, steps, kPanel, kByteSteps}
                                 : Shape{op.directions, op.gates, panels, op.hidden, kPanel};
  if (inputs[1].shape() != r || inputs[2].num_elems() != op.directions * op.rows()) {
    return std::nullopt;
  }
  return op;
}

/// One sequence in one direction.
class Walk {
 public:
  Walk(const Operator& op, const std::vector<Tensor>& inputs, const Tensor* seen, int64_t direction,
       int64_t number)
      : op_(op), inputs_(inputs), seen_(seen), direction_(direction), number_(number) {}

  void run(std::vector<Tensor>& outputs) {
    std::vector<double> h = initial(4), c = initial(5);
    const int64_t length = has(3) ? inputs_[3].at_i64(number_) : op_.steps;
    const bool reverse = direction_ == 1 || op_.first_is_reverse;
    for (int64_t n = 0; n < length; ++n) {
      const int64_t t = reverse ? length - 1 - n : n;
      h = next(t, h, c);
      write(outputs, 0, all_steps(t), h);
      if (seen_) {
        for (int64_t j = 0; j < op_.hidden; ++j) h[j] = seen_->at_f64(all_steps(t) + j);
      }
    }
    write(outputs, 1, state(), h);
    write(outputs, 2, state(), c);
  }

 private:
  bool has(size_t input) const {
    return input < inputs_.size() && inputs_[input].shape() != Shape{0};
  }
  int64_t all_steps(int64_t t) const {
    return op_.hidden * (op_.batch_first ? (number_ * op_.steps + t) * op_.directions + direction_
                                         : (t * op_.directions + direction_) * op_.batch + number_);
  }
  int64_t state() const {
    return op_.hidden * (op_.batch_first ? number_ * op_.directions + direction_
                                         : direction_ * op_.batch + number_);
  }
  void write(std::vector<Tensor>& outputs, size_t output, int64_t at,
             const std::vector<double>& values) const {
    if (output >= outputs.size()) return;
    for (int64_t j = 0; j < op_.hidden; ++j) outputs[output].set_f64(at + j, values[j]);
  }
  std::vector<double> initial(size_t input) const {
    std::vector<double> values(static_cast<size_t>(op_.hidden), 0);
    for (int64_t j = 0; has(input) && j < op_.hidden; ++j) {
      values[j] = inputs_[input].at_f64(state() + j);
    }
    return values;
  }

  /// h R' of a gate, as its bytes stand for it where R is bytes.
  std::vector<double> recurrent(int64_t gate, const std::vector<double>& h) const {
    const int64_t panels = (op_.hidden + kPanel - 1) / kPanel;
    std::vector<double> sums(static_cast<size_t>(op_.hidden), 0);
    const int64_t first_panel = (direction_ * op_.gates + gate) * panels;
    if (!op_.has_bytes()) {
      for (int64_t j = 0; j < op_.hidden; ++j) {
        const int64_t panel = (first_panel + j / kPanel) * op_.hidden;
        for (int64_t k = 0; k < op_.hidden; ++k) {
          sums[j] += h[k] * inputs_[1].at_f64((panel + k) * kPanel + j % kPanel);
        }
      }
      return sums;
    }
    const Bytes bytes = as_bytes(h);
    const int64_t steps = (op_.hidden + kByteSteps - 1) / kByteSteps;
    for (int64_t j = 0; j < op_.hidden; ++j) {
      const int64_t row = direction_ * op_.rows() + gate * op_.hidden + j;
      const int64_t panel = (first_panel + j / kPanel) * steps, rest = inputs_[9].at_i64(row);
      int64_t sum = 0;
      for (int64_t k = 0; k < op_.hidden; ++k) {
        const int64_t at = (panel + k / kByteSteps) * kPanel + j % kPanel;
        const int64_t weight = inputs_[1].at_i64(at * kByteSteps + k % kByteSteps);
        sum += bytes.values[k] * (weight - rest);
      }
      sums[j] = static_cast<double>(sum) * bytes.scale * inputs_[7].at_f64(row);
    }
    return sums;
  }

  /// Less their zero point.
  struct Bytes {
    std::vector<int64_t> values;
    double scale = 1;
  };
  static Bytes as_bytes(const std::vector<double>& h) {
    float least = 0, most = 0;
    for (const double x : h) {
      least = std::min(least, static_cast<float>(x));
      most = std::max(most, static_cast<float>(x));
    }
    const float span = most - least, scale = span > 0 ? span / 255 : 1;
    const float zero_point = std::clamp(std::nearbyint(-least / scale), 0.0F, 255.0F);
    Bytes bytes{{}, scale};
    for (const double x : h) {
      const float rounded = std::nearbyint(static_cast<float>(x) / scale) + zero_point;
      const float byte = std::isnan(rounded) ? 0 : std::clamp(rounded, 0.0F, 255.0F);
      bytes.values.push_back(static_cast<int64_t>(byte - zero_point));
    }
    return bytes;
  }

  double given(int64_t t, int64_t gate, int64_t j) const {
    const int64_t row = op_.batch_first ? number_ * op_.steps + t : t * op_.batch + number_;
    return inputs_[0].at_f64((row * op_.directions + direction_) * op_.rows() + gate * op_.hidden +
                             j);
  }
  double bias(int64_t gate, int64_t j) const {
    return inputs_[2].at_f64(direction_ * op_.rows() + gate * op_.hidden + j);
  }
  double peephole(int64_t gate, int64_t j) const {
    return has(6) ? inputs_[6].at_f64((direction_ * 3 + gate) * op_.hidden + j) : 0;
  }
  double activated(int number, double x) const {
    const Activation& f = op_.activations[direction_ * op_.functions() + number];
    return f.function(std::clamp(x, -op_.clip, op_.clip), f.alpha, f.beta);
  }

  std::vector<double> next(int64_t t, const std::vector<double>& h, std::vector<double>& c) const {
    if (op_.routine == "GRU") return next_of_gru(t, h);
    std::vector<std::vector<double>> sums;
    for (int64_t gate = 0; gate < op_.gates; ++gate) {
      sums.push_back(recurrent(gate, h));
      for (int64_t j = 0; j < op_.hidden; ++j) sums[gate][j] += given(t, gate, j) + bias(gate, j);
    }
    std::vector<double> result(h.size());
    for (int64_t j = 0; j < op_.hidden; ++j) {
      if (op_.routine == "RNN") {
        result[j] = activated(0, sums[0][j]);
        continue;
      }
      const double i = activated(0, sums[0][j] + peephole(0, j) * c[j]);
      const double f = op_.input_forget ? 1 - i : activated(0, sums[2][j] + peephole(2, j) * c[j]);
      c[j] = f * c[j] + i * activated(1, sums[3][j]);
      const double o = activated(0, sums[1][j] + peephole(1, j) * c[j]);
      const Activation& last = op_.activations[direction_ * op_.functions() + 2];
      result[j] = o * last.function(c[j], last.alpha, last.beta);
    }
    return result;
  }

  std::vector<double> next_of_gru(int64_t t, const std::vector<double>& h) const {
    const std::vector<double> for_z = recurrent(0, h), for_r = recurrent(1, h);
    std::vector<double> z(h.size()), r(h.size()), reset(h.size()), result(h.size());
    for (int64_t j = 0; j < op_.hidden; ++j) {
      z[j] = activated(0, given(t, 0, j) + for_z[j] + bias(0, j));
      r[j] = activated(0, given(t, 1, j) + for_r[j] + bias(1, j));
      reset[j] = op_.linear_before_reset ? h[j] : r[j] * h[j];
    }
    const std::vector<double> for_n = recurrent(2, reset);
    for (int64_t j = 0; j < op_.hidden; ++j) {
      const double from_h = for_n[j] + bias(2, j);
      const double n = activated(1, given(t, 2, j) + (op_.linear_before_reset ? r[j] : 1) * from_h);
      result[j] = (1 - z[j]) * n + z[j] * h[j];
    }
    return result;
  }

  const Operator& op_;
  const std::vector<Tensor>& inputs_;
  const Tensor* seen_;
  int64_t direction_, number_;
};

}  // namespace

Result<std::vector<Tensor>> evaluate_recurrence(const Graph& graph, const Node& node,
                                                const std::vector<Tensor>& inputs,
                                                const EvaluateOptions& options) {
  const auto op = read_operator(std::get<Opaque>(node.op), inputs);
  if (!op) {
    return make_error(ErrorCode::kInvalidModel, "node '{}': its operands do not fit", node.name);
  }
  std::vector<Tensor> outputs;
  for (const ValueId output : node.outputs) {
    const DType dtype = options.round_to_dtype ? graph.values[output].dtype : DType::kF64;
    outputs.emplace_back(dtype, graph.values[output].shape);
  }
  for (int64_t b = 0; inputs.size() > 3 && b < inputs[3].num_elems(); ++b) {
    const int64_t length = inputs[3].at_i64(b);
    if (length < 0 || length > op->steps) {
      return make_error(ErrorCode::kInvalidArgument, "node '{}': a sequence of {} steps, of {}",
                        node.name, length, op->steps);
    }
  }
  for (int64_t direction = 0; direction < op->directions; ++direction) {
    for (int64_t number = 0; number < op->batch; ++number) {
      Walk(*op, inputs, options.states, direction, number).run(outputs);
    }
  }
  return outputs;
}

}  // namespace corf::graph
