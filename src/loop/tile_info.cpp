#include "loop/tile_info.h"

#include "support/assert.h"

namespace corf::loop {
namespace {

void define_all(const std::vector<TileStmt>& body, TileInfo& info) {
  for (const TileStmt& stmt : body) {
    info.define(stmt);
    if (const auto* loop = std::get_if<TileLoop>(&stmt)) define_all(loop->body, info);
  }
}

}  // namespace

TileInfo::TileInfo(const Tile& tile) {
  for (const TileAxis& axis : tile.axes) {
    if (axis.vector) vector_axis = static_cast<int>(extents.size());
    variable_axes[axis.var] = AxisSet{1} << extents.size();
    extents.push_back(axis.extent);
    axis_variables.push_back(axis.var);
  }
}

AxisSet TileInfo::axes_of(const Expr& expr) const {
  std::vector<bool> used;
  index::collect_variables(expr, used);
  AxisSet axes = 0;
  for (const auto& [var, set] : variable_axes) {
    if (var < static_cast<int>(used.size()) && used[var]) axes |= set;
  }
  return axes;
}

AxisSet TileInfo::axes_of(const std::vector<int>& variables) const {
  AxisSet axes = 0;
  for (int var : variables) {
    if (auto it = variable_axes.find(var); it != variable_axes.end()) axes |= it->second;
  }
  return axes;
}

AxisSet TileInfo::axes_of(const Expr& offset, const std::vector<Guard>& guards) const {
  AxisSet axes = axes_of(offset);
  for (const Guard& guard : guards) axes |= axes_of(guard.expr);
  return axes;
}

AxisSet TileInfo::register_axes(Register reg) const {
  return reg >= 0 && reg < static_cast<int>(registers.size()) ? registers[reg].axes : 0;
}

AxisSet TileInfo::axes_of(const TileStmt& stmt) const {
  struct Visitor {
    const TileInfo& info;
    AxisSet operator()(const TileLet& s) const { return std::visit(*this, s.value); }
    AxisSet operator()(const TileConstant&) const { return 0; }
    AxisSet operator()(const TileTable& s) const { return info.axes_of(s.axes); }
    AxisSet operator()(const TileLoad& s) const { return info.axes_of(s.offset, s.guards); }
    AxisSet operator()(const TileIndex& s) const { return info.axes_of(s.expr); }
    AxisSet operator()(const TileApply& s) const {
      AxisSet axes = 0;
      for (Register arg : s.args) axes |= info.register_axes(arg);
      return axes;
    }
    AxisSet operator()(const TileReduce& s) const { return info.register_axes(s.arg); }
    AxisSet operator()(const TileAccumulator& s) const { return info.axes_of(s.axes); }
    AxisSet operator()(const TileUpdate& s) const {
      return info.register_axes(s.acc) | info.register_axes(s.a) |
             (s.b >= 0 ? info.register_axes(s.b) : 0) | info.axes_of(s.over);
    }
    AxisSet operator()(const TileAssign& s) const {
      return info.register_axes(s.acc) | info.register_axes(s.value);
    }
    AxisSet operator()(const TileStore& s) const {
      return info.axes_of(s.offset, s.guards) | info.register_axes(s.value);
    }
    AxisSet operator()(const TilePrefetch&) const { return 0; }
    AxisSet operator()(const TileBind& s) const { return info.register_axes(s.reg); }
    AxisSet operator()(const TileLoop&) const { return 0; }
  };
  return std::visit(Visitor{*this}, stmt);
}

int64_t TileInfo::num_points(AxisSet axes) const {
  int64_t points = 1;
  for (size_t i = 0; i < extents.size(); ++i) {
    if (axes >> i & 1) points *= extents[i];
  }
  return points;
}

void TileInfo::define(const TileStmt& stmt) {
  const auto record = [&](Register reg, DType dtype, AxisSet axes, bool accumulator) {
    CORF_ASSERT(reg >= 0, "negative register");
    if (reg >= static_cast<int>(registers.size())) registers.resize(reg + 1);
    registers[reg] = {true, accumulator, dtype, axes};
  };
  if (const auto* let = std::get_if<TileLet>(&stmt)) {
    AxisSet axes = axes_of(stmt);
    if (const auto* reduce = std::get_if<TileReduce>(&let->value)) {
      if (auto it = variable_axes.find(reduce->axis); it != variable_axes.end()) {
        axes &= ~it->second;
      }
    }
    record(let->reg, let->dtype, axes, false);
  } else if (const auto* acc = std::get_if<TileAccumulator>(&stmt)) {
    record(acc->reg, acc->dtype, axes_of(stmt), true);
  } else if (const auto* bind = std::get_if<TileBind>(&stmt)) {
    variable_axes[bind->var] = register_axes(bind->reg);
  }
}

TileInfo tile_info(const Tile& tile) {
  TileInfo info(tile);
  define_all(tile.body, info);
  return info;
}

}  // namespace corf::loop
