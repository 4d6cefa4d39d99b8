#pragma once
#include <functional>
#include <map>
#include <vector>

#include "fusion/matrix.h"
#include "lower/kernel_builder.h"
#include "lower/packed_parts.h"
#include "lower/tile_emitter.h"

namespace corf::lower {

/// Work of other units that runs beside the products of a panel, piece by piece.
struct Beside {
  int64_t most_pieces = 0;
  index::Expr pieces;  // that there are
  std::function<std::vector<loop::Stmt>(const index::Expr& piece)> emit;
};

/// Stores an f32 register as the parts that the matrix unit multiplies, part i at `offset` + i *
/// `step`.
void store_parts(loop::Register value, int buffer, const index::Expr& offset, int64_t step,
                 KernelBuilder& builder, std::vector<loop::TileStmt>& body);

/// The parts of a nest on the matrix unit: splitting the lines of a block, and multiplying them by
/// one panel of the other operand, into sums in scratch memory that the nest's tiles then take up.
class MatrixBlock {
 public:
  /// Tiles of rows that one product holds, as the registers of the matrix unit allow.
  static constexpr int64_t kTilesOfRows = 2;

  /// `points`: of each axis, the most in a block. `pieces`: that what follows the sums of a panel
  /// can be cut into.
  MatrixBlock(const fusion::Nest& nest, const fusion::NestSchedule& schedule,
              fusion::MatrixShape shape, PackedParts packed, std::vector<int64_t> points,
              int64_t pieces, KernelBuilder& builder);

  /// How many times channels are split; sums of all panels then wait in memory.
  int64_t num_parts() const;
  /// Whether what follows the sums of a panel can run beside the products of the next one: they are
  /// several, and their sums lie apart.
  bool has_beside() const { return has_beside_; }
  /// `base`: of each axis, where the block begins; `ranges`: of the block's axes.
  std::vector<loop::Stmt> split(const std::vector<index::Expr>& base,
                                const std::map<int, AxisRange>& ranges, const index::Expr& part);
  /// For the panel that begins at base[vector axis], of a run of panels that begins at
  /// `first_lane`, and has `lanes` lanes. `adds`: to what the parts before have left.
  std::vector<loop::Stmt> multiply(const std::vector<index::Expr>& base,
                                   const index::Expr& first_lane, int64_t lanes,
                                   const std::map<int, AxisRange>& ranges, const index::Expr& part,
                                   bool adds, const Beside* beside = nullptr);
  /// How many pieces, the first ones, run beside the products of a whole panel if there are enough.
  index::Expr pieces_beside(const std::map<int, AxisRange>& ranges, int64_t most_pieces) const;
  /// Where tiles find the sums of the block that begins at `base`.
  ReductionPart sums(const std::vector<index::Expr>& base, const index::Expr& first_lane) const;

 private:
  using Expr = index::Expr;

  index::Expr at(const Expr& expr, const std::vector<Expr>& point) const;
  loop::Tile split_tile(const Expr& from, const Expr& line, int64_t lines, const Expr& channels,
                        int64_t num_channels);
  std::vector<loop::Stmt> split_channels(const Expr& from, const Expr& line, int64_t lines,
                                         const Expr& part);
  std::vector<loop::Stmt> split_lines(const Expr& from, const Expr& first, const Expr& count,
                                      const Expr& part);
  /// What the products of one panel have in common.
  struct Panel {
    Expr weights, sums, first_line;  // where they begin
    int64_t lanes = 0;
    Expr part;
    bool adds = false;
    const Beside* beside = nullptr;
  };
  /// Two tiles of rows, or one, and where they begin.
  struct Rows {
    int64_t tiles = 0;
    Expr row, line, number;
  };
  /// The loops of a product over steps of 32 channels.
  struct Steps {
    std::vector<std::pair<int, Expr>> loops;  // variable and end, the outermost first
    Expr line, step;                          // behind the first line; number of the step
    Expr run, block;                          // steps from `run` on lie in one piece
    Expr number;                              // of the step among those of the last part
  };
  struct Product;  // a tile under construction
  std::vector<loop::Stmt> products(const std::map<int, AxisRange>& ranges, const Panel& panel);
  std::vector<loop::Stmt> row_loops(const Expr& count, const Rows& first, const Panel& panel);
  Steps open_steps(const Panel& panel);
  Product open_product(const Rows& rows, const Panel& panel, loop::MatrixPart part);
  loop::Tile whole_product(const Rows& rows, const Panel& panel);
  std::vector<loop::Stmt> product_beside(const Rows& rows, const Panel& panel);
  std::vector<loop::TileStmt> part_products(Product& product, const Steps& steps, size_t from,
                                            size_t to);
  std::vector<loop::TilePrefetch> prefetches(const Panel& panel, const Expr& row, const Expr& run,
                                             const Expr& block, int64_t width) const;
  int64_t last_blocks() const;
  int64_t num_steps() const;
  int64_t pieces_a_step(int64_t most_pieces) const;
  Expr rows_with_gaps(const std::map<int, AxisRange>& ranges) const;
  Expr num_pairs(const std::map<int, AxisRange>& ranges) const;
  int64_t most_pairs() const;
  int64_t row_step(int axis) const;
  std::vector<Expr> first_point(std::vector<Expr> base) const;
  Expr first_line(const std::vector<Expr>& base) const;
  Expr panel_sums(const std::vector<Expr>& base, const Expr& first_lane) const;
  Expr in_lines(const Expr& channels, const Expr& line, int part, const Expr& channel) const;

  const fusion::Nest& nest_;
  const fusion::NestSchedule& schedule_;
  const fusion::MatrixShape shape_;
  const std::vector<int64_t> points_;
  KernelBuilder& builder_;
  const PackedParts packed_;
  bool walks_gaps_ = false, has_beside_ = false;
  int64_t num_lines_ = 0, num_rows_ = 0;
  int64_t part_blocks_ = 0;     // of 32 channels, that are split at a time
  int64_t sum_lanes_ = 0;       // pitch of the sums
  int lines_ = -1, sums_ = -1;  // scratch
  bool splits_ = true;          // if not, whoever makes the lines does
  // Elements between the parts of a line, lines, and blocks of 32 channels.
  int64_t part_step_ = 0, line_step_ = 0, block_step_ = 0;
};

}  // namespace corf::lower
