// Longer than 500 lines because it runs every kind of statement on every type.
#include "loop/interpret_kernel.h"

#include <cstring>
#include <fmt/format.h>

#include "graph/saturated.h"
#include "loop/scalar_semantics.h"
#include "loop/text.h"
#include "support/assert.h"

namespace corf::loop {
namespace {

using graph::ScalarOp;

/// The elements of a register in one of three representations (scalar_semantics.h).
struct RegisterValue {
  std::vector<float> f32;
  std::vector<double> f64;
  std::vector<int64_t> i64;

  template <typename T>
  std::vector<T>& as() {
    if constexpr (std::is_same_v<T, float>) return f32;
    if constexpr (std::is_same_v<T, double>) return f64;
    if constexpr (std::is_same_v<T, int64_t>) return i64;
  }
};

/// Calls `f` with a value of the type that represents `dtype`.
template <typename F>
decltype(auto) with_representation(DType dtype, F&& f) {
  if (dtype == DType::kF64) return f(double{});
  if (is_float(dtype)) return f(float{});
  return f(int64_t{});
}

/// Calls `f` with a value of the type that `dtype` has in memory (f16 and bf16 apart).
template <typename F>
void with_memory_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kBool:
    case DType::kU8:
      return f(uint8_t{});
    case DType::kI8:
      return f(int8_t{});
    case DType::kI16:
      return f(int16_t{});
    case DType::kU16:
      return f(uint16_t{});
    case DType::kI32:
      return f(int32_t{});
    case DType::kU32:
      return f(uint32_t{});
    case DType::kI64:
    case DType::kU64:
      return f(int64_t{});
    case DType::kF32:
      return f(float{});
    case DType::kF64:
      return f(double{});
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  CORF_ASSERT(false, "half types have no memory type of their own");
}

constexpr int64_t kGuardedOut = -1;

class PartitionRun {
 public:
  PartitionRun(const KernelCode& code, std::span<const BufferView> buffers,
               std::span<const int64_t> params, int64_t partition)
      : code_(code), buffers_(buffers), partition_(partition) {
    values_.assign(code.kernel->var_names.size(), 0);
    values_[0] = partition;
    for (size_t i = 0; i < params.size(); ++i) values_[1 + i] = params[i];
  }

  Status run() {
    run(code_.body);
    if (!error_.empty()) return Error{ErrorCode::kInternal, error_};
    return {};
  }

 private:
  // Every function that may fail returns whether to go on; the message is in error_.
  bool fail(const TileStmtCode& stmt, std::string_view what) {
    error_ = fmt::format("kernel '{}', partition {}: {} in '{}'", code_.kernel->name, partition_,
                         what, to_string(*code_.kernel, *stmt.source));
    return false;
  }

  bool run(const std::vector<StmtCode>& body) {
    for (const StmtCode& stmt : body) {
      if (const auto* tile = std::get_if<std::unique_ptr<TileCode>>(&stmt)) {
        if (!run(**tile)) return false;
        continue;
      }
      const ForCode& loop = *std::get<std::unique_ptr<ForCode>>(stmt);
      const int64_t hi = loop.hi.base(values_);
      for (int64_t i = loop.lo.base(values_); i < hi; i += loop.step) {
        values_[loop.var] = i;
        if (!run(loop.body)) return false;
      }
    }
    return true;
  }

  bool run(const TileCode& tile) {
    tile_ = &tile;
    if (registers_.size() < tile.info.registers.size()) {
      registers_.resize(tile.info.registers.size());
    }
    return run(tile.body);
  }

  bool run(const std::vector<TileStmtCode>& body) {
    for (const TileStmtCode& stmt : body) {
      if (!std::visit([&](const auto& code) { return run(stmt, code); }, stmt.code)) return false;
    }
    return true;
  }

  bool run(const TileStmtCode&, const std::unique_ptr<LoopCode>& loop) {
    const int64_t hi = loop->hi.base(values_);
    for (int64_t i = loop->lo.base(values_); i < hi; i += loop->step) {
      values_[loop->var] = i;
      if (!run(loop->body)) return false;
    }
    return true;
  }

  /// The target's elements, as many as its own box has points.
  template <typename T>
  T* target(const TileStmtCode& stmt) {
    auto& elements = registers_[stmt.target.reg].as<T>();
    elements.resize(tile_->info.num_points(tile_->info.register_axes(stmt.target.reg)));
    return elements.data();
  }
  template <typename T>
  const T* elements(const RegisterUse& use) {
    return registers_[use.reg].as<T>().data();
  }
  /// The elements of a register of any type, converted without loss, point by point.
  template <typename T>
  const T* converted(const RegisterUse& use, std::vector<T>& room) {
    return with_representation(use.dtype, [&](auto zero) -> const T* {
      using From = decltype(zero);
      if constexpr (std::is_same_v<From, T>) {
        return elements<T>(use);
      } else {
        const auto& from = registers_[use.reg].as<From>();
        room.assign(from.begin(), from.end());
        return room.data();
      }
    });
  }

  // ---- expressions at points ----

  /// One value for each point of the box.
  void evaluate(const Address& address, AxisSet box, std::vector<int64_t>& out) {
    out.clear();
    if (!address.is_per_point()) {
      const int64_t base = address.base(values_);
      for (int64_t difference : address.differences()) out.push_back(base + difference);
      return;
    }
    const TileInfo& info = tile_->info;
    for_each_point(info, box, [&](const std::vector<int64_t>& at) {
      for (size_t i = 0; i < at.size(); ++i) values_[info.axis_variables[i]] = at[i];
      for (const BoundVariable& bound : tile_->bound) set_bound(bound, at);
      out.push_back(index::evaluate(address.expr(), values_));
    });
  }

  void set_bound(const BoundVariable& bound, const std::vector<int64_t>& at) {
    const std::vector<int64_t>& elements = registers_[bound.reg].i64;
    int64_t element = 0;
    for (size_t i = 0; i < at.size(); ++i) {
      if (bound.axes >> i & 1) element = element * tile_->info.extents[i] + at[i];
    }
    // A variable that is bound further down has no elements yet, nor is it used.
    if (element < static_cast<int64_t>(elements.size())) values_[bound.var] = elements[element];
  }

  /// Fills offsets_ with an offset within the buffer, or kGuardedOut, for each point.
  bool resolve(const TileStmtCode& stmt, const AccessCode& access) {
    evaluate(access.offset, stmt.box, offsets_);
    for (const GuardCode& guard : access.guards) {
      evaluate(guard.expr, stmt.box, guard_values_);
      for (int64_t i = 0; i < stmt.points; ++i) {
        if (guard_values_[i] < guard.lo || guard_values_[i] >= guard.hi) offsets_[i] = kNever;
      }
    }
    const int64_t size = buffers_[access.buffer].size_elems;
    for (int64_t& offset : offsets_) {
      if (offset >= 0 && offset < size) continue;
      if (offset == kNever) {
        offset = kGuardedOut;
        continue;
      }
      return fail(stmt,
                  fmt::format("offset {} is outside of the buffer's {} elements", offset, size));
    }
    return true;
  }
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

  // ---- memory ----

  bool log_read(const TileStmtCode& stmt, const BufferView& buffer) {
    AccessLog& log = *buffer.log;
    const auto me = static_cast<int32_t>(partition_);
    for (int64_t offset : offsets_) {
      if (offset == kGuardedOut) continue;
      if (log.writer[offset] != AccessLog::kNobody && log.writer[offset] != me) {
        return fail(stmt, fmt::format("partition {} writes element {}, which this one reads",
                                      log.writer[offset], offset));
      }
      int32_t& reader = log.reader[offset];
      reader = reader == AccessLog::kNobody || reader == me ? me : AccessLog::kSeveral;
    }
    return true;
  }
  bool log_write(const TileStmtCode& stmt, const BufferView& buffer) {
    AccessLog& log = *buffer.log;
    const auto me = static_cast<int32_t>(partition_);
    for (int64_t offset : offsets_) {
      if (offset == kGuardedOut) continue;
      if (log.writer[offset] != AccessLog::kNobody && log.writer[offset] != me) {
        return fail(stmt,
                    fmt::format("partition {} writes element {} too", log.writer[offset], offset));
      }
      if (log.reader[offset] != AccessLog::kNobody && log.reader[offset] != me) {
        return fail(stmt, fmt::format("another partition reads element {}", offset));
      }
      log.writer[offset] = me;
    }
    return true;
  }

  bool run(const TileStmtCode& stmt, const LoadCode& load) {
    if (!resolve(stmt, load.access)) return false;
    const BufferView& buffer = buffers_[load.access.buffer];
    if (buffer.log && !log_read(stmt, buffer)) return false;
    if (buffer.dtype == DType::kF16 || buffer.dtype == DType::kBF16) {
      const auto* data = reinterpret_cast<const uint16_t*>(buffer.data);
      const auto widen = buffer.dtype == DType::kF16 ? f16_to_f32 : bf16_to_f32;
      float* out = target<float>(stmt);
      for (int64_t i = 0; i < stmt.points; ++i) {
        out[i] = offsets_[i] == kGuardedOut ? static_cast<float>(load.padding)
                                            : widen(data[offsets_[i]]);
      }
      return true;
    }
    with_memory_type(buffer.dtype, [&](auto zero) {
      using Memory = decltype(zero);
      using T = std::conditional_t<std::is_floating_point_v<Memory>, Memory, int64_t>;
      const auto* data = reinterpret_cast<const Memory*>(buffer.data);
      T* out = target<T>(stmt);
      T padding;
      if constexpr (std::is_floating_point_v<T>) {
        padding = static_cast<T>(load.padding);
      } else {
        padding = graph::saturated(load.padding, buffer.dtype);
      }
      for (int64_t i = 0; i < stmt.points; ++i) {
        out[i] = offsets_[i] == kGuardedOut ? padding : data[offsets_[i]];
      }
    });
    return true;
  }

  bool run(const TileStmtCode& stmt, const StoreCode& store) {
    if (!resolve(stmt, store.access)) return false;
    const BufferView& buffer = buffers_[store.access.buffer];
    if (!buffer.writable) return fail(stmt, "store into a buffer that is only read");
    if (buffer.log && !log_write(stmt, buffer)) return false;
    if (buffer.store_counts) {
      for (int64_t offset : offsets_) {
        if (offset != kGuardedOut) ++(*buffer.store_counts)[offset];
      }
    }
    const std::vector<int32_t>& from = store.value.elements;
    if (buffer.dtype == DType::kF16 || buffer.dtype == DType::kBF16) {
      auto* data = reinterpret_cast<uint16_t*>(buffer.data);
      const auto narrow = buffer.dtype == DType::kF16 ? f32_to_f16 : f32_to_bf16;
      const float* value = elements<float>(store.value);
      for (int64_t i = 0; i < stmt.points; ++i) {
        if (offsets_[i] != kGuardedOut) data[offsets_[i]] = narrow(value[from[i]]);
      }
      return true;
    }
    with_memory_type(buffer.dtype, [&](auto zero) {
      using Memory = decltype(zero);
      using T = std::conditional_t<std::is_floating_point_v<Memory>, Memory, int64_t>;
      auto* data = reinterpret_cast<Memory*>(buffer.data);
      const T* value = elements<T>(store.value);
      for (int64_t i = 0; i < stmt.points; ++i) {
        if (offsets_[i] != kGuardedOut) data[offsets_[i]] = static_cast<Memory>(value[from[i]]);
      }
    });
    return true;
  }

  // ---- values ----

  bool run(const TileStmtCode& stmt, const ConstantCode& constant) {
    with_representation(stmt.target.dtype, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_same_v<T, int64_t>) {
        *target<T>(stmt) = graph::wrap_integer(stmt.target.dtype, constant.i64);
      } else {
        *target<T>(stmt) = round_to(stmt.target.dtype, static_cast<T>(constant.f64));
      }
    });
    return true;
  }

  bool run(const TileStmtCode& stmt, const TableCode& table) {
    with_representation(stmt.target.dtype, [&](auto zero) {
      using T = decltype(zero);
      T* out = target<T>(stmt);
      for (int64_t i = 0; i < stmt.points; ++i) out[i] = static_cast<T>((*table.values)[i]);
    });
    return true;
  }

  bool run(const TileStmtCode& stmt, const IndexCode& index) {
    evaluate(index.expr, stmt.box, offsets_);
    int64_t* out = target<int64_t>(stmt);
    for (int64_t i = 0; i < stmt.points; ++i)
      out[i] = graph::wrap_integer(stmt.target.dtype, offsets_[i]);
    return true;
  }

  bool run(const TileStmtCode& stmt, const CopyCode& copy) {
    with_representation(stmt.target.dtype, [&](auto zero) {
      using T = decltype(zero);
      T* out = target<T>(stmt);
      const T* value = elements<T>(copy.arg);
      for (int64_t i = 0; i < stmt.points; ++i) out[i] = value[copy.arg.elements[i]];
    });
    return true;
  }

  bool run(const TileStmtCode&, const BindCode& bind) {
    if (!bind.varies) values_[bind.var] = registers_[bind.reg].i64[0];
    return true;
  }

  bool run(const TileStmtCode& stmt, const ReduceCode& reduce) {
    with_representation(stmt.target.dtype, [&](auto zero) {
      using T = decltype(zero);
      T* out = target<T>(stmt);
      const T* value = elements<T>(reduce.arg);
      for (int64_t i = 0; i < stmt.points; ++i) {
        T& element = out[stmt.target.elements[i]];
        const T next = value[reduce.arg.elements[i]];
        element =
            reduce.starts[i] ? next : combine(reduce.reduction, stmt.target.dtype, element, next);
      }
    });
    return true;
  }

  bool run(const TileStmtCode& stmt, const UpdateCode& update) {
    const DType dtype = stmt.target.dtype;
    with_representation(dtype, [&](auto zero) {
      using T = decltype(zero);
      std::vector<T> room_a, room_b;
      T* acc = target<T>(stmt);
      const std::vector<int32_t>&at = stmt.target.elements, &at_a = update.a.elements,
            &at_b = update.b.elements;
      const T* a = converted<T>(update.a, room_a);
      if (update.b.reg < 0) {
        for (int64_t i = 0; i < stmt.points; ++i) {
          acc[at[i]] = combine(update.reduction, dtype, acc[at[i]], a[at_a[i]]);
        }
        return;
      }
      const T* b = converted<T>(update.b, room_b);
      for (int64_t i = 0; i < stmt.points; ++i) {
        const bool no_term =
            (update.a_is_table && a[at_a[i]] == 0) || (update.b_is_table && b[at_b[i]] == 0);
        if (no_term) continue;
        T& sum = acc[at[i]];
        if constexpr (std::is_same_v<T, int64_t>) {
          const int64_t product =
              apply_integer(ScalarOp::kMul, DType::kI64, a[at_a[i]], b[at_b[i]]);
          sum = apply_integer(ScalarOp::kAdd, dtype, sum, product);
        } else {
          sum = round_to(dtype, std::fma(a[at_a[i]], b[at_b[i]], sum));
        }
      }
    });
    return true;
  }

  bool run(const TileStmtCode& stmt, const ApplyCode& apply) {
    if (apply.op == ScalarOp::kCast) {
      cast(stmt, apply);
    } else if (apply.op == ScalarOp::kTruncate) {
      truncate(stmt, apply);
    } else if (apply.op == ScalarOp::kSelect) {
      select(stmt, apply);
    } else if (is_comparison(apply.op) || apply.op == ScalarOp::kIsNan ||
               apply.op == ScalarOp::kIsInf) {
      test(stmt, apply);
    } else {
      arithmetic(stmt, apply);
    }
    return true;
  }

  void truncate(const TileStmtCode& stmt, const ApplyCode& apply) {
    float* out = target<float>(stmt);
    const float* a = elements<float>(apply.args[0]);
    for (int64_t i = 0; i < stmt.points; ++i) {
      uint32_t bits = 0;
      std::memcpy(&bits, &a[apply.args[0].elements[i]], sizeof bits);
      bits &= 0xffff0000;
      std::memcpy(&out[i], &bits, sizeof bits);
    }
  }

  void arithmetic(const TileStmtCode& stmt, const ApplyCode& apply) {
    const DType dtype = stmt.target.dtype;
    with_representation(dtype, [&](auto zero) {
      using T = decltype(zero);
      T* out = target<T>(stmt);
      const RegisterUse &use_a = apply.args[0], &use_b = apply.args.back();
      const T *a = elements<T>(use_a), *b = elements<T>(use_b);
      for (int64_t i = 0; i < stmt.points; ++i) {
        const T x = a[use_a.elements[i]], y = b[use_b.elements[i]];
        if constexpr (std::is_same_v<T, int64_t>) {
          out[i] = apply_integer(apply.op, dtype, x, y);
        } else {
          out[i] = round_to(dtype, apply_float(apply.op, x, y));
        }
      }
    });
  }

  void test(const TileStmtCode& stmt, const ApplyCode& apply) {
    const RegisterUse &use_a = apply.args[0], &use_b = apply.args.back();
    int64_t* out = target<int64_t>(stmt);
    with_representation(use_a.dtype, [&](auto zero) {
      using T = decltype(zero);
      const T *a = elements<T>(use_a), *b = elements<T>(use_b);
      for (int64_t i = 0; i < stmt.points; ++i) {
        const T x = a[use_a.elements[i]];
        if (is_comparison(apply.op)) {
          out[i] = compare(apply.op, use_a.dtype, x, b[use_b.elements[i]]);
        } else if constexpr (std::is_floating_point_v<T>) {
          out[i] = apply.op == ScalarOp::kIsNan ? std::isnan(x) : std::isinf(x);
        } else {
          out[i] = 0;
        }
      }
    });
  }

  void select(const TileStmtCode& stmt, const ApplyCode& apply) {
    with_representation(stmt.target.dtype, [&](auto zero) {
      using T = decltype(zero);
      T* out = target<T>(stmt);
      const int64_t* condition = elements<int64_t>(apply.args[0]);
      const T *a = elements<T>(apply.args[1]), *b = elements<T>(apply.args[2]);
      for (int64_t i = 0; i < stmt.points; ++i) {
        out[i] = condition[apply.args[0].elements[i]] != 0 ? a[apply.args[1].elements[i]]
                                                           : b[apply.args[2].elements[i]];
      }
    });
  }

  void cast(const TileStmtCode& stmt, const ApplyCode& apply) {
    const RegisterUse& arg = apply.args[0];
    const DType to = stmt.target.dtype;
    with_representation(arg.dtype, [&](auto from_zero) {
      using From = decltype(from_zero);
      with_representation(to, [&](auto to_zero) {
        using To = decltype(to_zero);
        To* out = target<To>(stmt);
        const From* in = elements<From>(arg);
        for (int64_t i = 0; i < stmt.points; ++i) {
          const From value = in[arg.elements[i]];
          if constexpr (std::is_same_v<To, int64_t>) {
            if constexpr (std::is_same_v<From, int64_t>) {
              out[i] = graph::wrap_integer(to, value);
            } else {
              out[i] = float_to_integer(to, value);
            }
          } else if constexpr (std::is_same_v<From, int64_t>) {
            out[i] = round_to(to, integer_to_float<To>(arg.dtype, value));
          } else {
            out[i] = round_to(to, static_cast<To>(value));
          }
        }
      });
    });
  }

  const KernelCode& code_;
  std::span<const BufferView> buffers_;
  int64_t partition_;
  std::vector<int64_t> values_;  // by variable
  std::vector<RegisterValue> registers_;
  const TileCode* tile_ = nullptr;
  std::vector<int64_t> offsets_, guard_values_;
  std::string error_;
};

}  // namespace

void poison(std::byte* data, DType dtype, int64_t size_elems) {
  const int64_t bytes = size_elems * size_bytes(dtype);
  // All ones is a NaN in every float type.
  if (bytes > 0) std::memset(data, is_float(dtype) ? 0xff : 0xa5, bytes);
}

Status run_partition(const KernelCode& code, std::span<const BufferView> buffers,
                     std::span<const int64_t> params, int64_t partition) {
  return PartitionRun(code, buffers, params, partition).run();
}

}  // namespace corf::loop
