#pragma once
#include <functional>
#include <gtest/gtest.h>
#include <vector>

#include "loop/interpret.h"
#include "loop/text.h"
#include "tests/lower/guarded_run.h"
#include "tests/lower/lowered.h"

namespace corf::test {

/// Looks at the first output; `how` tells what made it.
using Check = std::function<void(const Tensor&, const char* how)>;

/// Runs the plan in the interpreter and, where this machine has the pipeline's ISA, as machine
/// code, by so many threads, one number after the other.
inline void run_plan(driver::Pipeline& pipeline, const std::vector<Tensor>& inputs,
                     const Check& check, const std::vector<int>& threads = {2}) {
  auto program = test::lowered(pipeline.graph, pipeline.plan);
  ASSERT_TRUE(program) << program.error().message;
  pipeline.program = program.take();
  const Status sound = loop::verify(pipeline.program);
  ASSERT_TRUE(sound) << sound.error().message;
  auto interpreted = loop::interpret(pipeline.program, inputs);
  ASSERT_TRUE(interpreted) << interpreted.error().message;
  check((*interpreted)[0], "interpreted");
  if (!has_isa(pipeline.machine.isa) || testing::Test::HasFatalFailure()) return;
  auto spec = driver::generate(pipeline);
  ASSERT_TRUE(spec) << spec.error().message;
  for (const int count : threads) {
    SCOPED_TRACE(std::to_string(count) + " threads");
    auto team = runtime::Team::create(count);
    ASSERT_TRUE(team);
    auto executable = runtime::Executable::load(*spec, *team);
    ASSERT_TRUE(executable) << executable.error().message;
    GuardedRun guarded(**executable, inputs);
    ASSERT_TRUE(guarded.run(**executable));
    check(guarded.outputs()[0], "as machine code");
  }
}

}  // namespace corf::test
