#include "codegen/tile_uses.h"

namespace corf::codegen {
namespace {

class Collector {
 public:
  TileUses uses;
  std::set<int> buffers;
  std::set<loop::Register> defined;
  std::set<int> bound;

  void visit(const std::vector<loop::TileStmt>& body) {
    for (const loop::TileStmt& stmt : body) {
      std::visit([this](const auto& s) { visit(s); }, stmt);
    }
  }

 private:
  void visit(const index::Expr& expr) {
    std::vector<bool> used;
    index::collect_variables(expr, used);
    for (size_t id = 0; id < used.size(); ++id) {
      if (used[id]) uses.variables.insert(static_cast<int>(id));
    }
  }
  void visit(const std::vector<loop::Guard>& guards) {
    for (const loop::Guard& guard : guards) {
      uses.guards.push_back(&guard);
      visit(guard.expr);
    }
  }
  void visit(const loop::TileConstant&) {}
  void visit(const loop::TileTable&) {}
  void visit(const loop::TileLoad& load) {
    buffers.insert(load.buffer);
    visit(load.offset);
    visit(load.guards);
  }
  void visit(const loop::TileIndex& index) { visit(index.expr); }
  void visit(const loop::TileApply& apply) {
    uses.registers.insert(apply.args.begin(), apply.args.end());
  }
  void visit(const loop::TileReduce& reduce) { uses.registers.insert(reduce.arg); }
  void visit(const loop::TileLet& let) {
    defined.insert(let.reg);
    std::visit([this](const auto& value) { visit(value); }, let.value);
  }
  void visit(const loop::TileAccumulator& declaration) {
    defined.insert(declaration.reg);
    uses.registers.insert(declaration.init);
  }
  void visit(const loop::TileUpdate& update) {
    uses.changed_accumulators.insert(update.acc);
    uses.registers.insert(update.a);
    if (update.b >= 0) uses.registers.insert(update.b);
  }
  void visit(const loop::TileAssign& assign) {
    uses.changed_accumulators.insert(assign.acc);
    uses.registers.insert(assign.value);
  }
  void visit(const loop::TileStore& store) {
    buffers.insert(store.buffer);
    uses.stored_buffers.insert(store.buffer);
    uses.registers.insert(store.value);
    visit(store.offset);
    visit(store.guards);
  }
  void visit(const loop::TilePrefetch& prefetch) { visit(prefetch.offset); }
  void visit(const loop::TileBind& bind) {
    bound.insert(bind.var);
    uses.registers.insert(bind.reg);
  }
  void visit(const loop::TileLoop& loop) {
    visit(loop.lo);
    visit(loop.hi);
    visit(loop.body);
  }
};

}  // namespace

TileUses collect_uses(const std::vector<loop::TileStmt>& body) {
  Collector collector;
  collector.visit(body);
  for (loop::Register reg : collector.defined) {
    collector.uses.registers.erase(reg);
    collector.uses.changed_accumulators.erase(reg);
  }
  for (int var : collector.bound) collector.uses.variables.erase(var);
  return std::move(collector.uses);
}

std::set<int> used_buffers(const std::vector<loop::TileStmt>& body) {
  Collector collector;
  collector.visit(body);
  return std::move(collector.buffers);
}

}  // namespace corf::codegen
