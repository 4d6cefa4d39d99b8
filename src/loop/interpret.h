#pragma once
#include <vector>

#include "loop/program.h"
#include "support/result.h"

namespace corf::loop {

struct InterpretReport {
  /// For each program buffer: the most often that one of its elements was stored in this run
  /// (an accumulating store counts too), and how many elements were stored at all.
  std::vector<int64_t> max_stores_per_element;
  std::vector<int64_t> elements_stored;
  int64_t scratch_bytes = 0;  // largest of a partition
};

/// Runs the program point by point, which defines what it means. Scratch and arena start as NaN;
/// an address outside of its buffer is an error that names kernel and statement.
Result<std::vector<Tensor>> interpret(const Program& program, const std::vector<Tensor>& inputs,
                                      InterpretReport* report = nullptr);

}  // namespace corf::loop
