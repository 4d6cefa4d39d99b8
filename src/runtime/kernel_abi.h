#pragma once
#include <cstdint>

namespace corf::runtime {

/// Scalar routines that generated code calls for operations it has no vector code for; the order is
/// part of the image format.
enum class MathRoutine : uint8_t {
  kPow,
  kFmod,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kLog,
  kExp,
  kErf,
  kTanh,
  kCount,
};

/// What a kernel may reach besides its arguments. Images have no external symbols.
struct KernelContext {
  double (*math[static_cast<int>(MathRoutine::kCount)])(double, double) = {};
};

/// `buffers`: the kernel's buffers in order; `params`: its integer parameters; `scratch`: this
/// worker's memory, the kernel's scratch buffers in order, each at a multiple of 64 bytes.
using KernelFunction = void (*)(const KernelContext* context, void* const* buffers,
                                const int64_t* params, int64_t partition, void* scratch);

}  // namespace corf::runtime
