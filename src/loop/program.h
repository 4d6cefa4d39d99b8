#pragma once
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "graph/scalar.h"
#include "index/expr.h"
#include "tensor/tensor.h"

/// The tile-level loop IR. A program is a sequence of calls of kernels over flat buffers, with a
/// barrier after each. A kernel is a nest of serial loops whose leaves are tiles: small boxes of
/// points with constant extents that are computed in registers, one axis perhaps along the vector.
///
/// Semantics above the nodes: addresses are in elements and must lie inside of the buffer; loads
/// and stores of one tile statement happen for all its points at once, statements in order; no two
/// partitions of a call write the same element, nor does one read what another writes. f32
/// arithmetic is IEEE-754 without re-association; an update with two factors is fused
/// (one rounding) where the ISA has FMA.
namespace corf::loop {

using index::Expr;

// ---- tiles -----------------------------------------------------------------------------------

/// A register: a value for each point of the box spanned by some of the tile's axes. Registers are
/// assigned once, accumulators excepted. Its axes are those that its definition depends on.
using Register = int;

/// True where lo <= expr < hi.
struct Guard {
  Expr expr;
  int64_t lo = 0;
  int64_t hi = 0;
};

struct TileConstant {
  double f64 = 0;
  int64_t i64 = 0;
};  // by the register's dtype
/// Constants over some of the tile's axes, the vector axis excepted: values[i] belongs to the i-th
/// point, the last axis fastest. As a factor of a sum a zero is no term: nothing is added there,
/// not even where the other factor is infinite or NaN. Values are finite and exact in the
/// register's type, which is a float.
struct TileTable {
  std::vector<int> axes;  // variables of tile axes, in the tile's order
  std::vector<double> values;
};
struct TileLoad {
  int buffer = 0;             // of the kernel's list of buffers
  Expr offset;                // over the kernel's variables, parameters and the tile's axes
  std::vector<Guard> guards;  // where one fails nothing is read and the value is `padding`
  double padding = 0;
};
struct TileIndex {
  Expr expr;
};  // an integer expression as a value (i64)
struct TileApply {
  graph::ScalarOp op = graph::ScalarOp::kAdd;  // not kOperand, kConstant, kIndex
  std::vector<Register> args;
};
/// Combines a register over one of its axes (e.g. lanes after a vectorised reduction).
enum class Reduction : uint8_t { kSum, kProduct, kMin, kMax };
struct TileReduce {
  Reduction reduction = Reduction::kSum;
  Register arg = 0;
  int axis = 0;  // variable id of the tile axis
};

/// reg = op
struct TileLet {
  Register reg = 0;
  DType dtype = DType::kF32;
  std::variant<TileConstant, TileTable, TileLoad, TileIndex, TileApply, TileReduce> value;
};
/// Declares accumulator `reg` over `axes` with the initial value of register `init`.
struct TileAccumulator {
  Register reg = 0;
  DType dtype = DType::kF32;
  std::vector<int> axes;
  Register init = 0;
};
/// acc = combine(acc, a), or acc + a * b when b is given (kSum only). Repeated over the axes
/// `over`, in ascending order, whether or not an argument varies along them: a sum over n points of
/// one value is n times that value. Arguments of narrower types become numbers of the accumulator's
/// type first: an i32 takes products of bytes, each exact. The accumulator has none of them; an
/// axis that an argument has is the accumulator's or one of them. Where a factor is a table, its
/// zeros are skipped.
struct TileUpdate {
  Register acc = 0;
  Reduction reduction = Reduction::kSum;
  Register a = 0;
  Register b = -1;
  std::vector<int> over;  // variables of tile axes
};
/// acc = value: assigns every point of the accumulator (states with several parts).
struct TileAssign {
  Register acc = 0;
  Register value = 0;
};
struct TileStore {
  int buffer = 0;
  Expr offset;
  std::vector<Guard> guards;  // where one fails nothing is written
  Register value = 0;
};
/// A hint that the element at this offset is going to be read: it need not lie inside of the
/// buffer, and nothing depends on it. Does not vary over the tile.
struct TilePrefetch {
  int buffer = 0;
  Expr offset;
};
/// Variable `var` = the integer held by `reg`, for addresses of later statements in this tile
/// (gather). It varies over reg's axes.
struct TileBind {
  int var = 0;
  Register reg = 0;
};
struct TileLoop;
using TileStmt = std::variant<TileLet, TileAccumulator, TileUpdate, TileAssign, TileStore,
                              TilePrefetch, TileBind, TileLoop>;
/// for var = lo; var < hi; var += step. Accumulators carry over; other registers are the
/// iteration's own. The code generator may unroll by `unroll` (a hint).
struct TileLoop {
  int var = 0;
  Expr lo, hi;
  int64_t step = 1;
  int unroll = 1;
  std::vector<TileStmt> body;
};

struct TileAxis {
  int var = 0;
  int64_t extent = 1;
  bool vector = false;  // at most one; lanes run along it, in pieces if longer than a register
};

// ---- kernels ---------------------------------------------------------------------------------

/// A product on the matrix unit in one tile, or in several: from kBegin to kEnd, each of which
/// loads and stores the same sums, the unit may hold them, for no other statement between them
/// reads or writes them. What stands there can run at the same time, on other units.
enum class MatrixPart : uint8_t { kWhole, kBegin, kStep, kEnd };

struct For;
struct Tile {
  std::vector<TileAxis> axes;
  std::vector<TileStmt> body;
  /// The terms of its sums may be taken in any order and grouping, denormals as zeros, each product
  /// exact: as the matrix unit takes them (codegen/matrix_tile.h).
  bool matrix = false;
  MatrixPart part = MatrixPart::kWhole;
};
using Stmt = std::variant<For, Tile>;
/// for var = lo; var < hi; var += step; never entered if hi <= lo.
struct For {
  int var = 0;
  Expr lo, hi;
  int64_t step = 1;
  std::vector<Stmt> body;
};

struct KernelBuffer {
  std::string name;
  DType dtype = DType::kF32;
  int64_t size_elems = 0;  // least size of what may be bound
  bool written = false;
};
/// Memory of one worker, uninitialised at entry of each partition, 64-byte aligned.
struct Scratch {
  std::string name;
  DType dtype = DType::kF32;
  int64_t size_elems = 0;
};

/// Variables are numbered through the kernel: 0 is the partition, then the parameters (integers
/// bound by the call, constant in each partition), then loops and tile axes; each is bound in one
/// place. Buffers are numbered: the kernel's buffers, then its scratch.
struct Kernel {
  std::string name;
  std::vector<KernelBuffer> buffers;
  std::vector<Scratch> scratch;
  int num_params = 0;
  std::vector<std::string> var_names;  // by variable id; names are unique
  std::vector<Stmt> body;

  DType buffer_dtype(int buffer) const {
    return buffer < static_cast<int>(buffers.size()) ? buffers[buffer].dtype
                                                     : scratch[buffer - buffers.size()].dtype;
  }
};

// ---- programs --------------------------------------------------------------------------------

enum class BufferKind : uint8_t { kInput, kOutput, kConstant, kArena };
struct Buffer {
  std::string name;
  DType dtype = DType::kF32;
  int64_t size_elems = 0;
  BufferKind kind = BufferKind::kArena;
  int position = -1;  // kInput, kOutput: number of the graph's input or output
  Tensor data;        // kConstant, packed
  /// kConstant: stands for what the data were made of, and how; empty if that is not told.
  std::string origin;
  /// kConstant: an executable holds the data already, which stay where they are.
  bool is_held = false;
  /// Stands for data_hash(data) where the data is not at hand (parsed text); empty otherwise.
  std::string hash;
};

/// Of the bytes, 16 hexadecimal digits: what a constant's data print as.
std::string data_hash(const Tensor& data);

struct KernelCall {
  int kernel = 0;
  std::vector<int> buffers;  // program buffers bound to the kernel's
  /// One for each parameter of the kernel, or, where partitions differ in them, so many for each
  /// partition.
  std::vector<int64_t> params;
  int64_t partitions = 1;
  std::string label;               // for tables: the ONNX nodes' names
  std::vector<std::string> nodes;  // ONNX node names
  int64_t work_flops = 0;
  int64_t executed_flops = 0;
  int64_t compulsory_bytes = 0;  // each operand once

  /// Of one partition. `num_params`: the kernel's.
  std::span<const int64_t> params_of(int64_t partition, int num_params) const {
    const bool differ = std::ssize(params) > num_params;
    return std::span(params).subspan(differ ? partition * num_params : 0, num_params);
  }
};

struct RoutineOperand {
  int buffer = 0;
  Shape shape;  // dense, row-major
};
struct RoutineCall {
  std::string routine;
  std::map<std::string,
           std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>>
      attributes;
  std::vector<RoutineOperand> inputs, outputs;
  std::string label;
};

using Step = std::variant<KernelCall, RoutineCall>;

struct Program {
  std::vector<Buffer> buffers;
  std::vector<Kernel> kernels;
  std::vector<Step> steps;
};

}  // namespace corf::loop
