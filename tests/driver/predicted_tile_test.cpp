#include "driver/predicted_tile.h"

#include <gtest/gtest.h>

#include "tests/fuzz/some_figures.h"

namespace corf::driver {
namespace {

Machine some_machine(Isa isa) {
  Machine machine;
  machine.isa = isa;
  machine.threads = 2;
  fuzz::set_some_figures(machine);
  return machine;
}

TEST(PredictedTile, IsLargeForManyChannelsAndNoneForFew) {
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    const Machine machine = some_machine(isa);
    const auto tile = predicted_output_tile(machine);
    EXPECT_EQ(tile({1, 64, 64, 56, 56}), 4);
    EXPECT_EQ(tile({1, 24, 24, 56, 56}), 4);
    EXPECT_EQ(tile({1, 64, 3, 56, 56}), 0);
    EXPECT_EQ(tile({1, 3, 64, 56, 56}), 0);
    EXPECT_EQ(tile({1, 64, 64, 1, 1}), 0);
    EXPECT_EQ(tile({16, 64, 64, 56, 56, 3}), 4);
  }
}

TEST(PredictedTile, DependsOnWhatWeightsTakeToArrive) {
  Machine machine = some_machine(Isa::kAvx512);
  machine.l3_bytes = 4 << 20;
  machine.dram_gbps_all = 1;
  EXPECT_EQ(predicted_output_tile(machine)({1, 1024, 1024, 7, 7}), 0);
  machine.dram_gbps_all = 200;
  EXPECT_GT(predicted_output_tile(machine)({1, 1024, 1024, 7, 7}), 0);
}

TEST(PredictedTile, IsTakenOverFromANearShapeOfAnEarlierModel) {
  const Machine machine = some_machine(Isa::kAvx512);
  KnownTiles known;
  // Tiles that no prediction would give show where they come from.
  known.insert({1, 64, 3, 56, 56}, 2);
  known.insert({1, 64, 64, 56, 56}, 6);
  known.insert({1, 64, 64, 8, 8}, 6);
  const auto tile = predicted_output_tile(machine, &known);
  EXPECT_EQ(tile({1, 64, 3, 56, 56}), 2);    // the same
  EXPECT_EQ(tile({1, 64, 3, 60, 56}), 2);    // near
  EXPECT_EQ(tile({1, 64, 64, 60, 56}), 6);   // near, of two with other sizes
  EXPECT_EQ(tile({1, 64, 3, 112, 112}), 0);  // four times as many points
  EXPECT_EQ(tile({1, 64, 64, 9, 8}), predicted_output_tile(machine)({1, 64, 64, 9, 8}));
  EXPECT_EQ(tile({1, 3, 64, 56, 56}), 0);  // other channels
}

TEST(PredictedTile, IsPredictedForEachShapeOfOneModel) {
  const Machine machine = some_machine(Isa::kAvx512);
  KnownTiles known;
  const auto tile = predicted_output_tile(machine, &known);
  const auto anew = predicted_output_tile(machine);
  for (const int64_t height : {56, 60, 64}) {
    EXPECT_EQ(tile({1, 64, 64, height, 56}), anew({1, 64, 64, height, 56}));
  }
  EXPECT_EQ(known.all().size(), 3);
}

}  // namespace
}  // namespace corf::driver
