#include "host/narrow.h"

#include <cmath>
#include <gtest/gtest.h>

namespace corf::host {
namespace {

struct Case {
  int type;
  double value;
  int code;  // with saturation
  int code_without_saturation;
};

TEST(Narrow, RoundsToTheNearestWithTiesToTheEvenCode) {
  constexpr double kInf = INFINITY;
  for (const Case& c : {
           Case{kFloat8E4M3FN, 1, 0x38, 0x38},
           Case{kFloat8E4M3FN, -448, 0xfe, 0xfe},
           Case{kFloat8E4M3FN, 464, 0x7e, 0x7e},
           Case{kFloat8E4M3FN, 1000, 0x7e, 0x7f},
           Case{kFloat8E4M3FN, 0x1p-9, 0x01, 0x01},
           Case{kFloat8E4M3FN, 0x1p-10, 0x00, 0x00},
           Case{kFloat8E4M3FN, 0x1.8p-9, 0x02, 0x02},
           Case{kFloat8E4M3FNUZ, -0.0, 0x00, 0x00},
           Case{kFloat8E4M3FNUZ, 240, 0x7f, 0x7f},
           Case{kFloat8E4M3FNUZ, -1000, 0xff, 0x80},
           Case{kFloat8E5M2, 57344, 0x7b, 0x7b},
           Case{kFloat8E5M2, 1e6, 0x7b, 0x7c},
           Case{kFloat8E5M2, -kInf, 0xfb, 0xfc},
           Case{kFloat8E5M2FNUZ, 57344, 0x7f, 0x7f},
           Case{kFloat4E2M1, 2.5, 0x4, 0x4},
           Case{kFloat4E2M1, -100, 0xf, 0xf},
           Case{kFloat8E8M0, 1.5, 128, 128},
           Case{kInt4, -8, 0x8, 0x8},
           Case{kUint4, 15.7, 0xf, 0xf},
           Case{kInt2, -1, 0x3, 0x3},
       }) {
    EXPECT_EQ(encode_narrow(c.type, c.value), c.code) << c.type << " " << c.value;
    EXPECT_EQ(encode_narrow(c.type, c.value, false), c.code_without_saturation)
        << c.type << " " << c.value;
  }
  EXPECT_EQ(quantize_narrow(kInt4, 100), 0x7);
  EXPECT_EQ(quantize_narrow(kUint4, -3), 0x0);
  EXPECT_EQ(quantize_narrow(kInt4, -2.5), 0xe);
}

TEST(Narrow, GivesBackEachCode) {
  for (int type = kFloat8E4M3FN; type <= kInt2; ++type) {
    for (int code = 0; code < 1 << narrow_bits(type); ++code) {
      const double value = decode_narrow(type, static_cast<uint8_t>(code));
      const uint8_t back = encode_narrow(type, value, false);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(decode_narrow(type, back))) << type << " " << code;
      } else {
        EXPECT_EQ(back, code) << type;
      }
    }
  }
}

}  // namespace
}  // namespace corf::host
