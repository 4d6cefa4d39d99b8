#pragma once
#include <corf/corf.hpp>
#include <string>
#include <vector>

namespace corf::command {

/// A step with what it computes, as charts name it.
struct ChartStep {
  StepProfile profile;
  size_t group = 0;  // number of its group in the plan
};

/// SVG: a lane for each worker, in which its work on each step is a bar and its waiting a gap.
std::string timeline(const std::vector<ChartStep>& steps);

/// SVG: speed of each kernel over its arithmetic intensity (FLOPs of a direct computation for each
/// byte of its operands), below the roofs of the machine's multiply-adds and memories.
/// Source: Williams, Waterman and Patterson, "Roofline", 2009.
std::string roofline(const std::vector<ChartStep>& steps, const corf_machine_info& machine);

}  // namespace corf::command
