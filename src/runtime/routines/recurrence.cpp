#include <algorithm>
#include <array>
#include <memory>
#include <new>

#include "runtime/routines/operands.h"
#include "runtime/routines/recurrence_activations.h"
#include "runtime/routines/recurrence_cells.h"
#include "support/checked.h"

namespace corf::runtime {
namespace {

// ---- the operator -----------------------------------------------------------------------------

/// Positions in the operands, in elements. batch_first swaps the first two dimensions of X, Y and
/// the states.
struct Layout {
  const Recurrence& op;
  int64_t x(int64_t t, const Sequence& s) const {
    const int64_t row = op.batch_first ? s.number * op.steps + t : t * op.batch + s.number;
    return (row * op.directions + s.direction) * op.rows();
  }
  int64_t y(int64_t t, const Sequence& s) const {
    return op.hidden * (op.batch_first ? (s.number * op.steps + t) * op.directions + s.direction
                                       : (t * op.directions + s.direction) * op.batch + s.number);
  }
  int64_t state(const Sequence& s) const {
    return op.hidden * (op.batch_first ? s.number * op.directions + s.direction
                                       : s.direction * op.batch + s.number);
  }
};

/// Workers take sequences and directions of their own; where there are too few, several share one
/// and wait for each other at every step.
class RecurrenceRun {
 public:
  /// Elements of a sequence's state.
  static int64_t state_elems(const Recurrence& op) { return (6 + 2 * op.gates) * op.gate_elems(); }

  /// `products`: of recurrences of bytes.
  RecurrenceRun(const Recurrence& op, PreparedRoutine::Inputs inputs,
                PreparedRoutine::Outputs outputs, const RoutineWorker& worker, float* states,
                int32_t* products)
      : op_(op),
        inputs_(inputs),
        worker_(worker),
        states_(states),
        products_(products),
        layout_{op} {
    for (size_t i = 0; i < outputs.size(); ++i) outputs_[i] = static_cast<float*>(outputs[i]);
  }

  Status run() {
    int64_t longest = 0;
    for (int64_t b = 0; b < op_.batch; ++b) {
      const int64_t length = length_of(b);
      if (length < 0 || length > op_.steps) {
        return make_error(ErrorCode::kInvalidArgument,
                          "sequence_lens[{}] is {} but the sequences have {} steps", b, length,
                          op_.steps);
      }
      longest = std::max(longest, length);
    }
    const int64_t sequences = op_.directions * op_.batch, workers = worker_.count;
    if (sequences == 0) return {};
    // Below so many products a step, waiting for the others takes longer than what they do.
    constexpr int64_t kLeastToShare = int64_t{1} << 14;
    const int64_t most_sharers = op_.hidden * op_.rows() / kLeastToShare;
    if (sequences >= workers || most_sharers < 2) {
      const int64_t end = sequences * (worker_.number + 1) / workers;
      int64_t first = sequences * worker_.number / workers;
      while (first < end) {
        const int64_t of_direction = op_.batch - first % op_.batch;
        const int64_t together = std::min({end - first, of_direction, kMostTogether});
        walk(first, together, {0, op_.hidden}, longest, {});
        first += together;
      }
      return {};
    }
    const int64_t sharers = std::min(workers / sequences, most_sharers);
    const int64_t i = worker_.number / sharers, share = worker_.number % sharers;
    const int64_t panels = op_.panels();
    Part part;
    if (i < sequences) {
      part.first = kPanel * (panels * share / sharers);
      part.count = std::min(op_.hidden, kPanel * (panels * (share + 1) / sharers)) - part.first;
    }
    walk(std::min(i, sequences - 1), 1, part, longest, worker_);
    return {};
  }

 private:
  int64_t length_of(int64_t b) const {
    if (op_.lengths < 0) return op_.steps;
    return IndexReader(op_.length_dtype, inputs_[op_.lengths])[b];
  }

  Sequence sequence(int64_t i) const {
    Sequence s;
    s.number = i % op_.batch;
    s.direction = i / op_.batch;
    s.length = length_of(s.number);
    const auto part = [&](int position, int64_t elems) {
      return static_cast<const float*>(inputs_[position]) + s.direction * elems;
    };
    if (op_.has_bytes) {
      s.bytes = byte_recurrence(i);
    } else {
      s.r = part(1, op_.gates * op_.gate_elems() * op_.hidden);
    }
    s.r_bias = part(2, op_.rows());
    if (op_.peepholes >= 0) s.peephole = part(op_.peepholes, 3 * op_.hidden);
    s.activations = op_.activations.data() + s.direction * op_.activations_per_direction();
    float* state = states_ + i * state_elems(op_);
    for (float** rows : {&s.pre, &s.recurrent}) {
      *rows = state;
      state += op_.gates * op_.gate_elems();
    }
    for (float** elems : {&s.h, &s.next_h, &s.c}) {
      *elems = state;
      state += op_.gate_elems();
    }
    s.padded_peephole = state;
    s.reset_h = s.pre + op_.gate_elems();
    return s;
  }

  ByteRecurrence byte_recurrence(int64_t i) const {
    const int64_t direction = i / op_.batch, first = direction * op_.rows();
    ByteRecurrence r;
    r.r = static_cast<const int8_t*>(inputs_[1]) +
          direction * op_.gates * op_.gate_elems() * op_.depth();
    r.scales = static_cast<const float*>(inputs_[7]) + first;
    r.sums = static_cast<const int32_t*>(inputs_[8]) + first;
    r.rests = static_cast<const int32_t*>(inputs_[9]) + first;
    r.products = products_ + i * op_.gates * op_.gate_elems();
    return r;
  }

  void begin_state(int position, float* state, const Sequence& s, const Part& part) const {
    if (position < 0) {
      std::fill_n(state + part.first, part.count, 0.0f);
    } else {
      const float* from = static_cast<const float*>(inputs_[position]) + layout_.state(s);
      std::copy_n(from + part.first, part.count, state + part.first);
    }
  }

  /// What fills the last panel of each gate and state, which whole panels are computed with.
  void clear_padding(const Sequence& s, const Part& part) const {
    const int64_t begin = part.first + part.count, count = part.padded() - part.count;
    for (float* elems : {s.h, s.next_h, s.c}) std::fill_n(elems + begin, count, 0.0f);
    for (int64_t gate = 0; gate < op_.gates; ++gate) {
      std::fill_n(s.pre + gate * op_.gate_elems() + begin, count, 0.0f);
      std::fill_n(s.recurrent + gate * op_.gate_elems() + begin, count, 0.0f);
    }
    for (int64_t row = 0; row < 3; ++row) {
      std::fill_n(s.padded_peephole + row * op_.gate_elems() + begin, count, 0.0f);
    }
  }

  /// Rows of `hidden` elements, each put where a gate's elements are.
  void pad_rows(const float* from, int64_t rows, float* to, const Part& part) const {
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(from + row * op_.hidden + part.first, part.count,
                  to + row * op_.gate_elems() + part.first);
    }
  }

  void write(int output, int64_t offset, const float* from, const Part& part) const {
    if (outputs_[output] == nullptr) return;
    std::copy_n(from + part.first, part.count, outputs_[output] + offset + part.first);
  }

  void begin(const Sequence& s, const Part& part, int64_t t) const {
    const float* projected = static_cast<const float*>(inputs_[0]) + layout_.x(t, s);
    for (int64_t gate = 0; gate < op_.gates; ++gate) {
      std::copy_n(projected + gate * op_.hidden + part.first, part.count,
                  s.pre + gate * op_.gate_elems() + part.first);
    }
  }

  void step(Sequences active, const Part& part, const RoutineWorker& others) const {
    switch (op_.cell) {
      case Cell::kRnn:
        return step_rnn(op_, active, part);
      case Cell::kLstm:
        return step_lstm(op_, active, part);
      case Cell::kGru:
        begin_gru(op_, active, part);
        if (!op_.linear_before_reset) others.barrier();
        return end_gru(op_, active, part);
    }
  }

  /// This part of sequences of one direction, from sequence `first` on; `steps` waits, however long
  /// they are.
  void walk(int64_t first, int64_t count, const Part& part, int64_t steps,
            const RoutineWorker& others) const {
    std::array<Sequence, kMostTogether> all;
    for (int64_t i = 0; i < count; ++i) all[i] = sequence(first + i);
    const std::span<Sequence> sequences(all.data(), static_cast<size_t>(count));
    // Those that go on are the first ones.
    std::sort(sequences.begin(), sequences.end(),
              [](const Sequence& a, const Sequence& b) { return a.length > b.length; });
    for (const Sequence& s : sequences) {
      clear_padding(s, part);
      begin_state(op_.initial_h, s.h, s, part);
      begin_state(op_.initial_c, s.c, s, part);
      if (op_.cell == Cell::kLstm) pad_rows(s.r_bias, op_.gates, s.recurrent, part);
      if (s.peephole != nullptr) pad_rows(s.peephole, 3, s.padded_peephole, part);
    }
    others.barrier();
    const bool reverse = sequences[0].direction == 1 || op_.first_is_reverse;
    const auto at = [&](const Sequence& s, int64_t n) { return reverse ? s.length - 1 - n : n; };
    for (int64_t n = 0; n < steps; ++n) {
      size_t going_on = 0;
      while (going_on < sequences.size() && n < sequences[going_on].length) ++going_on;
      const std::span<Sequence> active = sequences.first(going_on);
      for (const Sequence& s : active) begin(s, part, at(s, n));
      step(active, part, others);
      for (Sequence& s : active) {
        write(0, layout_.y(at(s, n), s), s.next_h, part);
        std::swap(s.h, s.next_h);
      }
      others.barrier();
    }
    for (const Sequence& s : sequences) finish(s, part);
  }

  void finish(const Sequence& s, const Part& part) const {
    if (outputs_[0] != nullptr) {
      for (int64_t t = s.length; t < op_.steps; ++t) {
        std::fill_n(outputs_[0] + layout_.y(t, s) + part.first, part.count, 0.0f);
      }
    }
    write(1, layout_.state(s), s.h, part);
    write(2, layout_.state(s), s.c, part);
  }

  const Recurrence& op_;
  const PreparedRoutine::Inputs inputs_;
  std::array<float*, 3> outputs_ = {};
  const RoutineWorker worker_;
  float* const states_;
  int32_t* const products_;
  const Layout layout_;
};

// ---- checks -----------------------------------------------------------------------------------

constexpr size_t kRequiredInputs = 3;
constexpr size_t kByteInputs = 10;
constexpr std::array<std::string_view, kByteInputs> kInputNames = {
    "input X W",
    "input R",
    "the recurrence's half of input B",
    "input sequence_lens",
    "input initial_h",
    "input initial_c",
    "input P",
    "R's scales",
    "R's sums",
    "R's zero points"};

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
  op.has_default_functions = same_but_for_case(given, names) && !call.attributes.contains("clip");
  return {};
}

DType type_of_input(const Recurrence& op, size_t i) {
  if (op.has_bytes && i == 1) return DType::kI8;
  return i >= 8 ? DType::kI32 : DType::kF32;
}

/// Sizes from X W and R; everything else must agree with them.
Status read_shapes(const RoutineCall& call, Recurrence& op) {
  const Shape &x = call.inputs[0].shape, &r = call.inputs[1].shape;
  const size_t rank = op.has_bytes ? 6 : 5;
  if (x.size() != 3 || r.size() != rank) {
    return make_error(ErrorCode::kInvalidModel, "X W {} must have three dimensions and R {} {}",
                      to_string(x), to_string(r), rank);
  }
  op.steps = x[op.batch_first ? 1 : 0];
  op.batch = x[op.batch_first ? 0 : 1];
  // Bytes are filled up to whole steps: their number is no state's.
  op.hidden = op.has_bytes ? x[2] / (op.directions * op.gates) : r[3];
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
  // More steps of a sum of bytes than i32 holds.
  if (op.has_bytes && op.hidden > (int64_t{1} << 15)) {
    return make_error(ErrorCode::kUnsupported, "a state of {} bytes is too long", op.hidden);
  }
  const Shape weights =
      op.has_bytes
          ? Shape{op.directions, op.gates, op.panels(), op.depth() / kByteSteps, kPanel, kByteSteps}
          : Shape{op.directions, op.gates, op.panels(), op.hidden, kPanel};
  const Shape by_row = {op.directions, op.rows()};
  const std::array<Shape, kByteInputs> expected = {
      projected, weights, {op.directions, op.rows()},     {op.batch},
      state,     state,   {op.directions, 3 * op.hidden}, by_row,
      by_row,    by_row};
  const std::array<int*, kByteInputs> positions = {
      nullptr, nullptr, nullptr, &op.lengths, &op.initial_h, &op.initial_c, &op.peepholes};
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (i >= kRequiredInputs && i < 7 && !has_input(call, i)) continue;
    const RoutineOperand& input = call.inputs[i];
    CORF_RETURN_IF_ERROR(check_shape(input, expected[i], kInputNames[i]));
    if (i == 3) {
      CORF_RETURN_IF_ERROR(check_index_dtype(input, kInputNames[i]));
      op.length_dtype = input.dtype;
    } else if (const DType dtype = type_of_input(op, i); input.dtype != dtype) {
      return make_error(ErrorCode::kUnsupported, "{} has element type {}; only {} is offered",
                        kInputNames[i], to_string(input.dtype), to_string(dtype));
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

Result<PreparedRoutine> prepare_recurrence(const RoutineCall& call, Cell cell,
                                           bool has_bytes = false) {
  const bool lstm = cell == Cell::kLstm;
  const size_t most_inputs = has_bytes ? kByteInputs : lstm ? 7 : 5;
  CORF_RETURN_IF_ERROR(check_operand_counts(call, has_bytes ? kByteInputs : kRequiredInputs,
                                            most_inputs, 1, lstm ? 3 : 2));
  Recurrence op;
  op.cell = cell;
  op.has_bytes = has_bytes;
  op.gates = lstm ? 4 : cell == Cell::kGru ? 3 : 1;
  CORF_RETURN_IF_ERROR(read_attributes(call, op));
  CORF_RETURN_IF_ERROR(read_shapes(call, op));
  // Untouched until it is run: shapes of a damaged file may be large.
  std::shared_ptr<float[]> states;
  std::shared_ptr<int32_t[]> products;
  const auto elems = checked_mul(op.directions * op.batch, RecurrenceRun::state_elems(op));
  try {
    if (!elems) throw std::bad_alloc();
    states.reset(new float[*elems]);
    // Fewer than those of the states.
    const int64_t sequences = op.directions * op.batch;
    if (has_bytes) products.reset(new int32_t[sequences * op.gates * op.gate_elems()]);
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kOutOfMemory, "there is not enough memory for its state");
  }
  return PreparedRoutine([op, states, products](PreparedRoutine::Inputs inputs,
                                                PreparedRoutine::Outputs outputs,
                                                const RoutineWorker& worker) {
    return RecurrenceRun(op, inputs, outputs, worker, states.get(), products.get()).run();
  });
}

}  // namespace

// The inputs, of which those from the fourth on may be empty: X W' + the first half of B, as
// [steps, batch, directions * rows] or batch first; R in panels of kPanel rows, each of them
// transposed, [directions, gates, panels, hidden, kPanel], with zeros behind the last row of a
// gate; the second half of B; sequence_lens, initial_h, initial_c, P.

/// Outputs: Y, Y_h, Y_c.
Result<PreparedRoutine> prepare_lstm(RoutineCall call) {
  return prepare_recurrence(call, Cell::kLstm);
}

/// R as bytes, [directions, gates, panels, steps / 4, kPanel, 4]; behind P, by row: R's scales,
/// what is to be taken away from its bytes, and, before these, the sums over the steps of what is
/// left.
Result<PreparedRoutine> prepare_dynamic_quantize_lstm(RoutineCall call) {
  return prepare_recurrence(call, Cell::kLstm, true);
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
