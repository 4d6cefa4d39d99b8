#pragma once
#include "codegen/content_hash.h"
#include "codegen/emit.h"
#include "driver/known_plans.h"
#include "driver/predicted_tile.h"
#include "loop/passes/parameterize.h"
#include "lower/known_constants.h"
#include "runtime/share_constants.h"

namespace corf::driver {

/// What compiling one model for some shapes leaves for others. Threads may share it.
struct KnownShapes {
  KnownTiles tiles;
  KnownPlans plans;
  loop::KnownKernels kernels;
  codegen::KnownCode code;
  lower::KnownConstants constants{codegen::hash_of};

  /// Constants of an executable need not be made again as long as it has them.
  void keep_constants(const runtime::ExecutableSpec& spec) {
    for (const runtime::BufferPlace& place : spec.buffers) {
      if (place.origin.empty()) continue;
      constants.insert(place.origin, runtime::constant_of(spec, place));
    }
  }
};

}  // namespace corf::driver
