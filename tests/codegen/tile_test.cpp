// Longer than 500 lines because it holds, as text, a kernel of each form that tiles take.
#include <fmt/format.h>

#include "tests/codegen/compare.h"

namespace corf::codegen {
namespace {

KernelRun run_of(const std::string& text, std::vector<int64_t> params = {},
                 int64_t partitions = 1) {
  KernelRun run;
  run.kernel = parse(text);
  run.params = std::move(params);
  run.partitions = partitions;
  uint32_t seed = 1;
  for (const loop::KernelBuffer& buffer : run.kernel.buffers) {
    if (!buffer.written) {
      run.inputs.push_back(small_integers(buffer.dtype, buffer.size_elems, ++seed));
    }
  }
  return run;
}

TEST(Tile, OuterProductOfEveryWidth) {
  for (int channels = 1; channels <= 49; ++channels) {
    expect_as_interpreted(
        run_of(fmt::format(R"(
kernel conv(x: f32[{x}], w: f32[{w}], bias: f32[{c}], y: f32[{y}] mut) partition part {{
  for row in [part*2, part*2 + 2) step 1 {{
    tile (ow: 3, c: {c} vector) {{
      %zero = const f32 0
      %bias = load f32 bias[c]
      acc %sum f32 (ow, c) = %bias
      loop k in [0, 5) step 1 unroll 2 {{
        %x = load f32 x[row*15 + ow*5 + k]
        %w = load f32 w[k*{c} + c]
        %sum += %x * %w
      }}
      %y = max f32 %sum, %zero
      store y[row*3*{c} + ow*{c} + c] = %y
    }}
  }}
}})",
                           fmt::arg("c", channels), fmt::arg("x", 4 * 15),
                           fmt::arg("w", 5 * channels), fmt::arg("y", 4 * 3 * channels)),
               {}, 2));
    if (HasFatalFailure()) return;
  }
}

/// Four rows of bytes at once, of which the last is none or lies outside of some windows: products
/// of the largest bytes, every number of channels.
TEST(Tile, RowsOfBytesAreInterleaved) {
  for (int channels = 1; channels <= 40; ++channels) {
    SCOPED_TRACE(channels);
    KernelRun run;
    run.kernel = parse(fmt::format(R"(
kernel columns(x: u8[{x}], w: i8[{w}], y: i32[{y}] mut) partition part {{
  for row in [0, 2) step 1 {{
    tile (ow: 3, kw: 2, kh: 4, c: {c} vector) {{
      %zero = const i32 0
      acc %sum i32 (ow, c) = %zero
      %x = load u8 x[row*4*{c} + kh*4*{c} + ow*{c} + kw*{c} + c] guard(0 <= kh < 3, 0 <= row + kh < 3) padding 7
      %w = load i8 w[kw*4*{c} + c*4 + kh]
      %sum += %x * %w over (kw, kh)
      store y[row*3*{c} + ow*{c} + c] = %sum
    }}
  }}
}})",
                                   fmt::arg("c", channels), fmt::arg("x", 16 * channels),
                                   fmt::arg("w", 8 * channels), fmt::arg("y", 6 * channels)));
    run.inputs = {small_integers(DType::kU8, 16 * channels, 1, 127),
                  small_integers(DType::kI8, 8 * channels, 2, 127)};
    expect_as_interpreted(run);
    for (Tensor& bytes : run.inputs) {
      for (int64_t i = 0; i < bytes.num_elems(); ++i) {
        bytes.set_i64(i, bytes.dtype() == DType::kU8 ? 255 : i % 3 == 0 ? 127 : -128);
      }
    }
    expect_as_interpreted(run);
    if (HasFatalFailure()) return;
  }
}

/// Four planes become the channels of each pixel, the last of them padding; rows of every length.
TEST(Tile, PlanesOfBytesAreInterleaved) {
  for (int width = 1; width <= 40; ++width) {
    SCOPED_TRACE(width);
    for (const char* type : {"u8", "i8"}) {
      expect_as_interpreted(
          run_of(fmt::format(R"(
kernel pixels(x: {t}[{x}], y: {t}[{y}] mut) partition part {{
  tile (c: 4, w: {w} vector) {{
    %x = load {t} x[c*{w} + w] guard(0 <= c < 3) padding 9
    store y[w*4 + c] = %x
  }}
}})",
                             fmt::arg("t", type), fmt::arg("w", width), fmt::arg("x", 3 * width),
                             fmt::arg("y", 4 * width))));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Tile, PrefetchesChangeNothing) {
  for (int64_t far : {0, 16, 1 << 20}) {
    expect_as_interpreted(run_of(fmt::format(R"(
kernel product(x: f32[40], w: f32[320], y: f32[128] mut) partition part params(n) {{
  for row in [part*2, part*2 + 2) step 1 {{
    tile (m: 2, c: 32 vector) {{
      %zero = const f32 0
      acc %sum f32 (m, c) = %zero
      prefetch x[row*10]
      loop k in [0, n) step 1 unroll 4 {{
        prefetch w[row*160 + k*8 + {far}]
        %x = load f32 x[row*20 + m*10 + k]
        %w = load f32 w[k*32 + c]
        %sum += %x * %w
      }}
      store y[row*64 + m*32 + c] = %sum
    }}
  }}
}})",
                                             fmt::arg("far", far)),
                                 {10}));
    if (HasFatalFailure()) return;
  }
}

/// Sums with coefficients 0, 1, -1 and others, whose accumulators start from 0, -0 and values.
TEST(Tile, TablesOfCoefficients) {
  for (const char* dtype : {"f32", "f64"}) {
    for (const char* start : {"const {t} 0", "const {t} -0", "load {t} y0[c]"}) {
      for (int channels : {1, 5, 16, 37}) {
        const std::string init = fmt::format(fmt::runtime(start), fmt::arg("t", dtype));
        expect_as_interpreted(run_of(
            fmt::format(R"(
kernel transform(x: {t}[{x}], y0: {t}[{c}], y: {t}[{y}] mut) partition part {{
  tile (a: 4, i: 5, c: {c} vector) {{
    %init = {init}
    acc %sum {t} (a, c) = %init
    %table = table {t} (a, i) [1, 0, -1, 0, 0, 0, -1, 1, 2, 0, 0, 0, 0, 0, 0, 0.5, -4, 0, 3, 1]
    %x = load {t} x[i*{c} + c]
    %sum += %table * %x over (i)
    store y[a*{c} + c] = %sum
  }}
}})",
                        fmt::arg("t", dtype), fmt::arg("init", init), fmt::arg("c", channels),
                        fmt::arg("x", 5 * channels), fmt::arg("y", 4 * channels))));
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// Both ways round, without a vector axis, over the lanes, and as the operand of something else.
TEST(Tile, TablesAsAnyOperand) {
  expect_as_interpreted(run_of(R"(
kernel tables(x: f32[35], y: f32[4] mut, z: f32[1] mut, v: f32[14] mut) partition part {
  tile (a: 2, i: 2) {
    %zero = const f32 0
    acc %sum f32 (a) = %zero
    %x = load f32 x[i]
    %t = table f32 (a, i) [0, 3, -1, 0]
    %u = table f32 (a) [2, 0]
    %sum += %x * %t over (i)
    %sum += %u * %t over (i)
    store y[a] = %sum
  }
  tile (j: 2, c: 7 vector) {
    %zero = const f32 0
    acc %sum f32 () = %zero
    %x = load f32 x[7*j + c]
    %t = table f32 (j) [0, -3]
    %sum += %t * %x over (j, c)
    store z[0] = %sum
    %y = mul f32 %t, %x
    store v[7*j + c] = %y
  }
  tile (k: 2) {
    %t = table f32 (k) [5, 7]
    %s = reduce sum f32 %t over k
    store y[2] = %s
    store y[3] = %s
  }
}
)"));
}

/// A zero is no term: what is not a number there does not matter.
TEST(Tile, ZerosOfATableSkipWhatIsNotANumber) {
  KernelRun run = run_of(R"(
kernel skip(x: f32[6], y: f32[3] mut) partition part {
  tile (i: 2, c: 3 vector) {
    %zero = const f32 0
    acc %sum f32 (c) = %zero
    %t = table f32 (i) [0, 2]
    %x = load f32 x[3*i + c]
    %sum += %t * %x over (i)
    store y[c] = %sum
  }
}
)");
  run.inputs[0].set_f64(0, std::nan(""));
  run.inputs[0].set_f64(1, INFINITY);
  expect_as_interpreted(run);
  const std::vector<Tensor> result = run_interpreted(run);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(result[0].at_f64(i), 2 * run.inputs[0].at_f64(3 + i));
  }
}

TEST(Tile, Depthwise) {
  for (int stride : {1, 2}) {
    for (int channels : {1, 7, 16, 24, 40}) {
      const int width = 3 * stride + 3;
      expect_as_interpreted(
          run_of(fmt::format(R"(
kernel depthwise(x: f32[{x}], w: f32[{w}], y: f32[{y}] mut) partition part params(row) {{
  tile (ow: 4, kh: 3, kw: 3, c: {c} vector) {{
    %zero = const f32 0
    acc %sum f32 (ow, c) = %zero
    %x = load f32 x[(row + kh)*{width}*{c} + (ow*{s} + kw)*{c} + c]
    %w = load f32 w[(kh*3 + kw)*{c} + c]
    %sum += %x * %w over (kh, kw)
    store y[ow*{c} + c] = %sum
  }}
}})",
                             fmt::arg("c", channels), fmt::arg("s", stride),
                             fmt::arg("width", width), fmt::arg("x", 4 * width * channels),
                             fmt::arg("w", 9 * channels), fmt::arg("y", 4 * channels)),
                 {1}));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Tile, GuardsByRowAndByLane) {
  for (int channels : {5, 16, 20}) {
    expect_as_interpreted(run_of(fmt::format(R"(
kernel guarded(x: f32[{x}], y: f32[{y}] mut, z: f32[{y}] mut) partition part params(h) {{
  for oh in [0, h) step 1 {{
    tile (ow: 6, kh: 3, c: {c} vector) {{
      %zero = const f32 0
      acc %sum f32 (ow, c) = %zero
      %x = load f32 x[(oh + kh - 1)*6*{c} + (ow - 1)*{c} + c] guard(0 <= oh + kh - 1 < 4, 0 <= ow - 1 < 5) padding 3
      %sum += %x over (kh)
      store y[(oh*6 + ow)*{c} + c] = %sum
      %shifted = load f32 x[oh*6*{c} + ow*{c} + c - 2] guard(0 <= c - 2 < {c}) padding -1
      %back = load f32 x[oh*6*{c} + ow*{c} + {c} - 1 - c] guard(1 <= 2*c < {c})
      %both = add f32 %shifted, %back
      store z[(oh*6 + ow)*{c} + c] = %both guard(0 <= c + oh < {c}, 0 <= ow + oh < 7)
    }}
  }}
}})",
                                             fmt::arg("c", channels), fmt::arg("x", 24 * channels),
                                             fmt::arg("y", 24 * channels)),
                                 {4}));
    if (HasFatalFailure()) return;
  }
}

TEST(Tile, StridedAndReversedAccess) {
  expect_as_interpreted(run_of(R"(
kernel transpose(x: f32[77], y: f32[77] mut) partition part {
  for i in [0, 7) step 1 {
    tile (c: 11 vector) {
      %x = load f32 x[c*7 + i]
      store y[i*11 + 10 - c] = %x
    }
  }
})"));
  expect_as_interpreted(run_of(R"(
kernel shuffle(x: f32[36], y: f32[36] mut) partition part {
  tile (i: 3, c: 12 vector) {
    %x = load f32 x[i*12 + (c mod 3)*4 + (c floordiv 3)]
    store y[i + c*3] = %x
  }
})"));
}

/// Every lane reads an element of its own choice, the last one the buffer's last: behind it is a
/// guard page, however few lanes the last vector has.
TEST(Tile, LanesReadNothingBehindTheirElements) {
  for (int lanes = 1; lanes <= 40; ++lanes) {
    SCOPED_TRACE(lanes);
    expect_as_interpreted(
        run_of(fmt::format(R"(
kernel lanes(position: i64[{lanes}], x: f32[{x}], y: f32[{lanes}] mut) partition part {{
  tile (c: {lanes} vector) {{
    %at = load i64 position[c]
    bind at = %at
    %whole = load f32 x[(c floordiv 8)]
    %chosen = load f32 x[min(max(at, {last}), {last})]
    %y = add f32 %whole, %chosen
    store y[c] = %y
  }}
}})",
                           fmt::arg("lanes", lanes), fmt::arg("x", (lanes + 7) / 8),
                           fmt::arg("last", (lanes - 1) / 8))));
    if (HasFatalFailure()) return;
  }
}

/// Lanes that are apart in memory while points follow one another go through registers, points of
/// any number together; buffers end at guard pages.
TEST(Tile, TransposesAnyNumberOfPoints) {
  for (int points = 4; points <= 20; ++points) {
    for (int lanes : {5, 16, 24}) {
      const std::string p = std::to_string(points), c = std::to_string(lanes);
      const std::string size = std::to_string(points * lanes);
      expect_as_interpreted(run_of("kernel stores(x: f32[" + size + "], y: f32[" + size +
                                   "] mut) partition part {\n  tile (i: " + p + ", c: " + c +
                                   " vector) {\n    %x = load f32 x[i*" + c +
                                   " + c]\n    store y[c*" + p + " + i] = %x\n  }\n}"));
      expect_as_interpreted(run_of("kernel loads(x: f32[" + size + "], y: f32[" + size +
                                   "] mut) partition part {\n  tile (i: " + p + ", c: " + c +
                                   " vector) {\n    %x = load f32 x[c*" + p +
                                   " + i]\n    store y[i*" + c + " + c] = %x\n  }\n}"));
    }
  }
}

TEST(Tile, InterleavesPairsOfBfloat16Numbers) {
  for (int lanes : {1, 5, 16, 24, 32, 37}) {
    expect_as_interpreted(run_of(fmt::format(R"(
kernel pairs(x: f32[{x}], y: bf16[{x}] mut) partition part {{
  tile (pair: 3, half: 2, c: {c} vector) {{
    %x = load f32 x[pair*{two} + half*{c} + c]
    %upper = truncate bf16 %x
    store y[pair*{two} + c*2 + half] = %upper
  }}
}})",
                                             fmt::arg("c", lanes), fmt::arg("two", 2 * lanes),
                                             fmt::arg("x", 6 * lanes))));
    if (HasFatalFailure()) return;
  }
}

/// Functions of single numbers are computed in f64, and rounded to f32 before they are to f16.
TEST(Tile, FunctionsOfHalves) {
  for (int lanes : {1, 8, 37}) {
    expect_as_interpreted(run_of(fmt::format(R"(
kernel functions(x: f16[{c}], y: f16[{c}] mut, z: f16[{c}] mut) partition part {{
  tile (c: {c}) {{
    %x = load f16 x[c]
    %y = acos f16 %x
    store y[c] = %y
    %z = tanh f16 %y
    store z[c] = %z
  }}
}})",
                                             fmt::arg("c", lanes))));
    if (HasFatalFailure()) return;
  }
}

TEST(Tile, ReductionsOverLanesAndPoints) {
  for (int lanes : {1, 3, 8, 21, 32, 43}) {
    for (const char* reduction : {"sum", "max", "min"}) {
      expect_as_interpreted(run_of(fmt::format(R"(
kernel reduce(x: f32[{x}], y: f32[4] mut, z: f32[{c}] mut) partition part {{
  tile (r: 4, c: {c} vector) {{
    %x = load f32 x[r*{c} + c]
    %row = reduce {op} f32 %x over c
    store y[r] = %row
    %column = reduce {op} f32 %x over r
    store z[c] = %column
  }}
}})",
                                               fmt::arg("c", lanes), fmt::arg("x", 4 * lanes),
                                               fmt::arg("op", reduction))));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Tile, AccumulatorWithoutTheVectorAxis) {
  expect_as_interpreted(run_of(R"(
kernel dot(x: f32[40], w: f32[20], y: f32[2] mut) partition part {
  tile (r: 2, c: 20 vector) {
    %zero = const f32 0
    acc %sum f32 (r) = %zero
    %x = load f32 x[r*20 + c]
    %w = load f32 w[c]
    %sum += %x * %w over (c)
    store y[r] = %sum
  }
})"));
}

TEST(Tile, GatherByBoundVariable) {
  KernelRun run = run_of(R"(
kernel gather(table: f32[60], indices: i64[7], y: f32[84] mut, z: f32[7] mut) partition part {
  for i in [0, 7) step 1 {
    tile (c: 12 vector) {
      %row = load i64 indices[i]
      bind r = %row
      %x = load f32 table[r*12 + c] guard(0 <= r < 5) padding 9
      store y[i*12 + c] = %x
    }
  }
  tile (l: 7 vector) {
    %which = load i64 indices[l]
    bind w = %which
    %picked = load f32 table[w*12 + 3] guard(0 <= w < 5)
    store z[l] = %picked
  }
})");
  for (int64_t i = 0; i < 7; ++i) run.inputs[1].set_i64(i, (i * 3) % 6);
  expect_as_interpreted(run);
}

TEST(Tile, StoresAreSeenByLaterLoads) {
  expect_as_interpreted(run_of(R"(
kernel ring(x: f32[96], y: f32[96] mut) partition part scratch(ring: f32[48]) {
  for i in [0, 4) step 1 {
    tile (p: 2, c: 12 vector) {
      %x = load f32 x[i*24 + p*12 + c]
      store ring[(i mod 2)*24 + p*12 + c] = %x
      %again = load f32 ring[(i mod 2)*24 + (1 - p)*12 + c]
      %twice = add f32 %again, %x
      store ring[(i mod 2)*24 + p*12 + c] = %twice
      %last = load f32 ring[(i mod 2)*24 + p*12 + c]
      store y[i*24 + p*12 + c] = %last
    }
  }
})"));
}

TEST(Tile, LoopsWithUnknownBoundsAndAssignments) {
  for (int64_t n : {0, 1, 2, 5, 8}) {
    expect_as_interpreted(run_of(R"(
kernel running(x: f32[160], y: f32[20] mut, z: f32[20] mut) partition part params(n) {
  tile (c: 20 vector) {
    %zero = const f32 0
    %one = const f32 1
    acc %sum f32 (c) = %zero
    acc %best f32 (c) = %one
    loop i in [0, n) step 1 unroll 3 {
      %x = load f32 x[i*20 + c]
      %before = add f32 %sum, %zero
      %sum += %x
      %larger = max f32 %best, %before
      %best := %larger
      loop j in [0, 2) step 1 unroll 1 {
        %jj = index i64 j + i
        %jf = cast f32 %jj
        %sum += %x * %jf
      }
    }
    store y[c] = %sum
    store z[c] = %best
  }
})",
                                 {n}));
    if (HasFatalFailure()) return;
  }
}

TEST(Tile, SumsLanesOfProductsOfBytes) {
  for (const int lanes : {4, 8, 16, 20, 32}) {
    const loop::Kernel kernel = parse(fmt::format(R"(
kernel dot(x: u8[{0}], w: i8[{0}], y: i32[1] mut) partition part {{
  tile (k: {0} vector) {{
    %x = load u8 x[k]
    %xi = cast i32 %x
    %w = load i8 w[k]
    %wi = cast i32 %w
    %xw = mul i32 %xi, %wi
    %y = reduce sum i32 %xw over k
    store y[0] = %y
  }}
}})",
                                                  lanes));
    KernelRun run{kernel, {Tensor(DType::kU8, {lanes}), Tensor(DType::kI8, {lanes})}, {}};
    for (int i = 0; i < lanes; ++i) {
      run.inputs[0].set_i64(i, 255 - i);
      run.inputs[1].set_i64(i, i % 2 == 0 ? -128 + i : 127 - i);
    }
    expect_as_interpreted(run);
    if (HasFatalFailure()) return;
  }
}

TEST(Tile, LooksBytesUpInTables) {
  for (const char* index : {"u8", "i8"}) {
    for (const int lanes : {5, 16, 64, 100}) {
      const loop::Kernel kernel = parse(fmt::format(R"(
kernel look(table: i8[256], x: {0}[{1}], y: i8[{1}] mut) partition part {{
  tile (c: {1} vector) {{
    %x = load {0} x[c]
    bind at = %x
    %y = load i8 table[at + {2}]
    store y[c] = %y
  }}
}})",
                                                    index, lanes, index[0] == 'i' ? 128 : 0));
      KernelRun run{kernel, {Tensor(DType::kI8, {256}), Tensor(kernel.buffers[1].dtype, {lanes})}};
      for (int i = 0; i < 256; ++i) run.inputs[0].set_i64(i, (i * 37 + 11) % 256 - 128);
      for (int i = 0; i < lanes; ++i) {
        run.inputs[1].set_i64(i, (i * 91 + 5) % 256 - (index[0] == 'i' ? 128 : 0));
      }
      expect_as_interpreted(run);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace corf::codegen
