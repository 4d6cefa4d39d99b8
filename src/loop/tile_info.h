#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "loop/program.h"

namespace corf::loop {

/// Bit i: the i-th of the tile's axes.
using AxisSet = uint64_t;
constexpr int kMaxTileAxes = 32;

/// What a tile's registers are: their boxes and types.
struct TileInfo {
  struct RegisterInfo {
    bool defined = false;
    bool accumulator = false;
    DType dtype = DType::kF32;
    AxisSet axes = 0;
  };

  std::vector<RegisterInfo> registers;   // by number
  std::map<int, AxisSet> variable_axes;  // of the tile's axes and of bound variables
  std::vector<int64_t> extents;          // by axis
  std::vector<int> axis_variables;       // by axis
  int vector_axis = -1;                  // position among the axes

  explicit TileInfo(const Tile& tile);

  /// Records what the statement defines, from what was recorded before it. A loop itself defines
  /// nothing; its body is not entered.
  void define(const TileStmt& stmt);

  /// The axes that the expression varies over.
  AxisSet axes_of(const Expr& expr) const;
  /// The box of points that a load, store or other statement is executed for.
  AxisSet axes_of(const TileStmt& stmt) const;
  AxisSet register_axes(Register reg) const;
  /// Number of points of the box.
  int64_t num_points(AxisSet axes) const;
  AxisSet axes_of(const std::vector<int>& variables) const;

 private:
  AxisSet axes_of(const Expr& offset, const std::vector<Guard>& guards) const;
};

/// The tile with all of its statements recorded.
TileInfo tile_info(const Tile& tile);

}  // namespace corf::loop
