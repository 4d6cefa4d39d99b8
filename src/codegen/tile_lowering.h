#pragma once
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "codegen/function_state.h"
#include "codegen/scalar_ops.h"
#include "loop/tile_info.h"

namespace corf::codegen {

/// Expands a tile into straight-line vector code. Registers are computed when something asks for
/// one of their points, which keeps few of them alive; accumulators are SSA values that loops
/// carry.
///
/// Lazy evaluation keeps the order of memory: a load that waits is forced before a store to its
/// buffer, a register that a loop uses before that loop.
class TileLowering {
 public:
  /// `assume_guards`: every guard is known to hold, but where the tile alone says otherwise.
  TileLowering(FunctionState& function, const loop::Tile& tile, bool assume_guards = false);
  void lower();
  /// A condition, computed before the tile, under which all of its guards hold at all points; null
  /// if there is none or no need of one.
  llvm::Value* all_guards_hold();

 private:
  /// Part of the vector axis: `lanes` lanes from `start`, of which the first `active` exist.
  struct Piece {
    int64_t start = 0;
    int lanes = 0;
    int active = 0;
  };
  /// A coordinate for each of the tile's axes; the vector axis's is not used.
  using Point = std::vector<int64_t>;
  using SharedValues = std::shared_ptr<const Values>;

  /// An offset over the tile's axes. Where only its linear part depends on them, all points share
  /// one base.
  struct Offset {
    Expr expr;
    Linear linear;  // of the whole expression
    bool per_point = false;
    bool has_base = false;
    Address base;  // without the tile's axes
    int64_t vector_stride = 0;
  };
  struct Location {
    Address address;
    int64_t vector_stride = 0;
    bool per_lane = false;  // every lane has an address of its own
  };
  /// Where a guarded access happens.
  struct Condition {
    bool never = false;
    llvm::Value* scalar = nullptr;  // null: always
    llvm::Value* mask = nullptr;    // null: in all lanes
  };
  struct RegisterState {
    DType dtype = DType::kF32;
    loop::AxisSet axes = 0;  // unrolled ones
    bool along_vector = false;
    std::shared_ptr<Values> values;       // by point of its axes, then piece
    const loop::TileLet* let = nullptr;   // null for accumulators
    std::vector<SharedValues> snapshots;  // of the arguments that are accumulators
    Offset offset;                        // of a load or index
  };
  struct BoundVariable {
    loop::Register reg = 0;
    SharedValues snapshot;  // if it is an accumulator
  };
  /// What has been computed already: a load (of `lanes` lanes, or a scalar), or, for the negative
  /// buffers, something else that is worth sharing.
  struct SharedKey {
    static constexpr int kSplat = -1, kConjunction = -2, kRepeatedPair = -3;
    static constexpr int kFourBytes = -4;  // as `active`
    int buffer = 0;
    llvm::Value* base = nullptr;
    int64_t constant = 0;
    int lanes = 0, active = 0;
    llvm::Value* condition = nullptr;
    llvm::Constant* padding = nullptr;  // where the condition does not hold
    auto operator<=>(const SharedKey&) const = default;
  };

  // Statements (tile_lowering.cpp, tile_update.cpp).
  void execute(const std::vector<loop::TileStmt>& body);
  void execute(const loop::TileLet& let);
  void execute(const loop::TileAccumulator& declaration);
  void execute(const loop::TileUpdate& update);
  void execute(const loop::TileAssign& assign);
  void execute(const loop::TileStore& store);
  void execute(const loop::TilePrefetch& prefetch);
  void execute(const loop::TileBind& bind);
  void execute(const loop::TileLoop& loop);
  std::vector<Point> update_order(const loop::TileUpdate& update, loop::AxisSet acc_axes,
                                  loop::AxisSet extra_axes);
  const RegisterState* streaming_load(loop::Register reg, loop::AxisSet acc_axes,
                                      loop::AxisSet extra_axes) const;
  bool is_table(loop::Register reg) const;
  bool serves_all_pieces(loop::Register reg);
  std::optional<double> coefficient(loop::Register reg, const Point& point) const;
  // Sums of products of bytes (tile_bytes.cpp).
  int byte_axis(const loop::TileUpdate& update, const RegisterState& acc, loop::AxisSet over) const;
  void accumulate_bytes(const loop::TileUpdate& update, const RegisterState& acc, int axis,
                        const std::vector<Point>& order, Values& sums);
  llvm::Value* four_bytes(loop::Register reg, const Point& point, int piece);
  bool is_row_of_bytes(const RegisterState& factor) const;
  llvm::Value* interleaved_rows(loop::Register reg, Point point, int axis, int piece);
  void accumulate_lanes(const loop::TileUpdate& update, llvm::Value*& acc, const Point& point);

  // Registers (tile_lowering.cpp).
  void force(loop::Register reg);
  void force_loads_of(int buffer);
  llvm::Value* value(loop::Register reg, const Point& point, int piece);
  llvm::Value* read(loop::Register reg, const SharedValues& snapshot, const Point& point,
                    int piece);
  /// As a vector of the piece's lanes, or a scalar for piece -1.
  llvm::Value* spread(llvm::Value* value, int piece);
  llvm::Value* lane(llvm::Value* value, int lane);
  llvm::Value* compute(const RegisterState& state, const Point& point, int piece);
  llvm::Value* compute_index(const RegisterState& state, const Point& point, int piece);
  llvm::Value* compute_reduction(const RegisterState& state, const loop::TileReduce& reduce,
                                 const Point& point, int piece);
  llvm::Value* opaque(llvm::Value* vector, DType dtype);
  llvm::Value* reduce_lanes(const RegisterState& arg, const SharedValues& snapshot,
                            const loop::TileReduce& reduce, const Point& point);
  int64_t slot(const RegisterState& state, const Point& point, int piece) const;
  int num_pieces(const RegisterState& state) const {
    return state.along_vector ? static_cast<int>(pieces_.size()) : 1;
  }
  std::vector<Point> points(loop::AxisSet axes) const;
  loop::AxisSet unrolled(loop::AxisSet axes) const { return axes & ~vector_bit_; }

  // Memory (tile_memory.cpp).
  Offset make_offset(const Expr& expr);
  Expr at_point(const Expr& expr, const Point& point, int piece, int lane);
  bool varies_by_lane(const Expr& expr) const;
  Location locate(Offset& offset, int buffer, const Point& point, int piece);
  Address locate_lane(const Offset& offset, int buffer, const Point& point, int piece, int lane);
  bool fails_inside(const loop::Guard& guard) const;
  /// Whether the guards are known to hold at all points.
  bool all_hold(const std::vector<loop::Guard>& guards) const;
  Condition condition(const std::vector<loop::Guard>& guards, const Point& point, int piece);
  /// Of other lanes than the piece's.
  Condition condition(const std::vector<loop::Guard>& guards, const Point& point, int piece,
                      const Piece& part);
  llvm::Value* guard_mask(const loop::Guard& guard, const Expr& at_point, const Point& point,
                          int piece, const Piece& part);
  llvm::Value* lane_condition(const Condition& condition, int lane);
  llvm::Value* compute_load(RegisterState& state, const loop::TileLoad& load, const Point& point,
                            int piece);
  llvm::Value* load_scalar(int buffer, const Address& address, llvm::Value* condition,
                           llvm::Constant* padding);
  llvm::Value* load_vector(int buffer, const Address& address, const Piece& piece,
                           const Condition& condition, llvm::Constant* padding);
  static constexpr size_t kSideBySide = 4;  // values: enough to fill the pipelines between them
  void compute_side_by_side(loop::Register reg, const std::vector<Point>& points,
                            const std::vector<int>& pieces);
  bool store_halves(const loop::TileStore& store, Offset& offset, const Values& values,
                    const Point& point, int piece);
  void store_piece(const loop::TileStore& store, Offset& offset, llvm::Value* value,
                   const Condition& condition, const Point& point, int piece);
  llvm::Value* pointer(int buffer, const Address& address);
  llvm::Value* active_mask(const Piece& piece, llvm::Value* mask);
  void store_vector(int buffer, const Address& address, llvm::Value* value, llvm::Value* mask);

  // Memory whose elements follow one another along another axis than the lanes
  // (tile_transpose.cpp).
  int transposed_axis(const Offset& offset, loop::AxisSet axes,
                      const std::vector<loop::Guard>& guards) const;
  /// The points that go through registers together are the lanes of the group.
  Piece transposed_group(int axis, int64_t from, int lanes, DType dtype) const;
  void store_transposed(const loop::TileStore& store, Offset& offset, loop::AxisSet axes, int axis);
  int interleaved_axis(const loop::TileStore& store, const Offset& offset,
                       loop::AxisSet axes) const;
  void store_interleaved(const loop::TileStore& store, Offset& offset, loop::AxisSet axes,
                         int axis);
  llvm::Value* load_transposed(RegisterState& state, const loop::TileLoad& load, Point point,
                               int piece, int axis);

  // Tables of bytes in registers (tile_byte_tables.cpp).
  const loop::TileConstant* constant_of(loop::Register reg) const;
  llvm::Value* look_up_digits(const RegisterState& state, const Point& point, int piece);
  llvm::Value* look_up_bytes(const Offset& offset, const loop::TileLoad& load, const Point& point,
                             int piece);

  // Memory in pairs of neighbours (tile_pairs.cpp).
  bool repeats_pair(const Offset& offset, int buffer, const Point& point, int piece);
  llvm::Value* load_repeated_pair(int buffer, const Address& address, const Piece& piece,
                                  llvm::Value* condition, llvm::Constant* padding);
  int paired_axis(const Offset& offset, loop::AxisSet axes,
                  const std::vector<loop::Guard>& guards) const;
  llvm::Value* load_paired(RegisterState& state, const loop::TileLoad& load, Point point, int piece,
                           int axis);

  // Lanes that are a few elements apart (tile_strides.cpp).
  bool is_strided(const loop::TileLoad& load, const Location& location, const Piece& piece) const;
  llvm::Value* load_strided(const loop::TileLoad& load, const Location& location,
                            const Point& point, int piece, llvm::Constant* padding);

  llvm::Value* shared(const SharedKey& key);
  void forget_loads_of(int buffer);

  void split_vector_axis();

  FunctionState& f_;
  llvm::IRBuilder<>& builder_;
  const loop::Tile& tile_;
  loop::TileInfo info_;
  ScalarOps ops_;
  bool assume_guards_ = false;
  loop::AxisSet vector_bit_ = 0;
  int vector_var_ = -1;
  std::vector<Piece> pieces_;
  std::vector<RegisterState> registers_;
  std::map<int, BoundVariable> bound_;
  std::vector<loop::Register> waiting_loads_;
  std::vector<std::map<SharedKey, llvm::Value*>> shared_;  // by open loop
  /// The last address (its constant part) that a statement has asked for in a block.
  std::map<std::pair<const loop::TilePrefetch*, llvm::BasicBlock*>, int64_t> prefetched_;
};

/// Lowers the tile; where guards may fail, once for the inside, where none does, and once for the
/// border.
void lower_tile(FunctionState& function, const loop::Tile& tile);

}  // namespace corf::codegen
