#include <bit>
#include <fmt/format.h>
#include <functional>
#include <limits>

#include "tests/codegen/compare.h"

namespace corf::codegen {
namespace {

constexpr int64_t kBlock = 1 << 16;

/// Distance from `actual` to the exact value in units of the last place of an f32 there.
double ulp_error(float actual, double exact) {
  const float rounded = static_cast<float>(exact);
  if (std::isnan(rounded)) return std::isnan(actual) ? 0 : 1e9;
  if (std::isinf(rounded) || std::isinf(actual)) return rounded == actual ? 0 : 1e9;
  const int exponent = std::max(std::ilogb(exact == 0 ? 1e-300 : exact), -126);
  return std::fabs(actual - exact) / std::ldexp(1.0, exponent - 23);
}

struct Function {
  std::string name;
  double bound_ulp;
  std::function<double(double)> exact;
};

const std::vector<Function>& functions() {
  static const std::vector<Function> list = {
      {"exp", 2, [](double x) { return std::exp(x); }},
      {"sigmoid", 2,
       [](double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }},
      {"tanh", 4, [](double x) { return std::tanh(x); }},
      {"erf", 4, [](double x) { return std::erf(x); }},
      {"log", 2, [](double x) { return std::log(x); }},
      {"sin", 2, [](double x) { return std::sin(x); }},
      {"cos", 2, [](double x) { return std::cos(x); }},
      {"pow 0.3", 2, [](double x) { return std::pow(x, double{0.3F}); }},
      {"pow -2.5", 2, [](double x) { return std::pow(x, -2.5); }},
      {"pow 3", 2, [](double x) { return std::pow(x, 3); }},
      {"pow 17.25", 2, [](double x) { return std::pow(x, 17.25); }},
  };
  return list;
}

/// The function's generated code over blocks of kBlock floats.
class Generated {
 public:
  /// `name`: of the operation, and its second argument if it has one.
  Generated(const std::string& name, Isa isa) {
    EmitOptions options;
    options.isa = isa;
    const size_t blank = name.find(' ');
    const bool binary = blank != std::string::npos;
    auto image =
        emit({parse(fmt::format(R"(
kernel f(x: f32[{0}], y: f32[{0}] mut) partition part {{
  for i in [0, {0}) step 32 {{
    tile (c: 32 vector) {{
      %x = load f32 x[i + c]
      %a = const f32 {2}
      %y = {1} f32 %x{3}
      store y[i + c] = %y
    }}
  }}
}})",
                                kBlock, name.substr(0, blank),
                                binary ? name.substr(blank + 1) : "0", binary ? ", %a" : ""))},
             options);
    EXPECT_TRUE(image.ok());
    auto loaded = runtime::load_image(*image);
    EXPECT_TRUE(loaded.ok());
    image_ = loaded.take();
  }
  void operator()(std::vector<float>& x, std::vector<float>& y) const {
    void* buffers[] = {x.data(), y.data()};
    image_->kernels()[0](&runtime::kernel_context(), buffers, nullptr, 0, nullptr);
  }

 private:
  std::shared_ptr<runtime::LoadedImage> image_;
};

/// Every `step`-th float, NaN, infinities and denormals among them.
void sweep(uint64_t step) {
  for (Isa isa : isas_to_test()) {
    for (const Function& function : functions()) {
      const Generated generated(function.name, isa);
      std::vector<float> x(kBlock), y(kBlock);
      double worst = 0;
      float worst_at = 0;
      for (uint64_t first = 0; first < (uint64_t{1} << 32); first += step * kBlock) {
        for (int64_t i = 0; i < kBlock; ++i) {
          const uint64_t bits = first + step * static_cast<uint64_t>(i);
          x[static_cast<size_t>(i)] = std::bit_cast<float>(static_cast<uint32_t>(bits));
        }
        generated(x, y);
        for (size_t i = 0; i < x.size(); ++i) {
          const double error = ulp_error(y[i], function.exact(x[i]));
          if (error > worst) {
            worst = error;
            worst_at = x[i];
          }
        }
      }
      std::printf("%-9s %-7s largest error %.3f ULP at %a\n", function.name.c_str(),
                  std::string(to_string(isa)).c_str(), worst, static_cast<double>(worst_at));
      EXPECT_LE(worst, function.bound_ulp) << function.name << " at " << worst_at;
    }
  }
}

TEST(VectorMath, WithinBoundsOnASample) { sweep(3989); }

TEST(VectorMath, WithinBoundsOnAllFloats) {
  if (!std::getenv("CORF_LONG_TESTS")) GTEST_SKIP() << "takes minutes: set CORF_LONG_TESTS=1";
  sweep(1);
}

TEST(VectorMath, SpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  for (Isa isa : isas_to_test()) {
    for (const Function& function : functions()) {
      const Generated generated(function.name, isa);
      std::vector<float> x(kBlock, 0.0f), y(kBlock);
      const std::vector<float> special = {0.0f,       -0.0f,      inf,         -inf,     NAN,
                                          1e-45f,     -1e-45f,    1.17e-38f,   3.4e38f,  -3.4e38f,
                                          88.7228f,   88.73f,     -87.4f,      -103.97f, -104.1f,
                                          1.0f,       -1.0f,      0.99999994f, 9.01f,    -9.02f,
                                          1.5707964f, 3.1415927f, -1e6f,       1.05e6f,  1.2e12f};
      std::copy(special.begin(), special.end(), x.begin());
      generated(x, y);
      for (size_t i = 0; i < special.size(); ++i) {
        const float expected = static_cast<float>(function.exact(special[i]));
        EXPECT_LE(ulp_error(y[i], function.exact(special[i])), function.bound_ulp)
            << function.name << "(" << special[i] << ") = " << y[i];
        if (expected == 0 && special[i] == 0) {
          EXPECT_EQ(std::signbit(expected), std::signbit(y[i])) << function.name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace corf::codegen
