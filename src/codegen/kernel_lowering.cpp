#include "codegen/kernel_lowering.h"

#include "codegen/function_state.h"
#include "codegen/matrix_tile.h"
#include "codegen/tile_lowering.h"
#include "support/budget.h"

namespace corf::codegen {
namespace {

void lower(const std::vector<loop::Stmt>& body, FunctionState& function);

void lower(const loop::Tile& tile, FunctionState& function) {
  look_at_budget();
  if (tile.matrix && function.isa.has_matrix_unit()) {
    lower_matrix_tile(function, tile);
  } else {
    lower_tile(function, tile);
  }
}

void lower(const loop::For& loop, FunctionState& function) {
  const bool uses_unit = has_matrix_tile(loop.body);
  auto forget = [&] {
    if (uses_unit) function.held_by_matrix_unit = {};
  };
  forget();
  function.emit_loop(loop.var, loop.lo, loop.hi, loop.step, 1, {}, [&](Values) {
    forget();
    lower(loop.body, function);
    return Values{};
  });
  forget();
}

void lower(const std::vector<loop::Stmt>& body, FunctionState& function) {
  for (const loop::Stmt& stmt : body) {
    std::visit([&](const auto& s) { lower(s, function); }, stmt);
  }
}

}  // namespace

void lower_kernel(const loop::Kernel& kernel, const IsaTraits& isa, const std::string& symbol,
                  llvm::Module& module) {
  FunctionState function(module, kernel, isa, symbol);
  const bool matrix = uses_matrix_unit(kernel, isa);
  if (matrix) open_matrix_unit(function);
  lower(kernel.body, function);
  if (matrix) close_matrix_unit(function);
  function.finish();
}

}  // namespace corf::codegen
