#include "loop/visit.h"

#include <algorithm>

namespace corf::loop {
namespace {

class Walk {
 public:
  explicit Walk(const KernelVisitor& visitor) : v_(visitor) {}

  void operator()(std::vector<Stmt>& body) {
    for (Stmt& stmt : body) std::visit(*this, stmt);
  }
  void operator()(std::vector<TileStmt>& body) {
    for (TileStmt& stmt : body) std::visit(*this, stmt);
  }

  void operator()(For& s) { loop(s); }
  void operator()(TileLoop& s) { loop(s); }
  void operator()(Tile& s) {
    if (v_.enter_tile) v_.enter_tile(s);
    for (TileAxis& axis : s.axes) binding(axis.var);
    (*this)(s.body);
  }
  void operator()(TileLet& s) {
    std::visit(*this, s.value);
    reg(s.reg);
  }
  void operator()(TileConstant&) {}
  void operator()(TileTable& s) {
    for (int& var : s.axes) mention(var);
  }
  void operator()(TileLoad& s) { access(s.buffer, s.offset, s.guards); }
  void operator()(TileIndex& s) { expr(s.expr); }
  void operator()(TileApply& s) {
    for (Register& arg : s.args) reg(arg);
  }
  void operator()(TileReduce& s) {
    reg(s.arg);
    mention(s.axis);
  }
  void operator()(TileAccumulator& s) {
    reg(s.init);
    for (int& var : s.axes) mention(var);
    reg(s.reg);
  }
  void operator()(TileUpdate& s) {
    reg(s.a);
    if (s.b >= 0) reg(s.b);
    for (int& var : s.over) mention(var);
    reg(s.acc);
  }
  void operator()(TileAssign& s) {
    reg(s.value);
    reg(s.acc);
  }
  void operator()(TileStore& s) {
    access(s.buffer, s.offset, s.guards);
    reg(s.value);
  }
  void operator()(TilePrefetch& s) {
    if (v_.buffer) v_.buffer(s.buffer);
    expr(s.offset);
  }
  void operator()(TileBind& s) {
    reg(s.reg);
    binding(s.var);
  }

 private:
  template <typename L>
  void loop(L& s) {
    expr(s.lo);
    expr(s.hi);
    binding(s.var);
    (*this)(s.body);
  }
  void access(int& buffer, index::Expr& offset, std::vector<Guard>& guards) {
    if (v_.buffer) v_.buffer(buffer);
    expr(offset);
    for (Guard& guard : guards) expr(guard.expr);
  }
  void binding(int& var) {
    if (v_.binding) v_.binding(var);
  }
  void mention(int& var) {
    if (v_.mention) v_.mention(var);
  }
  void reg(Register& r) {
    if (v_.reg) v_.reg(r);
  }
  void expr(index::Expr& e) {
    if (v_.expr) v_.expr(e);
  }

  const KernelVisitor& v_;
};

}  // namespace

void visit(Kernel& kernel, const KernelVisitor& visitor) { Walk{visitor}(kernel.body); }

void visit(std::vector<TileStmt>& body, const KernelVisitor& visitor) { Walk{visitor}(body); }

int add_variable(Kernel& kernel, const std::string& name) {
  std::vector<std::string>& names = kernel.var_names;
  std::string unique = name;
  for (int number = 1; std::find(names.begin(), names.end(), unique) != names.end(); ++number) {
    unique = name + "_" + std::to_string(number);
  }
  names.push_back(std::move(unique));
  return static_cast<int>(names.size()) - 1;
}

std::vector<Register> used_registers(const TileStmt& stmt) {
  struct Uses {
    std::vector<Register> operator()(const TileLet& s) const { return std::visit(*this, s.value); }
    std::vector<Register> operator()(const TileConstant&) const { return {}; }
    std::vector<Register> operator()(const TileTable&) const { return {}; }
    std::vector<Register> operator()(const TileLoad&) const { return {}; }
    std::vector<Register> operator()(const TileIndex&) const { return {}; }
    std::vector<Register> operator()(const TileApply& s) const { return s.args; }
    std::vector<Register> operator()(const TileReduce& s) const { return {s.arg}; }
    std::vector<Register> operator()(const TileAccumulator& s) const { return {s.init}; }
    std::vector<Register> operator()(const TileUpdate& s) const {
      return s.b >= 0 ? std::vector<Register>{s.acc, s.a, s.b} : std::vector<Register>{s.acc, s.a};
    }
    std::vector<Register> operator()(const TileAssign& s) const { return {s.acc, s.value}; }
    std::vector<Register> operator()(const TileStore& s) const { return {s.value}; }
    std::vector<Register> operator()(const TilePrefetch&) const { return {}; }
    std::vector<Register> operator()(const TileBind& s) const { return {s.reg}; }
    std::vector<Register> operator()(const TileLoop&) const { return {}; }
  };
  return std::visit(Uses{}, stmt);
}

}  // namespace corf::loop
