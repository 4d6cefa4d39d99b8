#include "loop/renumber.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "loop/text.h"
#include "loop/visit.h"
#include "support/assert.h"

namespace corf::loop {

Kernel renumber_variables(const Kernel& kernel, const std::vector<int>& new_ids) {
  Kernel result = kernel;
  const auto rename = [&](int& var) {
    CORF_ASSERT(new_ids[var] >= 0, "a variable in use is dropped");
    var = new_ids[var];
  };
  KernelVisitor visitor;
  visitor.binding = rename;
  visitor.mention = rename;
  visitor.expr = [&](Expr& expr) {
    expr = index::substitute(expr, [&](int var) -> std::optional<Expr> {
      rename(var);
      return Expr::variable(var);
    });
  };
  visit(result, visitor);
  result.var_names.assign(1 + *std::max_element(new_ids.begin(), new_ids.end()), "");
  for (size_t i = 0; i < new_ids.size(); ++i) {
    if (new_ids[i] >= 0) result.var_names[new_ids[i]] = kernel.var_names[i];
  }
  return result;
}

Kernel canonicalize(const Kernel& kernel) {
  std::vector<int> new_ids(kernel.var_names.size(), -1);
  int next = 0;
  for (; next <= kernel.num_params; ++next) new_ids[next] = next;
  std::map<Register, Register> registers;
  KernelVisitor visitor;
  visitor.binding = [&](int& var) { new_ids[var] = next++; };
  visitor.enter_tile = [&](Tile&) { registers.clear(); };
  visitor.reg = [&](Register& reg) {
    reg = registers.emplace(reg, static_cast<Register>(registers.size())).first->second;
  };
  Kernel result = kernel;
  visit(result, visitor);
  return renumber_variables(result, new_ids);
}

std::string anonymous_text(const Kernel& kernel) {
  Kernel anonymous = canonicalize(kernel);
  anonymous.name = "k";
  for (size_t i = 0; i < anonymous.var_names.size(); ++i) {
    anonymous.var_names[i] = fmt::format("v{}", i);
  }
  for (size_t i = 0; i < anonymous.buffers.size(); ++i) {
    anonymous.buffers[i].name = fmt::format("b{}", i);
    anonymous.buffers[i].size_elems = 0;
  }
  for (size_t i = 0; i < anonymous.scratch.size(); ++i) {
    anonymous.scratch[i].name = fmt::format("s{}", i);
  }
  return to_string(anonymous);
}

}  // namespace corf::loop
