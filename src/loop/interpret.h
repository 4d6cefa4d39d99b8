#pragma once
#include <functional>
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

/// Runs a routine: dense operands of the call's shapes; writes the outputs' elements.
using Routine = std::function<Status(const RoutineCall& call, const std::vector<Tensor>& inputs,
                                     std::vector<Tensor>& outputs)>;

/// Runs the program point by point, which defines what it means. Inputs and outputs are by their
/// position and flat. Scratch, arena and outputs start as NaN (integers as 0xA5 bytes).
/// Reductions go through their axes in ascending order, the last axis fastest.
/// Errors: kInternal naming kernel and statement for an address outside of its buffer, a store
/// into a buffer that is not declared as written, or a partition that touches what another one of
/// the same call writes; what verify finds; kInvalidArgument for inputs that do not fit;
/// kUnsupported for a routine where none is given.
Result<std::vector<Tensor>> interpret(const Program& program, const std::vector<Tensor>& inputs,
                                      InterpretReport* report = nullptr,
                                      const Routine& routine = {});

}  // namespace corf::loop
