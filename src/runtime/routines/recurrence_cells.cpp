#include "runtime/routines/recurrence_cells.h"

#include <algorithm>
#include <array>

namespace corf::runtime {
namespace {

/// acc += x * R, this part of `gates` gates, from gate `gate` on.
void add_recurrent(const Recurrence& op, Sequences sequences, const Part& part,
                   float* Sequence::* acc, float* Sequence::* x, int64_t gate, int64_t gates) {
  if (sequences.empty()) return;
  const int64_t first = part.first / kPanel, panels = ceil_div(part.count, kPanel);
  std::array<float*, kMostTogether> to;
  std::array<const float*, kMostTogether> from;
  if (part.count == op.hidden) {  // gates follow each other, in the weights and in what is added to
    for (size_t n = 0; n < sequences.size(); ++n) {
      to[n] = sequences[n].*acc + gate * op.gate_elems();
      from[n] = sequences[n].*x;
    }
    add_products(static_cast<int64_t>(sequences.size()), to.data(), from.data(), op.hidden,
                 sequences[0].r + gate * op.panels() * op.hidden * kPanel, gates * op.panels());
    return;
  }
  for (int64_t g = gate; g < gate + gates; ++g) {
    for (size_t n = 0; n < sequences.size(); ++n) {
      to[n] = sequences[n].*acc + g * op.gate_elems() + part.first;
      from[n] = sequences[n].*x;
    }
    add_products(static_cast<int64_t>(sequences.size()), to.data(), from.data(), op.hidden,
                 sequences[0].r + (g * op.panels() + first) * op.hidden * kPanel, panels);
  }
}

/// Adds the products of this part of the sequences' states with the weights' bytes, which lie
/// `first_step` steps behind the panels' first ones.
void add_bytes(const Recurrence& op, Sequences sequences, const Part& part,
               const uint8_t* const* bytes, int64_t first_step, int64_t steps) {
  const int64_t rows = static_cast<int64_t>(sequences.size());
  const int64_t panel_bytes = op.depth() * kPanel, first = part.first / kPanel;
  const bool whole = part.count == op.hidden;  // gates follow each other
  const int64_t panels = whole ? op.gates * op.panels() : ceil_div(part.count, kPanel);
  for (int64_t gate = 0; gate < (whole ? 1 : op.gates); ++gate) {
    std::array<int32_t*, kMostTogether> to;
    for (int64_t n = 0; n < rows; ++n) {
      to[n] = sequences[n].bytes.products + gate * op.gate_elems() + part.first;
    }
    const int8_t* weights =
        sequences[0].bytes.r + (gate * op.panels() + first) * panel_bytes + first_step * kPanel;
    add_byte_products(rows, to.data(), bytes, steps, weights, panel_bytes, panels);
  }
}

/// pre += h * R, this part of it, with h as bytes.
void add_recurrent_bytes(const Recurrence& op, Sequences sequences, const Part& part) {
  if (sequences.empty()) return;
  constexpr int64_t kStepsAtOnce = 2048;
  static_assert(kStepsAtOnce % kByteSteps == 0);
  alignas(64) uint8_t bytes[kMostTogether][kStepsAtOnce];
  std::array<ByteScale, kMostTogether> scales;
  std::array<int32_t, kMostTogether> sums = {};
  std::array<const uint8_t*, kMostTogether> rows;
  for (size_t n = 0; n < sequences.size(); ++n) {
    scales[n] = byte_scale_of(sequences[n].h, op.hidden);
    rows[n] = bytes[n];
    for (int64_t gate = 0; gate < op.gates; ++gate) {
      int32_t* products = sequences[n].bytes.products + gate * op.gate_elems() + part.first;
      std::fill_n(products, part.padded(), 0);
    }
  }
  for (int64_t step = 0; step < op.hidden; step += kStepsAtOnce) {
    const int64_t count = std::min(kStepsAtOnce, op.hidden - step);
    const int64_t filled = ceil_div(count, kByteSteps) * kByteSteps;
    for (size_t n = 0; n < sequences.size(); ++n) {
      sums[n] += quantize(sequences[n].h + step, count, scales[n], bytes[n]);
      std::fill(bytes[n] + count, bytes[n] + filled, uint8_t{0});
    }
    add_bytes(op, sequences, part, rows.data(), step, filled);
  }
  for (size_t n = 0; n < sequences.size(); ++n) {
    for (int64_t gate = 0; gate < op.gates; ++gate) {
      const ByteRecurrence& r = sequences[n].bytes;
      const int64_t at = gate * op.gate_elems() + part.first, row = gate * op.hidden + part.first;
      const int32_t zero_point = scales[n].zero_point;
      float* pre = sequences[n].pre + at;
      for (int64_t j = 0; j < part.count; ++j) {
        const int32_t sum =
            r.products[at + j] - r.rests[row + j] * sums[n] - r.sums[row + j] * zero_point;
        pre[j] += static_cast<float>(sum) * (scales[n].scale * r.scales[row + j]);
      }
    }
  }
}

void finish_rnn(const Recurrence& op, const Sequence& s, const Part& part) {
  float* h = s.next_h + part.first;
  for (int64_t j = 0; j < part.count; ++j) h[j] = s.pre[part.first + j] + s.r_bias[part.first + j];
  op.clip_all(h, part.count);
  s.activations[0](h, part.count);
}

void reset_gru(const Recurrence& op, const Sequence& s, const Part& part) {
  if (op.has_default_functions) {
    apply_gru_gates(s.pre + part.first, s.recurrent + part.first, op.gate_elems(), part.padded());
  }
  for (int64_t gate = 0; gate < 2 && !op.has_default_functions; ++gate) {
    const int64_t offset = gate * op.gate_elems() + part.first;
    float* z = s.pre + offset;
    for (int64_t j = 0; j < part.count; ++j) z[j] += s.recurrent[offset + j];
    op.clip_all(z, part.count);
    s.activations[0](z, part.count);
  }
  float* r = s.reset_h + part.first;
  float* from_h = s.recurrent + 2 * op.gate_elems() + part.first;
  if (op.linear_before_reset) {
    for (int64_t j = 0; j < part.count; ++j) from_h[j] *= r[j];
  } else {
    for (int64_t j = 0; j < part.count; ++j) r[j] *= s.h[part.first + j];
  }
}

void finish_gru(const Recurrence& op, const Sequence& s, const Part& part) {
  const int64_t last = 2 * op.gate_elems() + part.first;
  if (op.has_default_functions) {
    apply_gru(s.pre + part.first, s.pre + last, s.recurrent + last, s.h + part.first,
              s.next_h + part.first, part.padded());
    return;
  }
  float* candidate = s.pre + last;
  for (int64_t j = 0; j < part.count; ++j) candidate[j] += s.recurrent[last + j];
  op.clip_all(candidate, part.count);
  s.activations[1](candidate, part.count);
  const float *z = s.pre + part.first, *h = s.h + part.first;
  float* next_h = s.next_h + part.first;
  for (int64_t j = 0; j < part.count; ++j) next_h[j] = (1.0f - z[j]) * candidate[j] + z[j] * h[j];
}

void finish_lstm(const Recurrence& op, const Sequence& s, const Part& part) {
  if (op.is_plain()) {
    const float* peepholes = s.peephole != nullptr ? s.padded_peephole + part.first : nullptr;
    apply_lstm(s.pre + part.first, s.recurrent + part.first, peepholes, op.gate_elems(),
               s.c + part.first, s.next_h + part.first, part.padded());
    return;
  }
  const int64_t count = part.count, gate_elems = op.gate_elems();
  float *i = s.pre + part.first, *o = i + gate_elems, *f = o + gate_elems, *g = f + gate_elems;
  for (int64_t gate = 0; gate < op.gates; ++gate) {
    const float* bias = s.r_bias + gate * op.hidden + part.first;
    for (int64_t j = 0; j < count; ++j) i[gate * gate_elems + j] += bias[j];
  }
  float* c = s.c + part.first;
  const auto add_peephole = [&](float* gate, int64_t number) {
    if (s.peephole == nullptr) return;
    const float* weights = s.peephole + number * op.hidden + part.first;
    for (int64_t j = 0; j < count; ++j) gate[j] += weights[j] * c[j];
  };
  const auto activate = [&](float* gate, int function) {
    op.clip_all(gate, count);
    s.activations[function](gate, count);
  };
  add_peephole(i, 0);
  activate(i, 0);
  if (op.input_forget) {
    for (int64_t j = 0; j < count; ++j) f[j] = 1.0f - i[j];
  } else {
    add_peephole(f, 2);
    activate(f, 0);
  }
  activate(g, 1);
  for (int64_t j = 0; j < count; ++j) c[j] = f[j] * c[j] + i[j] * g[j];
  add_peephole(o, 1);
  activate(o, 0);
  float* h = s.next_h + part.first;
  std::copy_n(c, count, h);
  s.activations[2](h, count);
  for (int64_t j = 0; j < count; ++j) h[j] *= o[j];
}

}  // namespace

void step_rnn(const Recurrence& op, Sequences sequences, const Part& part) {
  add_recurrent(op, sequences, part, &Sequence::pre, &Sequence::h, 0, 1);
  for (const Sequence& s : sequences) finish_rnn(op, s, part);
}

void step_lstm(const Recurrence& op, Sequences sequences, const Part& part) {
  if (op.has_bytes) {
    add_recurrent_bytes(op, sequences, part);
  } else {
    add_recurrent(op, sequences, part, &Sequence::pre, &Sequence::h, 0, op.gates);
  }
  for (const Sequence& s : sequences) finish_lstm(op, s, part);
}

void begin_gru(const Recurrence& op, Sequences sequences, const Part& part) {
  for (const Sequence& s : sequences) {
    for (int64_t gate = 0; gate < op.gates; ++gate) {
      std::copy_n(s.r_bias + gate * op.hidden + part.first, part.count,
                  s.recurrent + gate * op.gate_elems() + part.first);
    }
  }
  add_recurrent(op, sequences, part, &Sequence::recurrent, &Sequence::h, 0,
                op.linear_before_reset ? 3 : 2);
  for (const Sequence& s : sequences) reset_gru(op, s, part);
}

void end_gru(const Recurrence& op, Sequences sequences, const Part& part) {
  if (!op.linear_before_reset) {
    add_recurrent(op, sequences, part, &Sequence::recurrent, &Sequence::reset_h, 2, 1);
  }
  for (const Sequence& s : sequences) finish_gru(op, s, part);
}

}  // namespace corf::runtime
