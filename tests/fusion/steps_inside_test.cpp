#include "fusion/steps_inside.h"

#include <algorithm>

#include "tests/fusion/networks.h"

namespace corf::fusion {
namespace {

/// relu, then a convolution with dilation and zeros around the image, 4 -> 8 channels.
Nest dilated(const Shape& image, const Shape& kernel, int64_t dilation) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, image[0], image[1]});
  const ValueId w = g.add_constant("w", Tensor(DType::kF32, {8, 4, kernel[0], kernel[1]}));
  const Shape pads = {kernel[0] / 2 * dilation, kernel[1] / 2 * dilation};
  const graph::Window window{kernel, {1, 1}, {dilation, dilation}, pads, pads};
  const ValueId y = graph::conv(g, "conv", relu(g, "relu", x), w, window, 1);
  finish(g, {relu(g, "y", y)});
  return canonicalize(build_nest(g, plan_storage(g), {g.values[y].producer}, {y}));
}

/// All axes one by one, vectors along the channels.
NestSchedule one_by_one(const Nest& nest) {
  NestSchedule schedule;
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    (nest.axes[axis].reduction ? schedule.reduction_order : schedule.parallel_order)
        .push_back(axis);
  }
  schedule.vector_axis = 0;
  schedule.vector_tile = 8;
  return schedule;
}

TEST(StepsInside, WindowsThatReachFarAreMostlyOutside) {
  // Of 13 rows, 7 have one above at a distance of 6, and as many one below; columns likewise.
  const Nest nest = dilated({13, 13}, {3, 3}, 6);
  const double exact = (13 + 7 + 7) / (3.0 * 13);
  EXPECT_NEAR(share_of_steps(nest, one_by_one(nest)), exact * exact, 0.02);
}

TEST(StepsInside, TilesTakeWhatAnyOfTheirPointsNeeds) {
  const Nest nest = dilated({13, 13}, {3, 3}, 6);
  NestSchedule schedule = one_by_one(nest);
  schedule.register_tile = {{2, 13}};
  EXPECT_NEAR(share_of_steps(nest, schedule), (13 + 7 + 7) / (3.0 * 13), 0.02);
}

TEST(StepsInside, SmallWindowsTakeAllSteps) {
  const Nest nest = dilated({28, 28}, {3, 3}, 1);
  EXPECT_EQ(share_of_steps(nest, one_by_one(nest)), 1);
}

/// A kernel of 3 taps at stride 2: of its two phases along each dimension, one has two taps.
TEST(StepsInside, PhasesOfATransposedConvolutionTakeTheirOwnTaps) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {1, 4, 9, 9});
  const ValueId w = g.add_constant("w", Tensor(DType::kF32, {4, 8, 3, 3}));
  const graph::Window window{{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}};
  const ValueId y = graph::conv_transpose(g, "up", relu(g, "relu", x), w, window, 1, {18, 18});
  finish(g, {y});
  const auto phases = std::find_if(g.nodes.begin(), g.nodes.end(), [](const graph::Node& node) {
    return node.name == "up:phases";
  });
  ASSERT_NE(phases, g.nodes.end());
  const auto number = static_cast<graph::NodeId>(phases - g.nodes.begin());
  const Nest nest = canonicalize(build_nest(g, plan_storage(g), {number}, {phases->outputs[0]}));
  for (const Access& load : nest.loads) EXPECT_TRUE(load.guards.empty());
  EXPECT_EQ(share_of_steps(nest, one_by_one(nest)), 0.75 * 0.75);
  for (int axis = 0; axis < static_cast<int>(nest.axes.size()); ++axis) {
    const std::string& name = nest.axes[axis].name;
    if (nest.axes[axis].reduction) continue;
    // One phase takes two of three steps; rows and channels are alike.
    const double busiest = name.ends_with("_phase") ? 2 / 1.5 : 1;
    EXPECT_DOUBLE_EQ(busiest_part(nest, one_by_one(nest), axis, 2), busiest) << name;
  }
}

/// Rows in the middle of an image have neighbours on both sides.
TEST(StepsInside, PartsInTheMiddleTakeMoreSteps) {
  const Nest nest = dilated({12, 13}, {3, 3}, 6);
  ASSERT_EQ(nest.axes[1].name, "oh");
  EXPECT_EQ(busiest_part(nest, one_by_one(nest), 1, 2), 1);
  EXPECT_EQ(busiest_part(nest, one_by_one(nest), 0, 2), 1);
}

/// The coordinate of a row is no longer an axis of its own.
TEST(StepsInside, NothingIsKnownOfMergedAxes) {
  const Nest nest = dilated({5, 5}, {3, 1}, 2);
  ASSERT_EQ(nest.axes[1].name, "oh_ow");
  for (const Access& load : nest.loads) EXPECT_TRUE(load.zeros.empty());
  EXPECT_EQ(share_of_steps(nest, one_by_one(nest)), 1);
}

}  // namespace
}  // namespace corf::fusion
