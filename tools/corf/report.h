#pragma once
#include <string>
#include <vector>

#include "explanation.h"

namespace corf::command {

/// What a page tells of a model besides its plan.
struct ReportSubject {
  std::string model;
  corf_machine_info machine = {};
  corf_executable_info executable = {};
  double limit_ms = 0;  // 0: the model was not compiled, nor anything measured
};

/// A page of its own: totals, machine, the workers' time line, the roofline, and the table of
/// groups, which can be sorted. It fits windows from 1,000 pixels on and loads nothing from
/// elsewhere.
std::string to_html(const ReportSubject& subject, const std::vector<MeasuredGroup>& groups);

}  // namespace corf::command
