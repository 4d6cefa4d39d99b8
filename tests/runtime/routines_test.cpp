// Longer than 500 lines because it holds the cases of all routines.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

#include "runtime/routines/routine.h"
#include "runtime/routines/wide_math.h"
#include "support/checked.h"

namespace corf::runtime {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <typename T>
Tensor tensor(Shape shape, std::vector<T> values) {
  return make_tensor<T>(std::move(shape), std::span<const T>(values));
}

template <typename T>
std::vector<T> elems(const Tensor& t) {
  return {t.elems<T>().begin(), t.elems<T>().end()};
}

RoutineCall call_of(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                    std::map<std::string, RoutineAttribute> attributes) {
  RoutineCall call{std::move(attributes), {}, {}};
  for (const Tensor& t : inputs) call.inputs.push_back({t.dtype(), t.shape()});
  for (const Tensor& t : outputs) call.outputs.push_back({t.dtype(), t.shape()});
  return call;
}

/// Prepares and runs; outputs are declared by type and shape.
Result<std::vector<Tensor>> run(std::string_view name, const std::vector<Tensor>& inputs,
                                const std::vector<std::pair<DType, Shape>>& outputs,
                                std::map<std::string, RoutineAttribute> attributes = {}) {
  std::vector<Tensor> results;
  for (const auto& [dtype, shape] : outputs) results.emplace_back(dtype, shape);
  CORF_ASSIGN(PreparedRoutine routine,
              prepare_routine(name, call_of(inputs, results, std::move(attributes))));
  std::vector<const void*> from;
  std::vector<void*> to;
  for (const Tensor& t : inputs) from.push_back(t.bytes());
  for (Tensor& t : results) to.push_back(t.bytes());
  CORF_RETURN_IF_ERROR(routine(from, to));
  return results;
}

void expect_error(const Result<std::vector<Tensor>>& result, ErrorCode code,
                  std::string_view words) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, code) << result.error().message;
  EXPECT_NE(result.error().message.find(words), std::string::npos) << result.error().message;
}

TEST(Routines, TableListsWhatCanBePrepared) {
  const auto names = routine_names();
  EXPECT_EQ(names.size(), 16u);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  for (const std::string_view name : names) {
    EXPECT_TRUE(has_routine(name));
    // Without operands each fails as an invalid model, not as unknown.
    expect_error(run(name, {}, {}), ErrorCode::kInvalidModel, name);
  }
  EXPECT_FALSE(has_routine("Sort"));
  expect_error(run("Sort", {}, {}), ErrorCode::kUnsupported, "Sort");
}

// ---- CheckIndices -----------------------------------------------------------------------------

std::map<std::string, RoutineAttribute> extents(std::vector<int64_t> values) {
  return {{"extents", std::move(values)}};
}

TEST(CheckIndices, CountsFromTheEndAndNamesWhatIsOutside) {
  const auto inside = tensor<int64_t>({2, 2}, {0, -1, 4, -5});
  const auto r = run("CheckIndices", {inside}, {{DType::kI64, {2, 2}}}, extents({5}));
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(elems<int64_t>((*r)[0]), (std::vector<int64_t>{0, 4, 4, 0}));
  for (const int64_t index : {int64_t{5}, int64_t{-6}, INT64_MAX, INT64_MIN}) {
    expect_error(
        run("CheckIndices", {tensor<int64_t>({2}, {1, index})}, {{DType::kI64, {2}}}, extents({5})),
        ErrorCode::kInvalidArgument, fmt::format("index {} is out of range", index));
  }
}

TEST(CheckIndices, EachCoordinateHasItsExtent) {
  const auto pairs = tensor<int32_t>({2, 2}, {1, 6, -2, -7});
  const auto r = run("CheckIndices", {pairs}, {{DType::kI32, {2, 2}}}, extents({2, 7}));
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(elems<int32_t>((*r)[0]), (std::vector<int32_t>{1, 6, 0, 0}));
  expect_error(run("CheckIndices", {tensor<int32_t>({1, 2}, {2, 1})}, {{DType::kI32, {1, 2}}},
                   extents({2, 7})),
               ErrorCode::kInvalidArgument, "index 2 is out of range: the dimension has 2");
}

TEST(CheckIndices, ManyIndicesAndRunsAfterAFault) {
  std::vector<int32_t> many(100'000, 3);
  many[77'777] = -1;
  auto indices = tensor<int32_t>({100'000}, many);
  Tensor result(DType::kI32, {100'000});
  auto routine = prepare_routine("CheckIndices", call_of({indices}, {result}, extents({9})));
  ASSERT_TRUE(routine.ok());
  const void* from[] = {indices.bytes()};
  void* to[] = {result.bytes()};
  ASSERT_TRUE((*routine)(from, to).ok());
  EXPECT_EQ(result.at_i64(77'777), 8);
  indices.set_i64(99'999, 9);
  EXPECT_FALSE((*routine)(from, to).ok());
  indices.set_i64(99'999, 0);
  EXPECT_TRUE((*routine)(from, to).ok());
}

TEST(CheckIndices, Errors) {
  const auto indices = tensor<int64_t>({2, 2}, {0, 0, 0, 0});
  for (const auto& wrong : {std::vector<int64_t>{}, {1, 2, 3}, {-1}, {INT64_MAX}}) {
    expect_error(run("CheckIndices", {indices}, {{DType::kI64, {2, 2}}}, extents(wrong)),
                 ErrorCode::kInvalidModel, "extents");
  }
  expect_error(run("CheckIndices", {indices}, {{DType::kI32, {2, 2}}}, extents({3})),
               ErrorCode::kInvalidModel, "element type");
}

// ---- TopK -------------------------------------------------------------------------------------

TEST(TopK, LargestAlongTheLastAxisWithTiesInOrder) {
  const auto x = tensor<float>({2, 4}, {1, 3, 3, 2, -1, -4, 0, -1});
  const auto r =
      run("TopK", {x, tensor<int64_t>({1}, {3})}, {{DType::kF32, {2, 3}}, {DType::kI64, {2, 3}}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(elems<float>((*r)[0]), (std::vector<float>{3, 3, 2, 0, -1, -1}));
  EXPECT_EQ(elems<int64_t>((*r)[1]), (std::vector<int64_t>{1, 2, 3, 2, 0, 3}));
}

TEST(TopK, SmallestAlongAnInnerAxis) {
  const auto x = tensor<int32_t>({3, 2}, {5, 1, 4, 2, 6, 0});
  const auto r = run("TopK", {x}, {{DType::kI32, {2, 2}}, {DType::kI64, {2, 2}}},
                     {{"axis", int64_t{-2}}, {"largest", int64_t{0}}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(elems<int32_t>((*r)[0]), (std::vector<int32_t>{4, 0, 5, 1}));
  EXPECT_EQ(elems<int64_t>((*r)[1]), (std::vector<int64_t>{1, 2, 0, 0}));
}

TEST(TopK, NanCountsAsLargest) {
  const auto x = tensor<float>({4}, {1, kNan, 2, kNan});
  const auto r = run("TopK", {x}, {{DType::kF32, {3}}, {DType::kI64, {3}}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(elems<int64_t>((*r)[1]), (std::vector<int64_t>{1, 3, 2}));
}

TEST(TopK, Errors) {
  const auto x = tensor<float>({2, 2}, {1, 2, 3, 4});
  expect_error(run("TopK", {x}, {{DType::kF32, {2, 3}}}), ErrorCode::kInvalidModel, "K is 3");
  expect_error(run("TopK", {x}, {{DType::kF32, {2, 1}}}, {{"axis", int64_t{2}}}),
               ErrorCode::kInvalidModel, "axis 2");
  expect_error(run("TopK", {x}, {{DType::kF32, {1, 1}}}), ErrorCode::kInvalidModel, "1x1");
  expect_error(run("TopK", {x, tensor<int64_t>({1}, {2})}, {{DType::kF32, {2, 1}}}),
               ErrorCode::kInvalidArgument, "compiled for 1");
  expect_error(run("TopK", {x}, {{DType::kF32, {2, 1}}}, {{"axis", std::string("x")}}),
               ErrorCode::kInvalidModel, "'axis'");
}

// ---- scatter and gather -----------------------------------------------------------------------

TEST(ScatterElements, ReplacesAlongAxisZero) {
  const auto r = run("ScatterElements",
                     {tensor<float>({3, 3}, std::vector<float>(9, 0)),
                      tensor<int64_t>({2, 3}, {1, 0, 2, 0, 2, -2}),
                      tensor<float>({2, 3}, {1, 1.5f, 1.25f, 2, 2.5f, 2.25f})},
                     {{DType::kF32, {3, 3}}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(elems<float>((*r)[0]), (std::vector<float>{2, 1.5f, 0, 1, 0, 2.25f, 0, 2.5f, 1.25f}));
}

TEST(ScatterElements, CombinesRepeatedTargets) {
  const auto scatter = [](const char* reduction) {
    const auto r =
        run("ScatterElements",
            {tensor<int32_t>({1, 3}, {10, 20, 30}), tensor<int32_t>({1, 4}, {1, 1, 0, -1}),
             tensor<int32_t>({1, 4}, {2, 3, 40, 5})},
            {{DType::kI32, {1, 3}}}, {{"axis", int64_t{1}}, {"reduction", std::string(reduction)}});
    return r.ok() ? elems<int32_t>((*r)[0]) : std::vector<int32_t>{};
  };
  EXPECT_EQ(scatter("none"), (std::vector<int32_t>{40, 3, 5}));
  EXPECT_EQ(scatter("add"), (std::vector<int32_t>{50, 25, 35}));
  EXPECT_EQ(scatter("mul"), (std::vector<int32_t>{400, 120, 150}));
  EXPECT_EQ(scatter("min"), (std::vector<int32_t>{10, 2, 5}));
  EXPECT_EQ(scatter("max"), (std::vector<int32_t>{40, 20, 30}));
  EXPECT_EQ(scatter("mean"), std::vector<int32_t>{});
}

TEST(ScatterElements, SumsOfTruthsAreTruths) {
  const auto truths = [](std::vector<int64_t> values) {
    Tensor t(DType::kBool, {static_cast<int64_t>(values.size())});
    for (size_t i = 0; i < values.size(); ++i) t.set_i64(static_cast<int64_t>(i), values[i]);
    return t;
  };
  for (const auto& [reduction, expected] : {std::pair("add", std::vector<uint8_t>{1, 1, 0}),
                                            std::pair("mul", std::vector<uint8_t>{1, 0, 0})}) {
    const auto r =
        run("ScatterElements",
            {truths({1, 1, 0}), tensor<int64_t>({4}, {0, 0, 1, 2}), truths({1, 1, 0, 0})},
            {{DType::kBool, {3}}}, {{"reduction", std::string(reduction)}});
    ASSERT_TRUE(r.ok());
    const auto* bytes = reinterpret_cast<const uint8_t*>((*r)[0].bytes());
    EXPECT_EQ(std::vector<uint8_t>(bytes, bytes + 3), expected) << reduction;
  }
}

TEST(ScatterElements, Errors) {
  const auto data = tensor<float>({2, 2}, {0, 0, 0, 0});
  const auto updates = tensor<float>({1, 2}, {1, 2});
  expect_error(run("ScatterElements", {data, tensor<int64_t>({1, 2}, {0, 2}), updates},
                   {{DType::kF32, {2, 2}}}),
               ErrorCode::kInvalidArgument, "index 2");
  expect_error(run("ScatterElements", {data, tensor<int64_t>({1, 3}, {0, 0, 0}), updates},
                   {{DType::kF32, {2, 2}}}),
               ErrorCode::kInvalidModel, "updates");
  expect_error(run("ScatterElements",
                   {data, tensor<int64_t>({1, 3}, {0, 0, 0}), tensor<float>({1, 3}, {1, 2, 3})},
                   {{DType::kF32, {2, 2}}}),
               ErrorCode::kInvalidModel, "1x3");
  expect_error(run("ScatterElements", {data, tensor<float>({1, 2}, {0, 0}), updates},
                   {{DType::kF32, {2, 2}}}),
               ErrorCode::kInvalidModel, "i32 or i64");
}

TEST(ScatterNd, ReplacesSlicesAndElements) {
  const auto data = tensor<float>({3, 2}, {1, 2, 3, 4, 5, 6});
  const auto slices = run(
      "ScatterND", {data, tensor<int64_t>({2, 1}, {2, 0}), tensor<float>({2, 2}, {50, 60, 10, 20})},
      {{DType::kF32, {3, 2}}});
  ASSERT_TRUE(slices.ok());
  EXPECT_EQ(elems<float>((*slices)[0]), (std::vector<float>{10, 20, 3, 4, 50, 60}));
  const auto added =
      run("ScatterND",
          {data, tensor<int64_t>({3, 2}, {0, 1, 0, 1, -1, 0}), tensor<float>({3}, {100, 200, 300})},
          {{DType::kF32, {3, 2}}}, {{"reduction", std::string("add")}});
  ASSERT_TRUE(added.ok());
  EXPECT_EQ(elems<float>((*added)[0]), (std::vector<float>{1, 302, 3, 4, 305, 6}));
}

TEST(ScatterNd, Errors) {
  const auto data = tensor<float>({3}, {1, 2, 3});
  expect_error(run("ScatterND", {data, tensor<int64_t>({1, 1}, {-4}), tensor<float>({1}, {0})},
                   {{DType::kF32, {3}}}),
               ErrorCode::kInvalidArgument, "index -4");
  expect_error(run("ScatterND", {data, tensor<int64_t>({1, 2}, {0, 0}), tensor<float>({1}, {0})},
                   {{DType::kF32, {3}}}),
               ErrorCode::kInvalidModel, "1x2");
}

TEST(GatherNd, ElementsSlicesAndBatches) {
  const auto data = tensor<float>({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  const auto slices =
      run("GatherND", {data, tensor<int64_t>({2, 2}, {0, 1, 1, -2})}, {{DType::kF32, {2, 2}}});
  ASSERT_TRUE(slices.ok());
  EXPECT_EQ(elems<float>((*slices)[0]), (std::vector<float>{2, 3, 4, 5}));
  const auto batched = run("GatherND", {data, tensor<int32_t>({2, 1}, {1, 0})},
                           {{DType::kF32, {2, 2}}}, {{"batch_dims", int64_t{1}}});
  ASSERT_TRUE(batched.ok());
  EXPECT_EQ(elems<float>((*batched)[0]), (std::vector<float>{2, 3, 4, 5}));
  expect_error(run("GatherND", {data, tensor<int64_t>({1, 3}, {0, 0, 2})}, {{DType::kF32, {1}}}),
               ErrorCode::kInvalidArgument, "index 2");
  expect_error(run("GatherND", {data, tensor<int64_t>({1, 4}, {0, 0, 0, 0})}, {{DType::kF32, {1}}}),
               ErrorCode::kInvalidModel, "1x4");
}

// ---- RoiAlign ---------------------------------------------------------------------------------

TEST(RoiAlign, TakesAsManySamplesAsARegionHasPixels) {
  const auto image = tensor<float>({1, 1, 2, 2}, {0, 1, 2, 3});
  const auto align = [&](std::vector<float> region, int64_t of, int64_t largest) {
    const Shape shape = {1, static_cast<int64_t>(region.size())};
    return run("RoiAlign", {image, tensor<float>(shape, region), tensor<int64_t>({1}, {of})},
               {{DType::kF32, {1, 1, 1, 1}}}, {{"largest", largest}});
  };
  // Two each way, at the pixels' centres.
  const auto mean = align({0, 0, 2, 2}, 0, 0), largest = align({0, 0, 2, 2}, -1, 1);
  ASSERT_TRUE(mean.ok() && largest.ok());
  EXPECT_EQ(elems<float>((*mean)[0]), std::vector<float>{1.5});
  EXPECT_EQ(elems<float>((*largest)[0]), std::vector<float>{3});
  const auto none = align({2, 2, 0, 0}, 0, 0);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(elems<float>((*none)[0]), std::vector<float>{0});
  expect_error(align({0, 0, 2, 2}, 1, 0), ErrorCode::kInvalidArgument, "index 1");
  expect_error(align({0, 0, 1e9F, 2}, 0, 0), ErrorCode::kInvalidArgument, "samples");
  expect_error(align({0, 0, kNan, 2}, 0, 0), ErrorCode::kInvalidArgument, "samples");
  expect_error(align({0, 0, 2}, 0, 0), ErrorCode::kInvalidModel, "regions");
}

// ---- TreeEnsemble -----------------------------------------------------------------------------

/// Feature 1 <= 2 ? (feature 0 == 5 ? 1 : 2) : 4 to target 0, and a tree that is a leaf: 8 to 1.
struct Trees {
  std::vector<int32_t> nodes = {1, 0, 1, 4, 0, 4, 2, 3, 0, 6, 0, 1,
                                0, 6, 1, 2, 0, 6, 2, 3, 0, 6, 3, 4};
  std::vector<int32_t> roots = {0, 5};

  Result<std::vector<Tensor>> run_on(const Tensor& x, int64_t aggregate = 1) const {
    const std::vector<Tensor> inputs = {x,
                                        tensor<int32_t>({6, 4}, nodes),
                                        tensor<float>({6}, {2, 5, 0, 0, 0, 0}),
                                        tensor<int32_t>({4}, {0, 0, 0, 1}),
                                        tensor<double>({4}, {1, 2, 4, 8}),
                                        tensor<int32_t>({2}, roots)};
    return run("TreeEnsemble", inputs, {{DType::kF32, {x.shape()[0], 2}}},
               {{"aggregate", aggregate}});
  }
};

TEST(TreeEnsemble, RowsGoTheirWay) {
  const Tensor x = tensor<float>({4, 2}, {5, 2, 4, 1, 5, 3, 5, kNan});
  const auto sums = Trees().run_on(x);
  ASSERT_TRUE(sums.ok()) << sums.error().message;
  EXPECT_EQ(elems<float>((*sums)[0]), (std::vector<float>{1, 8, 2, 8, 4, 8, 4, 8}));
  Trees tracking;
  tracking.nodes[1] += 8;  // NaN goes the way of true
  EXPECT_EQ(elems<float>((*tracking.run_on(x))[0])[6], 1);
  EXPECT_EQ(elems<float>((*Trees().run_on(x, 0))[0])[0], 0.5);
}

TEST(TreeEnsemble, NumbersThatDoNotFitAddNothing) {
  const Tensor x = tensor<float>({1, 2}, {5, 2});
  for (const auto& [place, number] : std::vector<std::pair<size_t, int32_t>>{
           {0, 7}, {0, -1}, {2, 0}, {2, 99}, {2, -5}, {6, 1}, {10, 77}, {11, -3}}) {
    Trees damaged;
    damaged.nodes[place] = number;
    const auto sums = damaged.run_on(x);
    ASSERT_TRUE(sums.ok());
    EXPECT_EQ(elems<float>((*sums)[0]), (std::vector<float>{0, 8})) << place << " " << number;
  }
  Trees rootless;
  rootless.roots = {-1, 6};
  EXPECT_EQ(elems<float>((*rootless.run_on(x))[0]), (std::vector<float>{0, 0}));
  expect_error(Trees().run_on(x, 4), ErrorCode::kInvalidModel, "'aggregate' is 4");
}

// ---- Det, Inverse -----------------------------------------------------------------------------

TEST(Det, OfEachMatrix) {
  const Tensor x = tensor<double>({3, 2, 2}, {1, 2, 3, 4, 0, 1, 1, 0, 1, 2, 2, 4});
  const auto r = run("Det", {x}, {{DType::kF64, {3}}});
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(elems<double>((*r)[0]), (std::vector<double>{-2, -1, 0}));
  EXPECT_EQ(elems<float>((*run("Det", {tensor<float>({0, 0}, {})}, {{DType::kF32, {}}}))[0])[0], 1);
  expect_error(run("Det", {tensor<float>({2, 3}, {0, 0, 0, 0, 0, 0})}, {{DType::kF32, {}}}),
               ErrorCode::kInvalidModel, "no square matrices");
}

TEST(Inverse, OfEachMatrix) {
  const Tensor x = tensor<float>({2, 3, 3}, {2, 0, 0, 0, 4, 0, 0, 0, 8, 0, 1, 0, 0, 0, 1, 1, 0, 2});
  const auto r = run("Inverse", {x}, {{DType::kF32, {2, 3, 3}}});
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(elems<float>((*r)[0]),
            (std::vector<float>{0.5, 0, 0, 0, 0.25, 0, 0, 0, 0.125, 0, -2, 1, 1, 0, 0, 0, 1, 0}));
}

// ---- CumSum -----------------------------------------------------------------------------------

TEST(CumSum, DirectionsAndAxes) {
  const auto x = tensor<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto sums = [&](int64_t axis, int64_t exclusive, int64_t reverse) {
    const auto r = run("CumSum", {x, tensor<int64_t>({}, {axis})}, {{DType::kF32, {2, 3}}},
                       {{"exclusive", exclusive}, {"reverse", reverse}});
    return r.ok() ? elems<float>((*r)[0]) : std::vector<float>{};
  };
  EXPECT_EQ(sums(1, 0, 0), (std::vector<float>{1, 3, 6, 4, 9, 15}));
  EXPECT_EQ(sums(-2, 0, 0), (std::vector<float>{1, 2, 3, 5, 7, 9}));
  EXPECT_EQ(sums(1, 1, 0), (std::vector<float>{0, 1, 3, 0, 4, 9}));
  EXPECT_EQ(sums(1, 0, 1), (std::vector<float>{6, 5, 3, 15, 11, 6}));
  EXPECT_EQ(sums(1, 1, 1), (std::vector<float>{5, 3, 0, 11, 6, 0}));
  EXPECT_EQ(sums(2, 0, 0), std::vector<float>{}) << "axis out of range";
}

TEST(CumSum, IntegersWrap) {
  const auto r = run("CumSum", {tensor<int32_t>({2}, {INT32_MAX, 1})}, {{DType::kI32, {2}}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(elems<int32_t>((*r)[0]), (std::vector<int32_t>{INT32_MAX, INT32_MIN}));
}

/// Long rows, with equal values and NaNs, against a sort of everything.
TEST(TopK, LongRowsAsIfAllWereSorted) {
  constexpr int64_t kExtent = 5000;
  Tensor x(DType::kF32, {kExtent});
  for (int64_t i = 0; i < kExtent; ++i) {
    x.set_f64(i, i % 611 == 7 ? kNan : static_cast<double>(i * 7919 % 1009));
  }
  for (const int64_t k : {1, 3, 300, 4999, 5000}) {
    for (const bool largest : {false, true}) {
      std::vector<int64_t> order(kExtent);
      std::iota(order.begin(), order.end(), int64_t{0});
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        const double u = x.at_f64(a), v = x.at_f64(b);
        if (std::isnan(u) || std::isnan(v))
          return std::isnan(u) != std::isnan(v) && std::isnan(largest ? u : v);
        return largest ? u > v : u < v;
      });
      order.resize(static_cast<size_t>(k));
      const auto r = run("TopK", {x, tensor<int64_t>({1}, {k})},
                         {{DType::kF32, {k}}, {DType::kI64, {k}}}, {{"largest", int64_t{largest}}});
      ASSERT_TRUE(r.ok()) << r.error().message;
      EXPECT_EQ(elems<int64_t>((*r)[1]), order) << k << " " << largest;
    }
  }
}

// ---- recurrences ------------------------------------------------------------------------------

/// With the inputs of the ONNX operator; X is projected here, and R and B are laid out as the
/// routines take them.
Result<std::vector<Tensor>> run_recurrence(
    std::string_view name, const std::vector<Tensor>& inputs,
    const std::vector<std::pair<DType, Shape>>& outputs,
    std::map<std::string, RoutineAttribute> attributes = {}) {
  const Tensor &x = inputs[0], &w = inputs[1], &r = inputs[2];
  const int64_t directions = w.shape()[0], rows = w.shape()[1], features = w.shape()[2];
  const int64_t hidden = r.shape()[2], points = x.shape()[0] * x.shape()[1];
  const bool biased = inputs.size() > 3 && inputs[3].num_elems() > 0;
  Tensor projected(x.dtype(), {x.shape()[0], x.shape()[1], directions * rows});
  const int64_t panels = ceil_div(hidden, kPanel), gates = rows / hidden;
  Tensor turned(r.dtype(), {directions, gates, panels, hidden, kPanel});
  Tensor bias(DType::kF32, {directions, rows});
  for (int64_t d = 0; d < directions; ++d) {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t at = d * rows + row;
      const double from_x = biased ? inputs[3].at_f64(2 * d * rows + row) : 0;
      bias.set_f64(at, biased ? inputs[3].at_f64((2 * d + 1) * rows + row) : 0);
      for (int64_t point = 0; point < points; ++point) {
        double sum = from_x;
        for (int64_t k = 0; k < features; ++k) {
          sum += x.at_f64(point * features + k) * w.at_f64(at * features + k);
        }
        projected.set_f64(point * directions * rows + at, sum);
      }
      for (int64_t k = 0; k < hidden; ++k) {
        const int64_t gate = row / hidden, unit = row % hidden;
        if (gate >= gates) continue;  // of operands that do not fit together
        const int64_t panel = (d * gates + gate) * panels + unit / kPanel;
        turned.set_f64((panel * hidden + k) * kPanel + unit % kPanel, r.at_f64(at * hidden + k));
      }
    }
  }
  std::vector<Tensor> given = {projected, turned, bias};
  for (size_t i = 4; i < inputs.size(); ++i) given.push_back(inputs[i]);
  return run(name, given, outputs, std::move(attributes));
}

TEST(Rnn, LinearStateIsAWeightedSum) {
  // h = 2 x + 0.5 h + 1 with the identity as activation.
  const auto r =
      run_recurrence("RNN",
                     {tensor<float>({3, 1, 1}, {1, 2, 3}), tensor<float>({1, 1, 1}, {2}),
                      tensor<float>({1, 1, 1}, {0.5f}), tensor<float>({1, 2}, {0.75f, 0.25f})},
                     {{DType::kF32, {3, 1, 1, 1}}, {DType::kF32, {1, 1, 1}}},
                     {{"activations", std::string("affine")}, {"hidden_size", int64_t{1}}});
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(elems<float>((*r)[0]), (std::vector<float>{3, 6.5f, 10.25f}));
  EXPECT_EQ(elems<float>((*r)[1]), (std::vector<float>{10.25f}));
}

TEST(Rnn, BothDirectionsRespectSequenceLengths) {
  // h = x + h: running sums, forwards and backwards; batch 2 with lengths 3 and 2.
  const auto r = run_recurrence(
      "RNN",
      {tensor<float>({3, 2, 1}, {1, 10, 2, 20, 3, 30}), tensor<float>({2, 1, 1}, {1, 1}),
       tensor<float>({2, 1, 1}, {1, 1}), Tensor(DType::kF32, {0}), tensor<int32_t>({2}, {3, 2})},
      {{DType::kF32, {3, 2, 2, 1}}, {DType::kF32, {2, 2, 1}}},
      {{"activations", std::string("Affine,Affine")}, {"direction", std::string("bidirectional")}});
  ASSERT_TRUE(r.ok()) << r.error().message;
  // [step][direction][batch]
  EXPECT_EQ(elems<float>((*r)[0]), (std::vector<float>{1, 10, 6, 30, 3, 30, 5, 20, 6, 0, 3, 0}));
  EXPECT_EQ(elems<float>((*r)[1]), (std::vector<float>{6, 30, 6, 30}));
}

TEST(Rnn, BatchFirstLayoutAndInitialState) {
  const auto r =
      run_recurrence("RNN",
                     {tensor<float>({2, 2, 1}, {1, 2, 10, 20}), tensor<float>({1, 1, 1}, {1}),
                      tensor<float>({1, 1, 1}, {1}), Tensor(DType::kF32, {0}),
                      Tensor(DType::kI32, {0}), tensor<float>({2, 1, 1}, {100, 200})},
                     {{DType::kF32, {2, 2, 1, 1}}, {DType::kF32, {2, 1, 1}}},
                     {{"activations", std::string("Affine")}, {"layout", int64_t{1}}});
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(elems<float>((*r)[0]), (std::vector<float>{101, 103, 210, 230}));
  EXPECT_EQ(elems<float>((*r)[1]), (std::vector<float>{103, 230}));
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(Lstm, OneStepByHand) {
  // One unit, one input; gates in the order i o f c; every factor differs.
  const double x = 0.5, h0 = 0.25, c0 = -0.75;
  const double w[4] = {0.1, 0.2, 0.3, 0.4}, r[4] = {0.5, -0.6, 0.7, -0.8};
  const double wb[4] = {0.01, 0.02, 0.03, 0.04}, rb[4] = {-0.05, 0.06, -0.07, 0.08};
  const double p[3] = {0.9, -1.1, 1.2};  // i o f
  double pre[4];
  for (int g = 0; g < 4; ++g) pre[g] = w[g] * x + r[g] * h0 + wb[g] + rb[g];
  const double i = sigmoid(pre[0] + p[0] * c0), f = sigmoid(pre[2] + p[2] * c0);
  const double c1 = f * c0 + i * std::tanh(pre[3]);
  const double o = sigmoid(pre[1] + p[1] * c1);
  const double h1 = o * std::tanh(c1);
  const auto f32 = [](Shape shape, const double* values, int count) {
    return tensor<float>(std::move(shape), std::vector<float>(values, values + count));
  };
  std::vector<double> bias(wb, wb + 4);
  bias.insert(bias.end(), rb, rb + 4);
  const auto result = run_recurrence(
      "LSTM",
      {f32({1, 1, 1}, &x, 1), f32({1, 4, 1}, w, 4), f32({1, 4, 1}, r, 4),
       f32({1, 8}, bias.data(), 8), Tensor(DType::kI32, {0}), f32({1, 1, 1}, &h0, 1),
       f32({1, 1, 1}, &c0, 1), f32({1, 3}, p, 3)},
      {{DType::kF32, {1, 1, 1, 1}}, {DType::kF32, {1, 1, 1}}, {DType::kF32, {1, 1, 1}}});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_NEAR((*result)[0].data<float>()[0], h1, 1e-6);
  EXPECT_NEAR((*result)[1].data<float>()[0], h1, 1e-6);
  EXPECT_NEAR((*result)[2].data<float>()[0], c1, 1e-6);
}

TEST(Lstm, CoupledGatesAndClip) {
  // Saturated by the clip at 1: i = sigmoid(1), f = 1 - i, c~ = tanh(1), o = sigmoid(1).
  const auto result = run_recurrence(
      "LSTM",
      {tensor<float>({1, 1, 1}, {100}), tensor<float>({1, 4, 1}, {1, 1, 1, 1}),
       tensor<float>({1, 4, 1}, {0, 0, 0, 0})},
      {{DType::kF32, {1, 1, 1, 1}}, {DType::kF32, {1, 1, 1}}, {DType::kF32, {1, 1, 1}}},
      {{"clip", 1.0}, {"input_forget", int64_t{1}}});
  ASSERT_TRUE(result.ok()) << result.error().message;
  const double c = sigmoid(1) * std::tanh(1.0);
  EXPECT_NEAR((*result)[2].data<float>()[0], c, 1e-6);
  EXPECT_NEAR((*result)[0].data<float>()[0], sigmoid(1) * std::tanh(c), 1e-6);
}

/// Enough units for vectors and for what is left of them.
TEST(Lstm, ManyUnitsAreOnesOfTheirOwn) {
  constexpr int64_t kHidden = 37, kSteps = 3;
  Tensor x(DType::kF32, {kSteps, 1, 1}), w(DType::kF32, {1, 4 * kHidden, 1});
  Tensor r(DType::kF32, {1, 4 * kHidden, kHidden});
  for (int64_t t = 0; t < kSteps; ++t) x.set_f64(t, 0.5 * double(t) - 0.4);
  for (int64_t i = 0; i < w.num_elems(); ++i) w.set_f64(i, std::sin(double(i)) * 3);
  for (int64_t i = 0; i < r.num_elems(); ++i) r.set_f64(i, std::cos(double(i * i % 101)) * 0.4);
  const auto result = run_recurrence("LSTM", {x, w, r}, {{DType::kF32, {kSteps, 1, 1, kHidden}}});
  ASSERT_TRUE(result.ok()) << result.error().message;
  std::vector<double> h(kHidden, 0), c(kHidden, 0);
  for (int64_t t = 0; t < kSteps; ++t) {
    std::vector<double> pre(4 * kHidden);
    for (int64_t row = 0; row < 4 * kHidden; ++row) {
      pre[row] = w.at_f64(row) * x.at_f64(t);
      for (int64_t k = 0; k < kHidden; ++k) pre[row] += r.at_f64(row * kHidden + k) * h[k];
    }
    for (int64_t j = 0; j < kHidden; ++j) {
      c[j] =
          sigmoid(pre[2 * kHidden + j]) * c[j] + sigmoid(pre[j]) * std::tanh(pre[3 * kHidden + j]);
      h[j] = sigmoid(pre[kHidden + j]) * std::tanh(c[j]);
      EXPECT_NEAR((*result)[0].at_f64(t * kHidden + j), h[j], 2e-6);
    }
  }
}

TEST(WideMath, ActivationsKeepTheirAccuracy) {
  for (float x = -100; x < 100; x += 0.0137f) {
    std::vector<float> s(3, x), t(3, x);
    apply_sigmoid(s.data(), 3);
    apply_tanh(t.data(), 3);
    EXPECT_NEAR(s[1], sigmoid(x), 4e-7 * sigmoid(x) + 1e-37) << x;
    EXPECT_NEAR(t[2], std::tanh(double(x)), 4e-7 * std::fabs(std::tanh(double(x)))) << x;
  }
  std::vector<float> special = {kNan, std::numeric_limits<float>::infinity(), 0, 1e-20f};
  std::vector<float> s = special, t = special;
  apply_sigmoid(s.data(), 4);
  apply_tanh(t.data(), 4);
  EXPECT_TRUE(std::isnan(s[0]) && std::isnan(t[0]));
  EXPECT_EQ(s[1], 1);
  EXPECT_EQ(t[1], 1);
  EXPECT_EQ(s[2], 0.5f);
  EXPECT_EQ(t[3], 1e-20f);
}

TEST(Gru, ResetBeforeAndAfterTheProduct) {
  // Two units so that the reset gate's place in the matrix product matters.
  const double x = 0.5, h0[2] = {0.3, -0.6};
  const double w[6] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
  const double r[12] = {0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7, -0.8, 0.9, 1.0, -1.1, 1.2};
  const double wb[6] = {0.01, 0.02, 0.03, 0.04, 0.05, 0.06};
  const double rb[6] = {-0.1, 0.2, -0.3, 0.4, -0.5, 0.6};
  const auto f32 = [](Shape shape, const double* values, int count) {
    return tensor<float>(std::move(shape), std::vector<float>(values, values + count));
  };
  std::vector<double> bias(wb, wb + 6);
  bias.insert(bias.end(), rb, rb + 6);
  for (const bool linear : {false, true}) {
    double z[2], reset[2], expected[2];
    const auto product = [&](int row) { return r[row * 2] * h0[0] + r[row * 2 + 1] * h0[1]; };
    for (int j = 0; j < 2; ++j) {
      z[j] = sigmoid(w[j] * x + product(j) + wb[j] + rb[j]);
      reset[j] = sigmoid(w[2 + j] * x + product(2 + j) + wb[2 + j] + rb[2 + j]);
    }
    for (int j = 0; j < 2; ++j) {
      const int row = 4 + j;
      const double recurrent =
          linear ? reset[j] * (product(row) + rb[row])
                 : r[row * 2] * reset[0] * h0[0] + r[row * 2 + 1] * reset[1] * h0[1] + rb[row];
      const double candidate = std::tanh(w[row] * x + wb[row] + recurrent);
      expected[j] = (1 - z[j]) * candidate + z[j] * h0[j];
    }
    const auto result = run_recurrence(
        "GRU",
        {f32({1, 1, 1}, &x, 1), f32({1, 6, 1}, w, 6), f32({1, 6, 2}, r, 12),
         f32({1, 12}, bias.data(), 12), Tensor(DType::kI32, {0}), f32({1, 1, 2}, h0, 2)},
        {{DType::kF32, {1, 1, 1, 2}}, {DType::kF32, {1, 1, 2}}},
        {{"linear_before_reset", int64_t{linear}}});
    ASSERT_TRUE(result.ok()) << result.error().message;
    for (int j = 0; j < 2; ++j) {
      EXPECT_NEAR((*result)[0].data<float>()[j], expected[j], 1e-6) << linear;
      EXPECT_NEAR((*result)[1].data<float>()[j], expected[j], 1e-6) << linear;
    }
  }
}

TEST(Recurrences, Errors) {
  const Tensor x(DType::kF32, {2, 1, 3}), w(DType::kF32, {1, 16, 3}), r(DType::kF32, {1, 16, 4});
  const std::vector<std::pair<DType, Shape>> y = {{DType::kF32, {2, 1, 1, 4}}};
  ASSERT_TRUE(run_recurrence("LSTM", {x, w, r}, y).ok());
  expect_error(run_recurrence("LSTM", {x, w, w}, y), ErrorCode::kInvalidModel, "2x1x12");
  expect_error(run_recurrence("LSTM", {x, w, r}, {{DType::kF32, {2, 1, 4}}}),
               ErrorCode::kInvalidModel, "output Y");
  expect_error(run_recurrence("LSTM", {x, w, r}, y, {{"hidden_size", int64_t{5}}}),
               ErrorCode::kInvalidModel, "hidden_size is 5");
  expect_error(run_recurrence("LSTM", {x, w, r}, y, {{"activations", std::string("Sigmoid,Tanh")}}),
               ErrorCode::kInvalidModel, "needs 3");
  expect_error(
      run_recurrence("LSTM", {x, w, r}, y, {{"activations", std::string("Sigmoid,Tanh,Swish")}}),
      ErrorCode::kInvalidModel, "'Swish'");
  expect_error(run_recurrence("LSTM", {x, w, r}, y, {{"direction", std::string("sideways")}}),
               ErrorCode::kInvalidModel, "'sideways'");
  expect_error(run_recurrence("LSTM", {Tensor(DType::kF64, {2, 1, 3}), w, r}, y),
               ErrorCode::kUnsupported, "f64");
  expect_error(
      run_recurrence("LSTM", {x, w, r, Tensor(DType::kF32, {0}), tensor<int32_t>({1}, {3})}, y),
      ErrorCode::kInvalidArgument, "sequence_lens[0] is 3");
  const Shape huge = {int64_t{1} << 40, int64_t{1} << 40, 1};
  RoutineCall call;
  call.inputs = {{DType::kF32, huge}, {DType::kF32, huge}, {DType::kF32, huge}};
  call.outputs = {{DType::kF32, huge}};
  EXPECT_FALSE(prepare_routine("LSTM", call).ok());
}

}  // namespace
}  // namespace corf::runtime
