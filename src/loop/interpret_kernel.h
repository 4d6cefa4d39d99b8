#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "loop/program.h"
#include "loop/tile_code.h"
#include "support/result.h"

namespace corf::loop {

/// Which partition of a call touched which element of a program buffer.
struct AccessLog {
  static constexpr int32_t kNobody = -1;
  static constexpr int32_t kSeveral = -2;
  std::vector<int32_t> writer, reader;  // empty: not logged
};

/// Memory that a kernel's buffer is bound to.
struct BufferView {
  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int64_t size_elems = 0;
  bool writable = false;
  std::vector<int32_t>* store_counts = nullptr;  // by element, where they are counted
  AccessLog* log = nullptr;
};

/// Fills with NaN, integers with the bytes 0xA5.
void poison(std::byte* data, DType dtype, int64_t size_elems);

/// Runs one partition. `buffers`: the kernel's buffers, then its scratch.
/// Errors: kInternal naming the statement.
Status run_partition(const KernelCode& code, std::span<const BufferView> buffers,
                     std::span<const int64_t> params, int64_t partition);

}  // namespace corf::loop
