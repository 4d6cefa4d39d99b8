#include "loop/tile_code.h"

#include <set>

namespace corf::loop {
namespace {

class TilePreparation {
 public:
  explicit TilePreparation(const Tile& tile)
      : code_{.info = tile_info(tile), .bound = {}, .body = {}} {
    code_.body = block(tile.body);
  }
  TileCode take() { return std::move(code_); }

 private:
  RegisterUse use(Register reg, AxisSet box) const {
    return {reg, code_.info.registers[reg].dtype,
            projection(code_.info, box, code_.info.register_axes(reg))};
  }
  AccessCode access(int buffer, const Expr& offset, const std::vector<Guard>& guards,
                    AxisSet box) const {
    AccessCode code{buffer, Address(offset, code_.info, box), {}};
    for (const Guard& guard : guards) {
      code.guards.push_back({Address(guard.expr, code_.info, box), guard.lo, guard.hi});
    }
    return code;
  }

  std::vector<TileStmtCode> block(const std::vector<TileStmt>& body) {
    std::vector<TileStmtCode> code;
    for (const TileStmt& stmt : body) {
      if (std::holds_alternative<TilePrefetch>(stmt)) continue;
      TileStmtCode& c = code.emplace_back();
      c.source = &stmt;
      c.box = code_.info.axes_of(stmt);
      c.points = code_.info.num_points(c.box);
      std::visit([&](const auto& s) { fill(s, c); }, stmt);
    }
    return code;
  }

  void fill(const TileLet& s, TileStmtCode& c) {
    // The box of a reduction is its argument's; the target has one axis less.
    c.target = use(s.reg, c.box);
    std::visit([&](const auto& value) { fill_value(value, c); }, s.value);
  }
  void fill_value(const TileConstant& v, TileStmtCode& c) { c.code = ConstantCode{v.f64, v.i64}; }
  void fill_value(const TileTable& v, TileStmtCode& c) {
    tables_.insert(c.target.reg);
    c.code = TableCode{&v.values};
  }
  void fill_value(const TileLoad& v, TileStmtCode& c) {
    c.code = LoadCode{access(v.buffer, v.offset, v.guards, c.box), v.padding};
  }
  void fill_value(const TileIndex& v, TileStmtCode& c) {
    c.code = IndexCode{Address(v.expr, code_.info, c.box)};
  }
  void fill_value(const TileApply& v, TileStmtCode& c) {
    ApplyCode code{v.op, {}};
    for (Register arg : v.args) code.args.push_back(use(arg, c.box));
    c.code = std::move(code);
  }
  void fill_value(const TileReduce& v, TileStmtCode& c) {
    ReduceCode code{v.reduction, use(v.arg, c.box), {}};
    std::vector<bool> seen(c.points, false);
    for (int32_t element : c.target.elements) {
      code.starts.push_back(!seen[element]);
      seen[element] = true;
    }
    c.code = std::move(code);
  }
  void fill(const TileAccumulator& s, TileStmtCode& c) {
    c.target = use(s.reg, c.box);
    c.code = CopyCode{use(s.init, c.box)};
  }
  void fill(const TileAssign& s, TileStmtCode& c) {
    c.target = use(s.acc, c.box);
    c.code = CopyCode{use(s.value, c.box)};
  }
  void fill(const TileUpdate& s, TileStmtCode& c) {
    c.target = use(s.acc, c.box);
    c.code = UpdateCode{s.reduction, use(s.a, c.box), s.b >= 0 ? use(s.b, c.box) : RegisterUse{},
                        tables_.count(s.a) > 0, tables_.count(s.b) > 0};
  }
  void fill(const TileStore& s, TileStmtCode& c) {
    c.code = StoreCode{access(s.buffer, s.offset, s.guards, c.box), use(s.value, c.box)};
  }
  void fill(const TilePrefetch&, TileStmtCode&) {}  // has no effect to interpret
  void fill(const TileBind& s, TileStmtCode& c) {
    c.code = BindCode{s.var, s.reg, c.box != 0};
    if (c.box != 0) code_.bound.push_back({s.var, s.reg, c.box});
  }
  void fill(const TileLoop& s, TileStmtCode& c) {
    auto code = std::make_unique<LoopCode>();
    code->var = s.var;
    code->lo = Address(s.lo);
    code->hi = Address(s.hi);
    code->step = s.step;
    code->body = block(s.body);
    c.code = std::move(code);
  }

  TileCode code_;
  std::set<Register> tables_;
};

std::vector<StmtCode> prepare_block(const std::vector<Stmt>& body) {
  std::vector<StmtCode> code;
  for (const Stmt& stmt : body) {
    if (const auto* tile = std::get_if<Tile>(&stmt)) {
      code.push_back(std::make_unique<TileCode>(TilePreparation(*tile).take()));
      continue;
    }
    const For& loop = std::get<For>(stmt);
    auto c = std::make_unique<ForCode>();
    c->var = loop.var;
    c->lo = Address(loop.lo);
    c->hi = Address(loop.hi);
    c->step = loop.step;
    c->body = prepare_block(loop.body);
    code.push_back(std::move(c));
  }
  return code;
}

}  // namespace

KernelCode prepare(const Kernel& kernel) { return {&kernel, prepare_block(kernel.body)}; }

}  // namespace corf::loop
