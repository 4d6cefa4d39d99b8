#pragma once
#include "codegen/emit.h"
#include "driver/known_plans.h"
#include "loop/passes/parameterize.h"

namespace corf::driver {

/// What compiling one model for some shapes leaves for others. Threads may share it.
struct KnownShapes {
  KnownPlans plans;
  loop::KnownKernels kernels;
  codegen::KnownCode code;
};

}  // namespace corf::driver
