#include "loop/passes/share_kernels.h"

#include <gtest/gtest.h>

#include "loop/interpret.h"
#include "loop/renumber.h"
#include "tests/loop/programs.h"

namespace corf::loop {
namespace {

TEST(ShareKernels, KernelsEqualButForNamesAreMerged) {
  const Program program = parse(R"(
buffer x: f32[8] input 0
buffer t: f32[8] arena
buffer u: f32[12] arena
buffer y: f32[8] output 0
kernel first(a: f32[8], b: f32[8] mut) partition part scratch(s: f32[4]) {
  for i in [0, 8) step 4 { tile (c: 4 vector) {
    %0 = load f32 a[i + c]
    %1 = add f32 %0, %0
    store b[i + c] = %1
  } }
}
kernel unused() partition part { }
kernel second(in: f32[8], "out 1": f32[8] mut) partition p scratch(r: f32[4]) {
  for j in [0, 8) step 4 { tile (lane: 4 vector) {
    %7 = load f32 in[j + lane]
    %3 = add f32 %7, %7
    store "out 1"[j + lane] = %3
  } }
}
kernel third(a: f32[8], b: f32[8] mut) partition part scratch(s: f32[4]) {
  for i in [0, 8) step 4 { tile (c: 4 vector) {
    %0 = load f32 a[i + c]
    %1 = mul f32 %0, %0
    store b[i + c] = %1
  } }
}
call first(x, t) partitions 1 label "1"
call second(t, u) partitions 1 label "2"
call third(u, y) partitions 1 label "3"
)");
  const Program shared = share_kernels(program);
  ASSERT_EQ(shared.kernels.size(), 2u);
  EXPECT_EQ(shared.kernels[0].name, "first");
  EXPECT_EQ(std::get<KernelCall>(shared.steps[0]).kernel, 0);
  EXPECT_EQ(std::get<KernelCall>(shared.steps[1]).kernel, 0);
  EXPECT_EQ(std::get<KernelCall>(shared.steps[2]).kernel, 1);
  expect_same(program, shared, {small_integers(8, 4)});
}

TEST(ShareKernels, CanonicalKernelsAreFixedPoints) {
  Program program = parse(read_golden("conv.corf"));
  const Kernel once = canonicalize(program.kernels[0]);
  EXPECT_EQ(to_string(canonicalize(once)), to_string(once));
  EXPECT_EQ(anonymous_text(once), anonymous_text(program.kernels[0]));
  EXPECT_TRUE(verify(once).ok());
}

}  // namespace
}  // namespace corf::loop
