#pragma once
#include <corf/corf.hpp>
#include <string>
#include <vector>

#include "picture.h"

/// The model's input, f32 [1, 3, 48, width]: planes of blue, green and red in [-1, 1], the picture
/// scaled to 48 rows.
corf::Array to_input(const Picture& picture, const std::string& name);

/// What each class of the model's output stands for: class 0 is CTC's blank, the last the space.
std::vector<std::string> characters_of(const corf::Session& session);

struct Reading {
  std::string text;
  double confidence = 0;  // mean probability of the characters that were read
};

/// Greedy CTC decoding of probabilities [1, steps, classes]: the best class of each step, repeats
/// merged, blanks dropped.
Reading decode(const corf::Array& probabilities, const std::vector<std::string>& characters);
