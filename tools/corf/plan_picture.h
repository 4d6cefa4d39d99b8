#pragma once
#include <string>
#include <vector>

#include "explanation.h"

namespace corf::command {

/// SVG: a box for each group, in which its operators stand in a row; between two of them how the
/// value gets from one to the other. What reaches a group through memory comes from above.
std::string to_picture(const std::string& model, const std::vector<MeasuredGroup>& groups);

}  // namespace corf::command
