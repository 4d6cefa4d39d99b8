#pragma once
#include <string>

#include "tests/fuzz/choices.h"

namespace corf::fuzz {

/// A plan's text with some changes: another number, a word from elsewhere, a line gone, twice,
/// elsewhere, or a new one that stores or computes something.
std::string damaged_plan(const std::string& text, Choices& choices);

}  // namespace corf::fuzz
