#pragma once
#include <mutex>

#include "codegen/emit.h"
#include "driver/known_plans.h"
#include "loop/parameterize.h"

namespace corf::driver {

/// What compiling one model for some shapes leaves for others. Threads may share it.
struct KnownShapes {
  KnownPlans plans;
  std::mutex kernels_mutex;
  loop::KnownKernels kernels;
  codegen::KnownCode code;
};

}  // namespace corf::driver
