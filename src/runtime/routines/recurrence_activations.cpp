#include "runtime/routines/recurrence_activations.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <sstream>

#include "runtime/routines/wide_math.h"

namespace corf::runtime {
namespace {

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

}  // namespace

bool same_but_for_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

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

}  // namespace corf::runtime
