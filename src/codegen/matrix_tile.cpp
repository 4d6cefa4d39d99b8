#include "codegen/matrix_tile.h"

#include <array>
#include <llvm/IR/Constants.h>
#include <llvm/IR/IntrinsicsX86.h>

#include "codegen/value_types.h"
#include "support/assert.h"

namespace corf::codegen {

using loop::MatrixPart;
using loop::Register;

namespace {

constexpr int kRegisters = 8, kRows = 16, kRowBytes = 64;
/// Registers: four sums, two tiles of rows, two of lanes.
constexpr int kFirstOfRows = 4, kFirstOfLanes = 6;

class MatrixTileLowering {
 public:
  MatrixTileLowering(FunctionState& function, const loop::Tile& tile)
      : f_(function), builder_(function.builder), tile_(tile) {}

  void lower() {
    if (tile_.part != MatrixPart::kStep) forget();
    execute(tile_.body);
  }

 private:
  using Load = MatrixLoad;

  void execute(const std::vector<loop::TileStmt>& body) {
    for (const loop::TileStmt& stmt : body) {
      std::visit([this](const auto& s) { execute(s); }, stmt);
    }
  }

  void execute(const loop::TileLet& let) {
    if (const auto* load = std::get_if<loop::TileLoad>(&let.value)) loads_[let.reg] = load;
  }

  void execute(const loop::TileAccumulator& sum) {
    for (const loop::TileAxis& axis : tile_.axes) {
      if (axis.var == sum.axes[0]) rows_ = axis;
      if (axis.var == sum.axes[1]) lanes_ = axis;
    }
    CORF_ASSERT(rows_.extent <= 2 * kRows && lanes_.extent <= 2 * kRows, "too large a product");
    if (tile_.part == MatrixPart::kStep || tile_.part == MatrixPart::kEnd) return;
    const auto begun = loads_.find(sum.init);
    if (begun != loads_.end()) {
      const loop::TileLoad& load = *begun->second;
      move_sums(llvm::Intrinsic::x86_tileloadd64, load.buffer, load.offset);
      return;
    }
    for (int i = 0; i < row_tiles(); ++i) {
      for (int j = 0; j < lane_tiles(); ++j) {
        call(llvm::Intrinsic::x86_tilezero, {number(sum_of(i, j))});
      }
    }
  }

  void execute(const loop::TileLoop& loop) {
    forget();
    f_.emit_loop(loop.var, loop.lo, loop.hi, loop.step, 1, {}, [&](Values) {
      forget();
      execute(loop.body);
      return Values{};
    });
    forget();
  }

  void execute(const loop::TileUpdate& update) {
    if (const Load load = resolve(*loads_.at(update.a)); hold(0, load)) {
      for (int i = 0; i < row_tiles(); ++i) {
        load_tile(kFirstOfRows + i, load, i * kRows * load.row_step, load.row_step);
      }
    }
    if (const Load load = resolve(*loads_.at(update.b)); hold(1, load)) {
      for (int j = 0; j < lane_tiles(); ++j) {
        load_tile(kFirstOfLanes + j, load, j * kRows * load.lane_step, load.pair_step);
      }
    }
    for (int i = 0; i < row_tiles(); ++i) {
      for (int j = 0; j < lane_tiles(); ++j) {
        call(llvm::Intrinsic::x86_tdpbf16ps,
             {number(sum_of(i, j)), number(kFirstOfRows + i), number(kFirstOfLanes + j)});
      }
    }
  }

  void execute(const loop::TileStore& store) {
    if (tile_.part == MatrixPart::kBegin || tile_.part == MatrixPart::kStep) return;
    move_sums(llvm::Intrinsic::x86_tilestored64, store.buffer, store.offset);
  }

  /// Between memory and the accumulators.
  void move_sums(llvm::Intrinsic::ID id, int buffer, const Expr& at) {
    Linear offset = index::to_linear(at);
    const int64_t row_step = take(offset, rows_.var), lane_step = take(offset, lanes_.var);
    CORF_ASSERT(lane_step == 1, "sums lie lane by lane");
    for (int i = 0; i < row_tiles(); ++i) {
      for (int j = 0; j < lane_tiles(); ++j) {
        llvm::Value* tile = pointer(buffer, offset, i * kRows * row_step + j * kRows);
        call(id, {number(sum_of(i, j)), tile, bytes(buffer, row_step)});
      }
    }
  }

  void execute(const loop::TileAssign&) { unknown(); }
  void execute(const loop::TilePrefetch& prefetch) {
    constexpr int kRead = 0, kSecondLevel = 2, kData = 1;
    llvm::Value* from = pointer(prefetch.buffer, index::to_linear(prefetch.offset), 0);
    builder_.CreateIntrinsic(llvm::Intrinsic::prefetch, {from->getType()},
                             {from, builder_.getInt32(kRead), builder_.getInt32(kSecondLevel),
                              builder_.getInt32(kData)});
  }
  void execute(const loop::TileBind&) { unknown(); }
  static void unknown() { CORF_ASSERT(false, "no statement of a tile for the matrix unit"); }

  int row_tiles() const { return static_cast<int>(rows_.extent / kRows); }
  int lane_tiles() const { return static_cast<int>(lanes_.extent / kRows); }
  int sum_of(int i, int j) const { return i * lane_tiles() + j; }
  void forget() { f_.held_by_matrix_unit = {}; }

  /// Whether the load is not there already: of rows or of lanes.
  bool hold(int side, const Load& load) {
    std::optional<Load>& held = f_.held_by_matrix_unit[side];
    if (held && *held == load) return false;
    held = load;
    return true;
  }

  static int64_t take(Linear& linear, int var) {
    const int64_t step = linear.coefficient(var);
    linear.coefficients.erase(var);
    return step;
  }

  /// Of the tile's other axes the one of step 1 is a channel of a pair, the other the pair.
  Load resolve(const loop::TileLoad& load) const {
    Load result;
    result.buffer = load.buffer;
    result.offset = index::to_linear(load.offset);
    for (const loop::TileAxis& axis : tile_.axes) {
      const int64_t step = take(result.offset, axis.var);
      if (axis.var == rows_.var) {
        result.row_step = step;
      } else if (axis.var == lanes_.var) {
        result.lane_step = step;
      } else if (step != 1) {
        result.pair_step = step;
      }
    }
    return result;
  }

  void load_tile(int reg, const Load& load, int64_t add, int64_t step) {
    call(llvm::Intrinsic::x86_tileloadd64,
         {number(reg), pointer(load.buffer, load.offset, add), bytes(load.buffer, step)});
  }

  llvm::Value* pointer(int buffer, const Linear& offset, int64_t add) {
    llvm::Type* elem = memory_type(f_.context(), f_.kernel.buffer_dtype(buffer));
    const Address address = f_.index.address(f_.buffer(buffer), elem, offset);
    const auto constant = static_cast<uint64_t>(address.constant + add);
    if (constant == 0) return address.base;
    return builder_.CreateGEP(elem, address.base, builder_.getInt64(constant));
  }
  llvm::Value* bytes(int buffer, int64_t elems) {
    const int64_t size = size_bytes(f_.kernel.buffer_dtype(buffer));
    return builder_.getInt64(static_cast<uint64_t>(elems * size));
  }
  llvm::Value* number(int reg) { return builder_.getInt8(static_cast<uint8_t>(reg)); }
  void call(llvm::Intrinsic::ID id, std::vector<llvm::Value*> arguments) {
    builder_.CreateIntrinsic(id, llvm::ArrayRef<llvm::Type*>{}, arguments);
  }

  FunctionState& f_;
  llvm::IRBuilder<>& builder_;
  const loop::Tile& tile_;
  loop::TileAxis rows_, lanes_;
  std::map<Register, const loop::TileLoad*> loads_;
};

}  // namespace

bool has_matrix_tile(const std::vector<loop::Stmt>& body) {
  for (const loop::Stmt& stmt : body) {
    if (const auto* tile = std::get_if<loop::Tile>(&stmt)) {
      if (tile->matrix) return true;
    } else if (has_matrix_tile(std::get<loop::For>(stmt).body)) {
      return true;
    }
  }
  return false;
}

void lower_matrix_tile(FunctionState& function, const loop::Tile& tile) {
  MatrixTileLowering(function, tile).lower();
}

bool uses_matrix_unit(const loop::Kernel& kernel, const IsaTraits& isa) {
  return isa.has_matrix_unit() && has_matrix_tile(kernel.body);
}

void open_matrix_unit(FunctionState& function) {
  // Palette 1; from byte 16 on the bytes of a row of each register, from byte 48 on its rows.
  std::array<uint8_t, 64> shapes{};
  shapes[0] = 1;
  for (size_t reg = 0; reg < kRegisters; ++reg) {
    shapes[16 + 2 * reg] = kRowBytes;
    shapes[48 + reg] = kRows;
  }
  auto* data = llvm::ConstantDataArray::get(function.context(), shapes);
  auto* global = new llvm::GlobalVariable(function.module, data->getType(), true,
                                          llvm::GlobalValue::PrivateLinkage, data, "shapes");
  global->setAlignment(llvm::Align(64));
  const std::array<llvm::Value*, 1> arguments{global};
  function.builder.CreateIntrinsic(llvm::Intrinsic::x86_ldtilecfg, llvm::ArrayRef<llvm::Type*>{},
                                   arguments);
}

void close_matrix_unit(FunctionState& function) {
  const llvm::ArrayRef<llvm::Type*> types;
  function.builder.CreateIntrinsic(llvm::Intrinsic::x86_tilerelease, types,
                                   llvm::ArrayRef<llvm::Value*>{});
}

}  // namespace corf::codegen
