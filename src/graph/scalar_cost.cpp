#include "graph/scalar_cost.h"

namespace corf::graph {

double num_instructions(ScalarOp op) {
  switch (op) {
    case ScalarOp::kExp:
      return 17;
    case ScalarOp::kErf:
    case ScalarOp::kTanh:
    case ScalarOp::kSigmoid:
      return 27;
    case ScalarOp::kLog:
    case ScalarOp::kSin:
    case ScalarOp::kCos:
      return 40;
    case ScalarOp::kPow:
      return 70;
    case ScalarOp::kDiv:
    case ScalarOp::kSqrt:
      return 10;
    default:
      return 1;
  }
}

double num_instructions(const ScalarBody& body) {
  double count = 0;
  for (const ScalarNode& node : body.nodes) count += num_instructions(node.op);
  return count;
}

}  // namespace corf::graph
