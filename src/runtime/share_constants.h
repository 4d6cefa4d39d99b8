#pragma once
#include <cstdint>

#include "runtime/executable.h"

namespace corf::runtime {

/// Takes what other executables of this process hold already, in use or not, in the place of the
/// spec's own constants that equal it, byte for byte: the same model compiled for several shapes,
/// or opened twice, has its weights in memory once. The rest moves together, so that what is given
/// up is free again. Nothing happens where there is no memory for that, nor the second time.
void share_constants(ExecutableSpec& spec);

/// The same with all constants in one block of its own, as files have them.
ExecutableSpec with_own_constants(const ExecutableSpec& spec);

/// The elements of one that no one writes, alive as long as any executable or tensor has them.
Tensor constant_of(const ExecutableSpec& spec, const BufferPlace& place);

/// Of all constants, shared or not.
int64_t constant_bytes(const ExecutableSpec& spec);

}  // namespace corf::runtime
