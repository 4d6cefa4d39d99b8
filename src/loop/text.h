#pragma once
#include <string>
#include <string_view>

#include "loop/program.h"
#include "support/result.h"

namespace corf::loop {

/// The program (or a kernel) as text; constants' data print as a hash, up to 8 elements as they
/// are. Registers print with their numbers; names of buffers that are no identifiers in quotes.
///
///   buffer x: f32[12544] input 0
///   buffer one: f32[1] constant = 1
///   buffer w: f32[864] constant hash 0123456789abcdef
///   kernel conv_1(x: f32[12544], w: f32[864], y: f32[401408] mut) partition part params(n)
///       scratch(ring: f32[4096]) {
///     for oh in [part*8, part*8 + 8) step 1 {
///       tile (ow: 8, c: 48 vector) {
///         %0 = const f32 0
///         acc %1 f32 (ow, c) = %0
///         loop k in [0, n) step 1 unroll 2 {
///           prefetch w[k*48 + 4608]
///           %2 = load f32 x[oh*2688 + ow*24 + k] guard(0 <= oh < 112) padding -1
///           %3 = load f32 w[k*48 + c]
///           %1 += %2 * %3
///         }
///         %4 = max f32 %1, %0
///         %5 = reduce max f32 %4 over c
///         %6 = index i64 ow + 1
///         bind i = %6
///         store y[oh*112 + i] = %5
///       }
///     }
///   }
///   call conv_1(x, w, y) params(24) partitions 14 label "Conv_0" nodes("Conv_0", "Relu_1")
///       work 100 executed 100 bytes 400
///   routine "topk"(x: 4x8) -> (y: 4x2) attributes(k = 2, axis = [1]) label "TopK_3"
///
/// Other updates are `%1 max= %2`, `min=`, `*=`; `%1 := %2` assigns. `#` starts a comment.
std::string to_string(const Program& program);
std::string to_string(const Kernel& kernel);
/// One statement of the kernel without its end of line; of a loop its head.
std::string to_string(const Kernel& kernel, const TileStmt& stmt);
/// What to_string printed, and the same with names for registers (`%sum`); variables are numbered
/// in the order of their first mention. Constant data that was printed as a hash is zero-filled.
/// Errors: kInvalidArgument with line and column.
Result<Program> parse_program(std::string_view text);
Result<Kernel> parse_kernel(std::string_view text);

/// The rules of the loop IR: registers defined before use and within their scope, assigned once in
/// their tile, accumulators excepted; variables bound once and in scope; at most one vector axis;
/// types agree (factors of an update may be narrower than the accumulator); names unique; calls
/// match their kernels; nothing is read before it is written; addresses inside of the buffers where
/// bounds can tell.
/// Errors: kInternal naming kernel and statement.
Status verify(const Program& program);
Status verify(const Kernel& kernel);

}  // namespace corf::loop
