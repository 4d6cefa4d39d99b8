#pragma once
#include <optional>
#include <vector>

#include "fusion/plan.h"

namespace corf::fusion {

/// f32 numbers are sums of three bfloat16 numbers, each the upper half of what is left. A product
/// is taken as the six largest of the nine products of parts, each of them exact, summed up in f32:
/// what is left out is below 2^-21 of the product.
constexpr int kParts = 3;
struct PartProduct {
  int across = 0, along = 0;  // 0: the largest part
};
/// The smallest first; neighbours share a factor.
constexpr PartProduct kPartProducts[] = {{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 2}, {0, 0}};

/// What the matrix unit multiplies at once: 16 rows by 16 lanes over 32 channels.
constexpr int64_t kMatrixRows = 16, kMatrixLanes = 16, kMatrixChannels = 32;

/// A contraction as products of matrices. The operand that varies along the rows is split into
/// parts line by line: a line holds the channels of one point, and the lines of a block that any
/// row needs follow one another (a convolution's neighbouring rows share most of theirs).
/// Element c of line i is at `pitch * i + channel_step * c`.
struct MatrixShape {
  int across = -1, along = -1;  // loads: the one that is split line by line, the packed one
  int channel_axis = -1;        // reduction axis that runs along the lines
  int64_t channels = 0, channel_step = 1;
  bool packs = false;          // the kernel packs: no constant
  std::vector<int> inner;      // the parallel axes of a block, outermost first
  int64_t pitch = 0;           // elements between lines
  std::vector<int64_t> lines;  // by axis: that a step moves; 0 of axes outside of the block
  int64_t row_lines = 1;       // between the rows of a product
  int row_axis = -1;           // whose points are such rows
  /// Of a ring that turns: lines lie in rows of `stream_lines`, row y at y mod turning_rows.
  struct Turning {
    Expr row, rest;  // over the nest's axes; the address without the row
    int64_t turning_rows = 0, stream_lines = 0;
    std::vector<int64_t> rows;  // by axis: that a step moves
  };
  std::optional<Turning> turning;

  int64_t channel_blocks() const;  // of kMatrixChannels, the last one filled up
  int64_t padded_channels() const { return channel_blocks() * kMatrixChannels; }
  /// Lines of a block that has so many points along each axis.
  int64_t num_lines(const std::vector<int64_t>& points) const;
  /// Whether all rows of a block are walked as one, the gaps between image rows included; if not,
  /// each run of `row_axis` is walked on its own.
  bool walks_gaps(const std::vector<int64_t>& points) const;
  /// Tiles of kMatrixRows that the block takes.
  int64_t row_tiles(const std::vector<int64_t>& points) const;

 private:
  int64_t tiles_with_gaps(const std::vector<int64_t>& points) const;
  int64_t tiles_of_runs(const std::vector<int64_t>& points) const;
};

/// What a schedule for the matrix unit does with so many points along each axis.
struct MatrixWork {
  double products = 0;     // of the unit, each of kMatrixRows by kMatrixLanes
  double sums = 1;         // independent ones at a time
  double vectors = 0;      // of 16 numbers that are split into parts
  double results = 0;      // vectors of sums that are taken up again
  double passes = 0;       // over the packed operand, one for each block
  double panel_bytes = 0;  // of the packed operand: its parts
  double packed = 0;       // vectors of 16 numbers that the kernel packs in a pass
  double block_bytes = 0;  // of what is split at a time, and of the sums that wait for all of it
};
MatrixWork matrix_work(const Nest& nest, const NestSchedule& schedule, const MatrixShape& shape,
                       const std::vector<int64_t>& points);

/// Whether a stage's kernel packs in front of the strips: of the loops that the stages share, only
/// those around the strips walk the packed operand. If not, each panel is packed for each block.
bool packs_before_strips(const Nest& nest, const NestSchedule& schedule, const MatrixShape& shape);

/// nullopt if the contraction has no such form under the schedule's orders.
std::optional<MatrixShape> matrix_shape(const Nest& nest, const StorageView& storage,
                                        const NestSchedule& schedule);

/// The parallel axes that the packed operand has besides the vector axis, outermost first.
std::vector<int> packed_axes(const Nest& nest, const NestSchedule& schedule,
                             const MatrixShape& shape);

/// A schedule for the matrix unit fits its nest. Errors: kInvalidArgument.
Status check_matrix(const Nest& nest, const StorageView& storage, const NestSchedule& schedule);

}  // namespace corf::fusion
