#pragma once
#include <string>
#include <vector>

#include "driver/compile.h"

namespace corf::driver {

/// How a value gets from one operator to another, and why so.
struct ExplainedLink {
  std::string producer, consumer;  // nodes
  std::string mapping;             // of mapping::to_string(MappingKind)
  std::string strategy;            // of fusion::to_string(LinkStrategy)
  std::string why;
};

/// A group of the plan: what runs as one kernel.
struct ExplainedGroup {
  std::vector<std::string> nodes;
  double predicted_cycles = 0;       // of the slowest worker; 0 for copies and routines
  int num_steps = 0;                 // of the program
  std::vector<ExplainedLink> links;  // to its nodes, in graph order
};

/// The plan that compile would carry out with these options, group by group. Where the results of
/// one group are read by the next, both are tried as one kernel to tell why they are not.
/// Source: design section 4 "Explain". Test: tests/command/explain_test.py
Result<std::vector<ExplainedGroup>> explain(const onnx::Model& model,
                                            const CompileOptions& options);

}  // namespace corf::driver
