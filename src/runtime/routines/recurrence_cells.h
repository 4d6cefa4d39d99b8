#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "runtime/routines/byte_math.h"
#include "runtime/routines/wide_math.h"
#include "support/checked.h"
#include "tensor/dtype.h"

/// The cells of the recurrent operators, a step of one sequence at a time.
namespace corf::runtime {

struct Activation {
  void (*function)(float* x, int64_t count, float alpha, float beta) = nullptr;
  float alpha = 0, beta = 0;
  void operator()(float* x, int64_t count) const { function(x, count, alpha, beta); }
};

enum class Cell : uint8_t { kRnn, kGru, kLstm };

/// Sizes and choices of one operator. Gates are in ONNX's order: LSTM i o f c; GRU z r h.
struct Recurrence {
  Cell cell = Cell::kRnn;
  int64_t gates = 1, directions = 1, steps = 0, batch = 0, hidden = 0;
  bool first_is_reverse = false, batch_first = false, linear_before_reset = false,
       input_forget = false;
  /// Its functions are those that ONNX has as defaults, of sums that are not clipped.
  bool has_default_functions = false;
  /// R is bytes, and states are made bytes at each step, each sequence's on a scale of its own.
  bool has_bytes = false;
  float clip = std::numeric_limits<float>::infinity();
  std::vector<Activation> activations;  // of each direction, one after the other
  DType length_dtype = DType::kI32;
  // Positions of the optional inputs that are there; -1 for the others.
  int bias = -1, lengths = -1, initial_h = -1, initial_c = -1, peepholes = -1;

  int64_t rows() const { return gates * hidden; }
  /// Panels of a gate's weights, and the elements of a gate with what fills the last one.
  int64_t panels() const { return ceil_div(hidden, kPanel); }
  int64_t gate_elems() const { return panels() * kPanel; }
  /// Steps of a sum, with what fills up the last of those that lie side by side.
  int64_t depth() const { return ceil_div(hidden, kByteSteps) * kByteSteps; }
  int64_t activations_per_direction() const {
    return static_cast<int64_t>(activations.size()) / directions;
  }
  /// Whether a step is one of those of wide_math.
  bool is_plain() const { return has_default_functions && !input_forget; }
  void clip_all(float* x, int64_t count) const {
    if (clip == std::numeric_limits<float>::infinity()) return;
    for (int64_t j = 0; j < count; ++j) x[j] = std::clamp(x[j], -clip, clip);
  }
};

/// Recurrent weights as bytes r: they stand for (r - rest) * scale.
struct ByteRecurrence {
  const int8_t* r = nullptr;      // [gates, panels, depth / kByteSteps, kPanel, kByteSteps]
  const float* scales = nullptr;  // of each row, as the others
  const int32_t *sums = nullptr, *rests = nullptr;  // sums: of r - rest
  int32_t* products = nullptr;                      // [gates, gate_elems]: what a step adds up
};

/// One direction of one sequence: weights and state.
struct Sequence {
  int64_t number = 0, direction = 0, length = 0;  // number: in its batch
  const float* r = nullptr;                       // [gates, panels, hidden, kPanel]
  ByteRecurrence bytes;                           // instead of r
  const float* r_bias = nullptr;                  // [rows]
  const float* peephole = nullptr;                // i o f; null if there are none
  float* padded_peephole = nullptr;               // [3, gate_elems]
  const Activation* activations = nullptr;
  float *pre = nullptr, *recurrent = nullptr;  // [gates, gate_elems]; of an LSTM its r_bias
  float* reset_h = nullptr;                    // of a GRU, within pre
  float *h = nullptr, *next_h = nullptr, *c = nullptr;
};

/// Sequences of one direction that take their steps together, sharing what they read of the
/// weights.
using Sequences = std::span<const Sequence>;
constexpr int64_t kMostTogether = 8;

/// The elements of each gate that one worker computes; `first` begins a panel.
struct Part {
  int64_t first = 0, count = 0;
  /// With what fills the last panel.
  int64_t padded() const { return ceil_div(count, kPanel) * kPanel; }
};

/// At most kMostTogether sequences.
void step_rnn(const Recurrence& op, Sequences sequences, const Part& part);
void step_lstm(const Recurrence& op, Sequences sequences, const Part& part);
/// Up to what the product for the candidate is taken of, which all parts read.
void begin_gru(const Recurrence& op, Sequences sequences, const Part& part);
void end_gru(const Recurrence& op, Sequences sequences, const Part& part);

}  // namespace corf::runtime
