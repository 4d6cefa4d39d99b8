#include "codegen/spills.h"

#include <gtest/gtest.h>

namespace corf::codegen {
namespace {

TEST(Spills, AreCountedByFunctionAndInInnermostLoops) {
  const std::vector<Spills> spills = count_spills(R"( .text
kernel_0:                               # @kernel_0
# %bb.0:                                # %entry
  vmovups %zmm1, 64(%rsp)                 # 64-byte Spill
  movq %rax, 8(%rsp)                   # 8-byte Spill
.LBB0_1:                                # %rows.loop
                                        # =>This Loop Header: Depth=1
                                        #     Child Loop BB0_2 Depth 2
  vmovups 64(%rsp), %zmm1                 # 64-byte Reload
.LBB0_2:                                # %c.loop
                                        #   Parent Loop BB0_1 Depth=1
                                        # =>  This Inner Loop Header: Depth=2
  vaddps 128(%rsp), %ymm1, %ymm2         # 32-byte Folded Reload
  jb .LBB0_4
# %bb.3:                                # %guarded
                                        #   in Loop: Header=BB0_2 Depth=2
  vmovups %xmm2, 32(%rsp)                 # 16-byte Spill
.LBB0_4:                                # %rows.exit
                                        #   in Loop: Header=BB0_1 Depth=1
  vmovups 32(%rsp), %xmm2                 # 16-byte Reload
  retq
kernel_1:                               # @kernel_1
.LBB0_2:                                # %again.loop
                                        # =>This Loop Header: Depth=1
  vmovups 64(%rsp), %zmm1                 # 64-byte Reload
  retq
)");
  ASSERT_EQ(spills.size(), 2u);
  EXPECT_EQ(spills[0].function, "kernel_0");
  EXPECT_EQ(spills[0].stores, 2);
  EXPECT_EQ(spills[0].loads, 3);
  EXPECT_EQ(spills[0].in_innermost_loops, 2);
  EXPECT_EQ(spills[1].function, "kernel_1");
  EXPECT_EQ(spills[1].all(), 1);
  EXPECT_EQ(spills[1].in_innermost_loops, 0);
}

TEST(Spills, OfNothingAreNone) { EXPECT_TRUE(count_spills("").empty()); }

}  // namespace
}  // namespace corf::codegen
