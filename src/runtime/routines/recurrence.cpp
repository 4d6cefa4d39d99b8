#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <sstream>

#include "runtime/routines/operands.h"
#include "runtime/routines/wide_math.h"

namespace corf::runtime {
namespace {

// ---- activations ------------------------------------------------------------------------------

struct Activation {
  void (*function)(float* x, int64_t count, float alpha, float beta) = nullptr;
  float alpha = 0, beta = 0;
  void operator()(float* x, int64_t count) const { function(x, count, alpha, beta); }
};

struct ActivationKind {
  std::string_view name;
  void (*function)(float* x, int64_t count, float alpha, float beta);
  bool has_alpha = false, has_beta = false;
  float alpha = 0, beta = 0;  // defaults
};

/// kFunction of each element.
template <float (*kFunction)(float x, float alpha, float beta)>
void each(float* x, int64_t count, float alpha, float beta) {
  for (int64_t j = 0; j < count; ++j) x[j] = kFunction(x[j], alpha, beta);
}

float relu(float x, float, float) { return x < 0 ? 0.0f : x; }
float affine(float x, float a, float b) { return a * x + b; }
float leaky_relu(float x, float a, float) { return x < 0 ? a * x : x; }
float thresholded_relu(float x, float a, float) { return x < a ? 0.0f : x; }
float scaled_tanh(float x, float a, float b) { return a * std::tanh(b * x); }
float hard_sigmoid(float x, float a, float b) { return std::clamp(a * x + b, 0.0f, 1.0f); }
float elu(float x, float a, float) { return x < 0 ? a * std::expm1(x) : x; }
float softsign(float x, float, float) { return x / (1.0f + std::fabs(x)); }
float softplus(float x, float, float) {
  return std::max(x, 0.0f) + std::log1p(std::exp(-std::fabs(x)));
}

/// Those that the ONNX operators RNN, GRU and LSTM name.
const std::array<ActivationKind, 11> kActivations = {{
    {"Sigmoid", [](float* x, int64_t count, float, float) { apply_sigmoid(x, count); }},
    {"Tanh", [](float* x, int64_t count, float, float) { apply_tanh(x, count); }},
    {"Relu", each<relu>},
    {"Affine", each<affine>, true, true, 1.0f, 0.0f},
    {"LeakyRelu", each<leaky_relu>, true, false, 0.01f},
    {"ThresholdedRelu", each<thresholded_relu>, true, false, 1.0f},
    {"ScaledTanh", each<scaled_tanh>, true, true, 1.0f, 1.0f},
    {"HardSigmoid", each<hard_sigmoid>, true, true, 0.2f, 0.5f},
    {"Elu", each<elu>, true, false, 1.0f},
    {"Softsign", each<softsign>},
    {"Softplus", each<softplus>},
}};

bool same_but_for_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

/// `names`: joined by commas, as a list of strings has no attribute type of its own. Values of
/// activation_alpha and activation_beta go to the functions that take one, in order.
Result<std::vector<Activation>> parse_activations(const std::string& names, size_t count,
                                                  const std::vector<double>& alphas,
                                                  const std::vector<double>& betas) {
  std::vector<Activation> activations;
  size_t next_alpha = 0, next_beta = 0;
  std::istringstream stream(names);
  for (std::string name; std::getline(stream, name, ',');) {
    const auto kind =
        std::find_if(kActivations.begin(), kActivations.end(),
                     [&](const ActivationKind& k) { return same_but_for_case(k.name, name); });
    if (kind == kActivations.end()) {
      return make_error(ErrorCode::kInvalidModel, "there is no activation '{}'", name);
    }
    Activation activation{kind->function, kind->alpha, kind->beta};
    if (kind->has_alpha && next_alpha < alphas.size()) {
      activation.alpha = static_cast<float>(alphas[next_alpha++]);
    }
    if (kind->has_beta && next_beta < betas.size()) {
      activation.beta = static_cast<float>(betas[next_beta++]);
    }
    activations.push_back(activation);
  }
  if (activations.size() != count) {
    return make_error(ErrorCode::kInvalidModel, "it names {} activations ('{}') and needs {}",
                      activations.size(), names, count);
  }
  return activations;
}

// ---- the operator -----------------------------------------------------------------------------

enum class Cell : uint8_t { kRnn, kGru, kLstm };

/// Sizes and choices of one operator. Gates are in ONNX's order: LSTM i o f c; GRU z r h.
struct Recurrence {
  Cell cell = Cell::kRnn;
  int64_t gates = 1, directions = 1, steps = 0, batch = 0, hidden = 0;
  bool first_is_reverse = false, batch_first = false, linear_before_reset = false,
       input_forget = false;
  float clip = std::numeric_limits<float>::infinity();
  std::vector<Activation> activations;  // of each direction, one after the other
  DType length_dtype = DType::kI32;
  // Positions of the optional inputs that are there; -1 for the others.
  int bias = -1, lengths = -1, initial_h = -1, initial_c = -1, peepholes = -1;

  int64_t rows() const { return gates * hidden; }
  int64_t activations_per_direction() const {
    return static_cast<int64_t>(activations.size()) / directions;
  }
  void clip_all(float* x, int64_t count) const {
    if (clip == std::numeric_limits<float>::infinity()) return;
    for (int64_t j = 0; j < count; ++j) x[j] = std::clamp(x[j], -clip, clip);
  }
};

/// One direction's weights and the state of one sequence.
struct Direction {
  const float* r = nullptr;         // [hidden, rows]
  const float* r_bias = nullptr;    // [rows]
  const float* peephole = nullptr;  // i o f
  const Activation* activations = nullptr;
  std::vector<float> pre, recurrent, h, c;
};

void step_rnn(const Recurrence& op, Direction& d) {
  add_product(d.pre.data(), op.hidden, d.h.data(), op.hidden, d.r, op.hidden);
  for (int64_t j = 0; j < op.hidden; ++j) d.h[j] = d.pre[j] + d.r_bias[j];
  op.clip_all(d.h.data(), op.hidden);
  d.activations[0](d.h.data(), op.hidden);
}

void step_gru(const Recurrence& op, Direction& d) {
  const int64_t hidden = op.hidden, rows = op.rows();
  const int64_t products = op.linear_before_reset ? rows : 2 * hidden;
  d.recurrent.assign(d.r_bias, d.r_bias + rows);
  add_product(d.recurrent.data(), products, d.h.data(), hidden, d.r, rows);
  float *z = d.pre.data(), *r = z + hidden, *candidate = r + hidden;
  for (int64_t j = 0; j < 2 * hidden; ++j) z[j] += d.recurrent[j];
  op.clip_all(z, 2 * hidden);
  d.activations[0](z, 2 * hidden);
  float* from_h = d.recurrent.data() + 2 * hidden;
  if (op.linear_before_reset) {
    for (int64_t j = 0; j < hidden; ++j) from_h[j] *= r[j];
  } else {
    for (int64_t j = 0; j < hidden; ++j) r[j] *= d.h[j];
    add_product(from_h, hidden, r, hidden, d.r + 2 * hidden, rows);
  }
  for (int64_t j = 0; j < hidden; ++j) candidate[j] += from_h[j];
  op.clip_all(candidate, hidden);
  d.activations[1](candidate, hidden);
  for (int64_t j = 0; j < hidden; ++j) d.h[j] = (1.0f - z[j]) * candidate[j] + z[j] * d.h[j];
}

void step_lstm(const Recurrence& op, Direction& d) {
  const int64_t hidden = op.hidden, rows = op.rows();
  add_product(d.pre.data(), rows, d.h.data(), hidden, d.r, rows);
  for (int64_t j = 0; j < rows; ++j) d.pre[j] += d.r_bias[j];
  float *i = d.pre.data(), *o = i + hidden, *f = o + hidden, *g = f + hidden;
  const auto add_peephole = [&](float* gate, int64_t number) {
    if (d.peephole == nullptr) return;
    const float* weights = d.peephole + number * hidden;
    for (int64_t j = 0; j < hidden; ++j) gate[j] += weights[j] * d.c[j];
  };
  const auto activate = [&](float* gate, int function) {
    op.clip_all(gate, hidden);
    d.activations[function](gate, hidden);
  };
  add_peephole(i, 0);
  activate(i, 0);
  if (op.input_forget) {
    for (int64_t j = 0; j < hidden; ++j) f[j] = 1.0f - i[j];
  } else {
    add_peephole(f, 2);
    activate(f, 0);
  }
  activate(g, 1);
  for (int64_t j = 0; j < hidden; ++j) d.c[j] = f[j] * d.c[j] + i[j] * g[j];
  add_peephole(o, 1);
  activate(o, 0);
  d.h = d.c;
  d.activations[2](d.h.data(), hidden);
  for (int64_t j = 0; j < hidden; ++j) d.h[j] *= o[j];
}

void step(const Recurrence& op, Direction& d) {
  switch (op.cell) {
    case Cell::kRnn:
      return step_rnn(op, d);
    case Cell::kGru:
      return step_gru(op, d);
    case Cell::kLstm:
      return step_lstm(op, d);
  }
}

Direction make_direction(const Recurrence& op, int64_t number,
                         std::span<const void* const> inputs) {
  const auto part = [&](int position, int64_t elems) {
    return static_cast<const float*>(inputs[position]) + number * elems;
  };
  Direction d;
  d.r = part(1, op.rows() * op.hidden);
  d.r_bias = part(2, op.rows());
  if (op.peepholes >= 0) d.peephole = part(op.peepholes, 3 * op.hidden);
  d.activations = op.activations.data() + number * op.activations_per_direction();
  return d;
}

Status run_recurrence(const Recurrence& op, std::span<const void* const> inputs,
                      std::span<void* const> outputs) {
  const auto output = [&](size_t i) {
    return i < outputs.size() ? static_cast<float*>(outputs[i]) : nullptr;
  };
  float *y = output(0), *y_h = output(1), *y_c = output(2);
  const auto* x = static_cast<const float*>(inputs[0]);
  // Offsets in elements. batch_first swaps the first two dimensions of X, Y and the states.
  const auto x_at = [&](int64_t t, int64_t n, int64_t b) {
    const int64_t row = op.batch_first ? b * op.steps + t : t * op.batch + b;
    return (row * op.directions + n) * op.rows();
  };
  const auto y_at = [&](int64_t t, int64_t n, int64_t b) {
    return op.hidden * (op.batch_first ? (b * op.steps + t) * op.directions + n
                                       : (t * op.directions + n) * op.batch + b);
  };
  const auto state_at = [&](int64_t n, int64_t b) {
    return op.hidden * (op.batch_first ? b * op.directions + n : n * op.batch + b);
  };
  const auto initial = [&](int position, int64_t n, int64_t b) {
    if (position < 0) return std::vector<float>(op.hidden, 0.0f);
    const float* from = static_cast<const float*>(inputs[position]) + state_at(n, b);
    return std::vector<float>(from, from + op.hidden);
  };
  const auto write = [&](float* to, int64_t offset, const std::vector<float>& from) {
    if (to != nullptr) std::copy(from.begin(), from.end(), to + offset);
  };
  for (int64_t n = 0; n < op.directions; ++n) {
    Direction d = make_direction(op, n, inputs);
    const bool reverse = n == 1 || op.first_is_reverse;
    for (int64_t b = 0; b < op.batch; ++b) {
      const int64_t length =
          op.lengths < 0 ? op.steps : IndexReader(op.length_dtype, inputs[op.lengths])[b];
      if (length < 0 || length > op.steps) {
        return make_error(ErrorCode::kInvalidArgument,
                          "sequence_lens[{}] is {} but the sequences have {} steps", b, length,
                          op.steps);
      }
      d.h = initial(op.initial_h, n, b);
      d.c = initial(op.initial_c, n, b);
      for (int64_t s = 0; s < length; ++s) {
        const int64_t t = reverse ? length - 1 - s : s;
        const float* projected = x + x_at(t, n, b);
        d.pre.assign(projected, projected + op.rows());
        step(op, d);
        write(y, y_at(t, n, b), d.h);
      }
      for (int64_t t = length; t < op.steps; ++t) {
        write(y, y_at(t, n, b), std::vector<float>(op.hidden, 0.0f));
      }
      write(y_h, state_at(n, b), d.h);
      write(y_c, state_at(n, b), d.c);
    }
  }
  return {};
}

// ---- checks -----------------------------------------------------------------------------------

constexpr size_t kRequiredInputs = 3;
constexpr std::array<std::string_view, 7> kInputNames = {"input X W",
                                                         "input R",
                                                         "the recurrence's half of input B",
                                                         "input sequence_lens",
                                                         "input initial_h",
                                                         "input initial_c",
                                                         "input P"};

Status read_attributes(const RoutineCall& call, Recurrence& op) {
  CORF_ASSIGN(const std::string direction, attribute_or<std::string>(call, "direction", "forward"));
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") {
    return make_error(ErrorCode::kInvalidModel, "there is no direction '{}'", direction);
  }
  op.first_is_reverse = direction == "reverse";
  op.directions = direction == "bidirectional" ? 2 : 1;
  CORF_ASSIGN(const int64_t layout, attribute_or<int64_t>(call, "layout", 0));
  op.batch_first = layout != 0;
  CORF_ASSIGN(const int64_t linear, attribute_or<int64_t>(call, "linear_before_reset", 0));
  op.linear_before_reset = linear != 0;
  CORF_ASSIGN(const int64_t input_forget, attribute_or<int64_t>(call, "input_forget", 0));
  op.input_forget = input_forget != 0;
  if (call.attributes.contains("clip")) {
    CORF_ASSIGN(const double clip, attribute_or<double>(call, "clip", 0));
    if (!(clip >= 0)) return make_error(ErrorCode::kInvalidModel, "clip is {}", clip);
    op.clip = static_cast<float>(clip);
  }
  std::string names = op.cell == Cell::kRnn   ? "Tanh"
                      : op.cell == Cell::kGru ? "Sigmoid,Tanh"
                                              : "Sigmoid,Tanh,Tanh";
  const size_t count = op.directions * (1 + std::count(names.begin(), names.end(), ','));
  if (op.directions == 2) names += "," + names;
  CORF_ASSIGN(const std::string listed, attribute_or<std::string>(call, "activations", ""));
  const std::string given = listed.empty() ? names : listed;
  CORF_ASSIGN(const std::vector<double> alphas,
              attribute_or<std::vector<double>>(call, "activation_alpha", {}));
  CORF_ASSIGN(const std::vector<double> betas,
              attribute_or<std::vector<double>>(call, "activation_beta", {}));
  CORF_ASSIGN(op.activations, parse_activations(given, count, alphas, betas));
  return {};
}

/// Sizes from X W and R; everything else must agree with them.
Status read_shapes(const RoutineCall& call, Recurrence& op) {
  const Shape &x = call.inputs[0].shape, &r = call.inputs[1].shape;
  if (x.size() != 3 || r.size() != 3) {
    return make_error(ErrorCode::kInvalidModel, "X W {} and R {} must have three dimensions",
                      to_string(x), to_string(r));
  }
  op.steps = x[op.batch_first ? 1 : 0];
  op.batch = x[op.batch_first ? 0 : 1];
  op.hidden = r[1];
  CORF_ASSIGN(const int64_t hidden_size,
              attribute_or<int64_t>(call, "hidden_size", int64_t{op.hidden}));
  if (hidden_size != op.hidden) {
    return make_error(ErrorCode::kInvalidModel, "hidden_size is {} but R is {}", hidden_size,
                      to_string(r));
  }
  const Shape state = op.batch_first ? Shape{op.batch, op.directions, op.hidden}
                                     : Shape{op.directions, op.batch, op.hidden};
  const Shape all_steps = op.batch_first ? Shape{op.batch, op.steps, op.directions, op.hidden}
                                         : Shape{op.steps, op.directions, op.batch, op.hidden};
  // Bounded first: shapes of a damaged file may not multiply.
  constexpr int64_t kMost = int64_t{1} << 31;
  if (op.hidden > kMost || op.directions * op.rows() > kMost) {
    return make_error(ErrorCode::kInvalidModel, "R {} is too large", to_string(r));
  }
  const Shape projected = {x[0], x[1], op.directions * op.rows()};
  const std::array<Shape, 7> expected = {projected,
                                         {op.directions, op.hidden, op.rows()},
                                         {op.directions, op.rows()},
                                         {op.batch},
                                         state,
                                         state,
                                         {op.directions, 3 * op.hidden}};
  const std::array<int*, 7> positions = {nullptr,       nullptr,       nullptr,      &op.lengths,
                                         &op.initial_h, &op.initial_c, &op.peepholes};
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (i >= kRequiredInputs && !has_input(call, i)) continue;
    const RoutineOperand& input = call.inputs[i];
    CORF_RETURN_IF_ERROR(check_shape(input, expected[i], kInputNames[i]));
    if (i == 3) {
      CORF_RETURN_IF_ERROR(check_index_dtype(input, kInputNames[i]));
      op.length_dtype = input.dtype;
    } else if (input.dtype != DType::kF32) {
      return make_error(ErrorCode::kUnsupported, "{} has element type {}; only f32 is offered",
                        kInputNames[i], to_string(input.dtype));
    }
    if (positions[i] != nullptr) *positions[i] = static_cast<int>(i);
  }
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    const std::string_view name = i == 0 ? "output Y" : i == 1 ? "output Y_h" : "output Y_c";
    CORF_RETURN_IF_ERROR(check_shape(call.outputs[i], i == 0 ? all_steps : state, name));
    CORF_RETURN_IF_ERROR(check_dtype(call.outputs[i], DType::kF32, name));
  }
  return {};
}

Result<PreparedRoutine> prepare_recurrence(const RoutineCall& call, Cell cell) {
  const bool lstm = cell == Cell::kLstm;
  CORF_RETURN_IF_ERROR(check_operand_counts(call, kRequiredInputs, lstm ? 7 : 5, 1, lstm ? 3 : 2));
  Recurrence op;
  op.cell = cell;
  op.gates = lstm ? 4 : cell == Cell::kGru ? 3 : 1;
  CORF_RETURN_IF_ERROR(read_attributes(call, op));
  CORF_RETURN_IF_ERROR(read_shapes(call, op));
  return PreparedRoutine(
      [op](std::span<const void* const> inputs, std::span<void* const> outputs) -> Status {
        return run_recurrence(op, inputs, outputs);
      });
}

}  // namespace

// The inputs, of which those from the fourth on may be empty: X W' + the first half of B, as
// [steps, batch, directions * rows] or batch first; R transposed, [directions, hidden, rows]; the
// second half of B; sequence_lens, initial_h, initial_c, P.

/// Outputs: Y, Y_h, Y_c.
Result<PreparedRoutine> prepare_lstm(RoutineCall call) {
  return prepare_recurrence(call, Cell::kLstm);
}

/// Without initial_c and P. Outputs: Y, Y_h.
Result<PreparedRoutine> prepare_gru(RoutineCall call) {
  return prepare_recurrence(call, Cell::kGru);
}

/// Without initial_c and P. Outputs: Y, Y_h.
Result<PreparedRoutine> prepare_rnn(RoutineCall call) {
  return prepare_recurrence(call, Cell::kRnn);
}

}  // namespace corf::runtime
