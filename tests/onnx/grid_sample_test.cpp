// GridSample against its definition in float64: every mode, padding and alignment, in two and
// three dimensions.
#include <cmath>
#include <gtest/gtest.h>
#include <random>

#include "tests/onnx/model_builder.h"

namespace corf {
namespace {

struct Sampling {
  std::string mode, padding;
  bool align_corners = false;
};

/// The two ends of a dimension as the grid's -1 and 1 see them.
struct Ends {
  double lo, hi;
};
Ends ends_of(int64_t extent, bool align_corners) {
  const auto n = static_cast<double>(extent);
  return align_corners ? Ends{0, n - 1} : Ends{-0.5, n - 0.5};
}

double reflect(double x, const Ends& ends) {
  if (ends.hi == ends.lo) return ends.lo;
  while (x < ends.lo || x > ends.hi) x = x < ends.lo ? 2 * ends.lo - x : 2 * ends.hi - x;
  return x;
}

/// Where along one dimension the grid's `place` lies, counted in pixels.
double pixel_of(const Sampling& how, double place, int64_t extent) {
  const Ends ends = ends_of(extent, how.align_corners);
  double x = ends.lo + (place + 1) / 2 * (ends.hi - ends.lo);
  if (how.mode == "nearest") x = std::nearbyint(x);
  if (x >= ends.lo && x <= ends.hi) return x;
  if (how.padding == "border") return std::clamp<double>(x, 0, static_cast<double>(extent - 1));
  return how.padding == "reflection" ? reflect(x, ends) : x;
}

/// Weights of the pixels from floor(x) - 1 to floor(x) + 2.
std::vector<double> weights_of(const std::string& mode, double x) {
  const double t = x - std::floor(x);
  if (mode == "nearest") return {0, 1, 0, 0};
  if (mode == "linear") return {0, 1 - t, t, 0};
  auto curve = [](double d) {
    constexpr double kA = -0.75;
    d = std::abs(d);
    return d <= 1 ? ((kA + 2) * d - (kA + 3)) * d * d + 1
                  : ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA;
  };
  return {curve(t + 1), curve(t), curve(1 - t), curve(2 - t)};
}

/// The pixel that stands for one at `position`; none where that is 0.
std::optional<int64_t> inside(const Sampling& how, int64_t position, int64_t extent) {
  if (position >= 0 && position < extent) return position;
  if (how.padding == "zeros") return std::nullopt;
  if (how.padding == "border") return std::clamp<int64_t>(position, 0, extent - 1);
  const Ends ends = ends_of(extent, how.align_corners);
  return static_cast<int64_t>(reflect(static_cast<double>(position), ends));
}

/// The sample at `places` (last dimension first) of an image.
double sample(const Sampling& how, const Tensor& image, const Shape& spatial,
              const std::vector<double>& places, int64_t first, size_t d = 0) {
  if (d == spatial.size()) return image.at_f64(first);
  const double x = pixel_of(how, places[spatial.size() - 1 - d], spatial[d]);
  const std::vector<double> weights = weights_of(how.mode, x);
  double sum = 0;
  for (int64_t tap = 0; tap < 4; ++tap) {
    if (weights[tap] == 0) continue;
    const auto at = inside(how, static_cast<int64_t>(std::floor(x)) - 1 + tap, spatial[d]);
    if (at)
      sum += weights[tap] * sample(how, image, spatial, places, first * spatial[d] + *at, d + 1);
  }
  return sum;
}

/// Places from well before the image to well behind it, none so near to a jump of the result that
/// rounding decides on which side it is.
std::vector<float> draw_places(const Shape& spatial, int64_t count, std::mt19937& random) {
  std::uniform_real_distribution<float> any(-2.3F, 2.3F);
  std::vector<float> places;
  while (static_cast<int64_t>(places.size()) < count * static_cast<int64_t>(spatial.size())) {
    const float place = any(random);
    const int64_t extent = spatial[spatial.size() - 1 - places.size() % spatial.size()];
    bool is_near = false;
    for (const bool align : {false, true}) {
      const Ends ends = ends_of(extent, align);
      const double x = ends.lo + (place + 1.0) / 2 * (ends.hi - ends.lo);
      is_near = is_near || std::abs(2 * x - std::nearbyint(2 * x)) < 1e-3;
    }
    if (!is_near || extent == 1) places.push_back(place);
  }
  return places;
}

void check(const Shape& spatial, std::mt19937& random) {
  Shape image_shape = {2, 2}, grid_shape = {2};
  image_shape.insert(image_shape.end(), spatial.begin(), spatial.end());
  for (size_t d = 0; d < spatial.size(); ++d) grid_shape.push_back(d == 0 ? 7 : 3);
  grid_shape.push_back(static_cast<int64_t>(spatial.size()));
  const int64_t points = num_elems(grid_shape) / static_cast<int64_t>(spatial.size()) / 2;
  Tensor image(DType::kF32, image_shape);
  std::uniform_real_distribution<double> any(-1, 1);
  for (int64_t i = 0; i < image.num_elems(); ++i) image.set_f64(i, any(random));
  const std::vector<float> places = draw_places(spatial, 2 * points, random);
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    for (const char* padding : {"zeros", "border", "reflection"}) {
      for (const bool align : {false, true}) {
        const Sampling how = {mode, padding, align};
        ModelBuilder builder(20);
        builder.input("x", {image_shape.begin(), image_shape.end()});
        builder.input("grid", {grid_shape.begin(), grid_shape.end()});
        builder.node(
            "GridSample", {"x", "grid"}, {"y"},
            {{"mode", how.mode}, {"padding_mode", how.padding}, {"align_corners", int64_t{align}}});
        builder.output("y");
        const auto results = builder.run({image, floats(grid_shape, places)});
        ASSERT_TRUE(results.ok()) << results.error().message;
        for (int64_t n = 0; n < 2; ++n) {
          for (int64_t c = 0; c < 2; ++c) {
            for (int64_t p = 0; p < points; ++p) {
              const size_t first = (n * points + p) * spatial.size();
              const std::vector<double> at(places.begin() + first,
                                           places.begin() + first + spatial.size());
              const double wanted = sample(how, image, spatial, at, n * 2 + c);
              EXPECT_NEAR((*results)[0].at_f64((n * 2 + c) * points + p), wanted, 1e-5)
                  << mode << " " << padding << " align " << align << " point " << p << " of "
                  << to_string(spatial) << " at " << at[0] << ", " << at[1];
            }
          }
        }
      }
    }
  }
}

TEST(GridSample, AgreesWithItsDefinition) {
  std::mt19937 random(11);
  for (const Shape& spatial :
       {Shape{5, 6}, Shape{4, 1}, Shape{2, 3}, Shape{3, 5, 4}, Shape{2, 4, 1}}) {
    check(spatial, random);
  }
}

}  // namespace
}  // namespace corf
