#include "runtime/routines/recurrence_cells.h"

#include "runtime/routines/wide_math.h"

namespace corf::runtime {
namespace {

/// acc += h * R, this part of `gates` gates, from gate `gate` on.
void add_recurrent(const Recurrence& op, const Part& part, float* acc, const float* h,
                   const float* r, int64_t gate, int64_t gates) {
  if (part.count == op.hidden) {
    const int64_t offset = gate * op.hidden;
    return add_product(acc + offset, gates * op.hidden, h, op.hidden, r + offset, op.rows());
  }
  for (int64_t g = gate; g < gate + gates; ++g) {
    const int64_t offset = g * op.hidden + part.first;
    add_product(acc + offset, part.count, h, op.hidden, r + offset, op.rows());
  }
}

}  // namespace

void step_rnn(const Recurrence& op, const Sequence& s, const Part& part) {
  add_recurrent(op, part, s.pre, s.h, s.r, 0, 1);
  float* h = s.next_h + part.first;
  for (int64_t j = 0; j < part.count; ++j) h[j] = s.pre[part.first + j] + s.r_bias[part.first + j];
  op.clip_all(h, part.count);
  s.activations[0](h, part.count);
}

void begin_gru(const Recurrence& op, const Sequence& s, const Part& part) {
  const int64_t hidden = op.hidden;
  for (int64_t gate = 0; gate < op.gates; ++gate) {
    const int64_t offset = gate * hidden + part.first;
    std::copy_n(s.r_bias + offset, part.count, s.recurrent + offset);
  }
  add_recurrent(op, part, s.recurrent, s.h, s.r, 0, op.linear_before_reset ? 3 : 2);
  for (int64_t gate = 0; gate < 2; ++gate) {
    const int64_t offset = gate * hidden + part.first;
    float* z = s.pre + offset;
    for (int64_t j = 0; j < part.count; ++j) z[j] += s.recurrent[offset + j];
    op.clip_all(z, part.count);
    s.activations[0](z, part.count);
  }
  float* r = s.pre + hidden + part.first;
  float* from_h = s.recurrent + 2 * hidden + part.first;
  if (op.linear_before_reset) {
    for (int64_t j = 0; j < part.count; ++j) from_h[j] *= r[j];
  } else {
    for (int64_t j = 0; j < part.count; ++j) r[j] *= s.h[part.first + j];
  }
}

void end_gru(const Recurrence& op, const Sequence& s, const Part& part) {
  const int64_t hidden = op.hidden, last = 2 * hidden + part.first;
  if (!op.linear_before_reset) add_recurrent(op, part, s.recurrent, s.pre + hidden, s.r, 2, 1);
  float* candidate = s.pre + last;
  for (int64_t j = 0; j < part.count; ++j) candidate[j] += s.recurrent[last + j];
  op.clip_all(candidate, part.count);
  s.activations[1](candidate, part.count);
  const float *z = s.pre + part.first, *h = s.h + part.first;
  float* next_h = s.next_h + part.first;
  for (int64_t j = 0; j < part.count; ++j) next_h[j] = (1.0f - z[j]) * candidate[j] + z[j] * h[j];
}

void step_lstm(const Recurrence& op, const Sequence& s, const Part& part) {
  const int64_t hidden = op.hidden, count = part.count;
  add_recurrent(op, part, s.pre, s.h, s.r, 0, op.gates);
  float *i = s.pre + part.first, *o = i + hidden, *f = o + hidden, *g = f + hidden;
  for (int64_t gate = 0; gate < op.gates; ++gate) {
    const int64_t offset = gate * hidden + part.first;
    for (int64_t j = 0; j < count; ++j) s.pre[offset + j] += s.r_bias[offset + j];
  }
  float* c = s.c + part.first;
  const auto add_peephole = [&](float* gate, int64_t number) {
    if (s.peephole == nullptr) return;
    const float* weights = s.peephole + number * hidden + part.first;
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

}  // namespace corf::runtime
