#include "recognise.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

namespace {

constexpr int kHeight = 48;

}  // namespace

corf::Array to_input(const Picture& picture, const std::string& name) {
  const double scale = static_cast<double>(kHeight) / picture.height;
  const int width = std::max(1, static_cast<int>(std::lround(picture.width * scale)));
  const Picture scaled = resize(picture, width, kHeight);
  const size_t num_pixels = static_cast<size_t>(width) * kHeight;
  corf::Array input(name, CORF_F32, {1, 3, kHeight, width});
  for (size_t i = 0; i < num_pixels; ++i) {
    for (size_t channel = 0; channel < 3; ++channel) {
      const float value = static_cast<float>(scaled.bgr[3 * i + channel]) / 255.0f;
      input.data<float>()[channel * num_pixels + i] = (value - 0.5f) / 0.5f;
    }
  }
  return input;
}

std::vector<std::string> characters_of(const corf::Session& session) {
  const auto metadata = session.metadata();
  const auto listed = metadata.find("character");
  if (listed == metadata.end()) {
    throw std::runtime_error(
        "the model does not say which characters it reads (metadata key "
        "'character')");
  }
  std::vector<std::string> characters = {""};
  std::istringstream lines(listed->second);
  for (std::string line; std::getline(lines, line);) characters.push_back(line);
  characters.emplace_back(" ");
  return characters;
}

Reading decode(const corf::Array& probabilities, const std::vector<std::string>& characters) {
  const corf::Extents& extents = probabilities.extents();
  if (probabilities.dtype() != CORF_F32 || extents.size() != 3 || extents[0] != 1 ||
      extents[2] != static_cast<int64_t>(characters.size())) {
    throw std::runtime_error("the model's output is not [1, steps, " +
                             std::to_string(characters.size()) + "] probabilities");
  }
  const auto num_classes = static_cast<size_t>(extents[2]);
  Reading reading;
  size_t num_read = 0, previous = 0;
  for (int64_t step = 0; step < extents[1]; ++step) {
    const float* row = probabilities.data<float>() + static_cast<size_t>(step) * num_classes;
    const auto best = static_cast<size_t>(std::max_element(row, row + num_classes) - row);
    if (best != 0 && best != previous) {
      reading.text += characters[best];
      reading.confidence += row[best];
      ++num_read;
    }
    previous = best;
  }
  if (num_read > 0) reading.confidence /= static_cast<double>(num_read);
  return reading;
}
