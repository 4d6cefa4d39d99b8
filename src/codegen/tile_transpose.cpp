#include <algorithm>
#include <bit>

#include "codegen/byte_products.h"
#include "codegen/tile_lowering.h"
#include "codegen/value_types.h"

namespace corf::codegen {

using llvm::Value;
using loop::AxisSet;

namespace {

/// Below that many elements in a row, single elements are as fast.
constexpr int64_t kLeastRun = 4;

/// rows[i] lane j -> result[j] lane i, for as many rows as lanes (a power of two): blocks of half
/// the size are exchanged, then those inside of them.
Values transpose_square(llvm::IRBuilder<>& builder, Values rows) {
  const auto n = static_cast<int>(rows.size());
  for (int distance = n / 2; distance > 0; distance /= 2) {
    std::vector<int> low, high;
    for (int lane = 0; lane < n; ++lane) {
      const bool first = (lane & distance) == 0;
      low.push_back(first ? lane : n + lane - distance);
      high.push_back(first ? lane + distance : n + lane);
    }
    for (int i = 0; i < n; ++i) {
      if (i & distance) continue;
      Value *a = rows[static_cast<size_t>(i)], *b = rows[static_cast<size_t>(i + distance)];
      rows[static_cast<size_t>(i)] = builder.CreateShuffleVector(a, b, low);
      rows[static_cast<size_t>(i + distance)] = builder.CreateShuffleVector(a, b, high);
    }
  }
  return rows;
}

Value* lanes_from(llvm::IRBuilder<>& builder, Value* vector, int start, int count) {
  std::vector<int> lanes;
  for (int i = 0; i < count; ++i) lanes.push_back(start + i);
  return builder.CreateShuffleVector(vector, lanes);
}

/// A group of vectors with `lanes` lanes each -> `lanes` vectors with a lane of each of the group.
Values transpose_wide(llvm::IRBuilder<>& builder, const Values& rows, int lanes) {
  const auto size = static_cast<int>(rows.size());
  Values result;
  for (int start = 0; start < lanes; start += size) {
    Values block;
    for (Value* row : rows) block.push_back(lanes_from(builder, row, start, size));
    for (Value* column : transpose_square(builder, std::move(block))) result.push_back(column);
  }
  return result;
}

/// The same the other way round: `columns.size()` vectors of `size` lanes -> `size` vectors.
Values transpose_tall(llvm::IRBuilder<>& builder, const Values& columns, int size) {
  const auto lanes = static_cast<int>(columns.size());
  std::vector<Values> blocks;
  for (int start = 0; start < lanes; start += size) {
    blocks.push_back(
        transpose_square(builder, Values(columns.begin() + start, columns.begin() + start + size)));
  }
  Values rows;
  for (int i = 0; i < size; ++i) {
    // Neighbouring blocks are joined in pairs until one vector is left.
    Values parts;
    for (const Values& block : blocks) parts.push_back(block[static_cast<size_t>(i)]);
    for (int width = size; parts.size() > 1; width *= 2) {
      std::vector<int> both;
      for (int lane = 0; lane < 2 * width; ++lane) both.push_back(lane);
      Values joined;
      for (size_t p = 0; p < parts.size(); p += 2) {
        joined.push_back(builder.CreateShuffleVector(parts[p], parts[p + 1], both));
      }
      parts = std::move(joined);
    }
    rows.push_back(parts[0]);
  }
  return rows;
}

/// Registers hold bfloat16 numbers as the upper halves of f32: two of them make a whole vector.
Value* halves_side_by_side(llvm::IRBuilder<>& builder, Value* first, Value* second) {
  constexpr uint64_t kHalfBits = 16, kUpper = 0xffff0000;
  llvm::Type* bits = with_lanes(builder.getInt32Ty(), num_lanes(first->getType()));
  return builder.CreateOr(builder.CreateLShr(builder.CreateBitCast(first, bits), kHalfBits),
                          builder.CreateAnd(builder.CreateBitCast(second, bits), kUpper));
}

}  // namespace

/// The unrolled axis along which the elements follow one another while the lanes are apart, or -1
/// where going through registers does not pay or cannot be done.
int TileLowering::transposed_axis(const Offset& offset, AxisSet axes,
                                  const std::vector<loop::Guard>& guards) const {
  if (vector_var_ < 0 || offset.per_point || !all_hold(guards)) return -1;
  const int64_t stride = offset.linear.coefficient(vector_var_);
  if (stride == 0 || stride == 1) return -1;
  for (size_t axis = 0; axis < info_.extents.size(); ++axis) {
    if (!(axes >> axis & 1) || info_.extents[axis] < kLeastRun) continue;
    if (offset.linear.coefficient(info_.axis_variables[axis]) == 1) return static_cast<int>(axis);
  }
  return -1;
}

/// From `from` on. Lanes are a power of two; where a mask can leave out those that no point has,
/// all points that are left go together.
TileLowering::Piece TileLowering::transposed_group(int axis, int64_t from, int lanes,
                                                   DType dtype) const {
  const auto left = static_cast<uint64_t>(info_.extents[static_cast<size_t>(axis)] - from);
  const uint64_t points = std::min(left, static_cast<uint64_t>(lanes));
  const uint64_t group = f_.isa.has_masks(size_bytes(dtype)) ? points : std::bit_floor(points);
  return {from, static_cast<int>(std::bit_ceil(group)), static_cast<int>(group)};
}

void TileLowering::store_transposed(const loop::TileStore& store, Offset& offset, AxisSet axes,
                                    int axis) {
  const DType dtype = f_.kernel.buffer_dtype(store.buffer);
  const DType value_dtype = registers_[static_cast<size_t>(store.value)].dtype;
  const auto at = static_cast<size_t>(axis);
  for (Point point : points(unrolled(axes) & ~(AxisSet{1} << axis))) {
    for (int piece = 0; piece < static_cast<int>(pieces_.size()); ++piece) {
      const Piece& part = pieces_[static_cast<size_t>(piece)];
      Piece group;
      for (int64_t from = 0; from < info_.extents[at]; from += group.active) {
        group = transposed_group(axis, from, part.lanes, dtype);
        Value* const mask = active_mask(group, nullptr);
        std::vector<Point> members;
        for (int i = 0; i < group.active; ++i) {
          point[at] = from + i;
          members.push_back(point);
        }
        compute_side_by_side(store.value, members, {piece});
        Values rows;
        for (int i = 0; i < group.active; ++i) {
          point[at] = from + i;
          Value* value = spread(this->value(store.value, point, piece), piece);
          rows.push_back(ops_.to_memory(ops_.cast(value, value_dtype, dtype), dtype));
        }
        point[at] = from;
        const Location location = locate(offset, store.buffer, point, piece);
        while (static_cast<int>(rows.size()) < group.lanes) {
          rows.push_back(llvm::PoisonValue::get(rows[0]->getType()));
        }
        const Values columns = transpose_wide(builder_, rows, part.lanes);
        for (int i = 0; i < part.active; ++i) {
          Address address = location.address;
          address.constant += location.vector_stride * (part.start + i);
          store_vector(store.buffer, address, columns[static_cast<size_t>(i)], mask);
        }
      }
    }
  }
}

/// The unrolled axis of two points whose bfloat16 numbers take turns in memory, or of four whose
/// bytes do, or -1.
int TileLowering::interleaved_axis(const loop::TileStore& store, const Offset& offset,
                                   AxisSet axes) const {
  const DType dtype = f_.kernel.buffer_dtype(store.buffer);
  const DType value_dtype = registers_[static_cast<size_t>(store.value)].dtype;
  const bool are_bytes = dtype == DType::kU8 || dtype == DType::kI8;
  if ((dtype != DType::kBF16 && !are_bytes) || value_dtype != dtype) return -1;
  if (offset.per_point || !store.guards.empty()) return -1;
  const int64_t turns = 4 / size_bytes(dtype);
  if (offset.linear.coefficient(vector_var_) != turns) return -1;
  for (size_t axis = 0; axis < info_.extents.size(); ++axis) {
    if (!(axes >> axis & 1) || info_.extents[axis] != turns) continue;
    if (offset.linear.coefficient(info_.axis_variables[axis]) == 1) return static_cast<int>(axis);
  }
  return -1;
}

/// 32 bits of each lane, of as many points as they hold.
void TileLowering::store_interleaved(const loop::TileStore& store, Offset& offset, AxisSet axes,
                                     int axis) {
  const auto at = static_cast<size_t>(axis);
  const int64_t turns = info_.extents[at];
  for (Point point : points(unrolled(axes) & ~(AxisSet{1} << axis))) {
    for (int piece = 0; piece < static_cast<int>(pieces_.size()); ++piece) {
      const Piece& part = pieces_[static_cast<size_t>(piece)];
      std::vector<Point> members;
      for (point[at] = 0; point[at] < turns; ++point[at]) members.push_back(point);
      compute_side_by_side(store.value, members, {piece});
      const auto of_turn = [&](int64_t turn) {
        return spread(value(store.value, members[static_cast<size_t>(turn)], piece), piece);
      };
      Value* all = turns == 4 ? bytes_side_by_side(builder_,
                                                   {of_turn(0), of_turn(1), of_turn(2), of_turn(3)})
                              : halves_side_by_side(builder_, of_turn(0), of_turn(1));
      Address address = locate(offset, store.buffer, members[0], piece).address;
      address.constant += turns * part.start;
      store_vector(store.buffer, address, all, active_mask(part, nullptr));
    }
  }
}

/// Loads the whole group that the point belongs to; what the others read stays in the register.
Value* TileLowering::load_transposed(RegisterState& state, const loop::TileLoad& load, Point point,
                                     int piece, int axis) {
  const DType dtype = f_.kernel.buffer_dtype(load.buffer);
  const llvm::Align align(static_cast<uint64_t>(size_bytes(dtype)));
  const Piece& part = pieces_[static_cast<size_t>(piece)];
  const auto at = static_cast<size_t>(axis);
  const int64_t wanted = point[at];
  int64_t from = 0;
  Piece group = transposed_group(axis, from, part.lanes, dtype);
  while (from + group.active <= wanted) {
    from += group.active;
    group = transposed_group(axis, from, part.lanes, dtype);
  }
  Value* const mask = active_mask(group, nullptr);
  point[at] = from;
  const Location location = locate(state.offset, load.buffer, point, piece);
  auto* type = llvm::FixedVectorType::get(memory_type(f_.context(), dtype),
                                          static_cast<unsigned>(group.lanes));
  Values columns;
  for (int i = 0; i < part.lanes; ++i) {
    if (i >= part.active) {
      columns.push_back(llvm::PoisonValue::get(type));
      continue;
    }
    Address address = location.address;
    address.constant += location.vector_stride * (part.start + i);
    Value* const from_address = pointer(load.buffer, address);
    llvm::Instruction* column =
        mask ? static_cast<llvm::Instruction*>(builder_.CreateMaskedLoad(
                   type, from_address, align, mask, llvm::PoisonValue::get(type)))
             : builder_.CreateAlignedLoad(type, from_address, align);
    f_.annotate(column, load.buffer);
    columns.push_back(column);
  }
  const Values rows = transpose_tall(builder_, columns, group.lanes);
  Value* result = nullptr;
  for (int i = 0; i < group.active; ++i) {
    point[at] = from + i;
    Value* row =
        ops_.cast(ops_.from_memory(rows[static_cast<size_t>(i)], dtype), dtype, state.dtype);
    (*state.values)[static_cast<size_t>(slot(state, point, piece))] = row;
    if (from + i == wanted) result = row;
  }
  return result;
}

}  // namespace corf::codegen
