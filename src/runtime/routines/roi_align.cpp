#include <algorithm>
#include <cmath>

#include "runtime/routines/operands.h"

namespace corf::runtime {
namespace {

/// Samples each way of a part of a region: nobody's image has more pixels in one.
constexpr double kMostSamples = 1 << 14;

struct Regions {
  int64_t channels = 0, height = 0, width = 0;  // of an image
  int64_t count = 0, rows = 0, columns = 0;     // of the result
  double scale = 1;
  bool half_pixel = true, is_largest = false;
};

/// The two pixels beside a coordinate, and their weights: none beyond one pixel from the image.
template <typename Real>
struct Pixels {
  int64_t first = 0, second = 0;
  Real first_weight = 0, second_weight = 0;

  Pixels(Real place, int64_t extent) {
    const Real last = static_cast<Real>(extent - 1);
    if (!(place >= -1 && place <= last + 1)) return;
    place = std::clamp<Real>(place, 0, last);
    first = static_cast<int64_t>(place);
    second = std::min(first + 1, extent - 1);
    second_weight = place - static_cast<Real>(first);
    first_weight = 1 - second_weight;
  }
};

/// Where a region's samples lie along a dimension.
template <typename Real>
struct Span {
  Real begin = 0, share = 0;  // of a part of the region
  int64_t samples = 0;        // of a part

  Span(Real first, Real last, int64_t parts, const Regions& how) {
    const Real scale = static_cast<Real>(how.scale), shift = how.half_pixel ? Real(0.5) : Real(0);
    begin = first * scale - shift;
    Real size = last * scale - shift - begin;
    if (!how.half_pixel) size = std::max<Real>(size, 1);
    share = size / static_cast<Real>(parts);
    const Real wanted = std::ceil(share);
    samples = wanted <= 0 ? 0 : wanted <= Real(kMostSamples) ? static_cast<int64_t>(wanted) : -1;
  }
  Real place(int64_t part, int64_t sample) const {
    return begin + static_cast<Real>(part) * share +
           (static_cast<Real>(sample) + Real(0.5)) * share / static_cast<Real>(samples);
  }
};

template <typename T, typename Real>
Real sampled(const T* image, const Regions& how, const Span<Real>& down, const Span<Real>& across,
             int64_t row, int64_t column) {
  Real sum = 0, largest = 0;
  bool any = false;
  for (int64_t i = 0; i < down.samples; ++i) {
    const Pixels<Real> y(down.place(row, i), how.height);
    for (int64_t k = 0; k < across.samples; ++k) {
      const Pixels<Real> x(across.place(column, k), how.width);
      const T *upper = image + y.first * how.width, *lower = image + y.second * how.width;
      const Real parts[] = {y.first_weight * x.first_weight * static_cast<Real>(upper[x.first]),
                            y.first_weight * x.second_weight * static_cast<Real>(upper[x.second]),
                            y.second_weight * x.first_weight * static_cast<Real>(lower[x.first]),
                            y.second_weight * x.second_weight * static_cast<Real>(lower[x.second])};
      for (Real part : parts) {
        sum += part;
        largest = any ? std::max(largest, part) : part;
        any = true;
      }
    }
  }
  if (how.is_largest) return largest;
  return any ? sum / static_cast<Real>(down.samples * across.samples) : 0;
}

template <typename T>
Status align(const Regions& how, int64_t images, const T* x, const T* regions,
             const IndexReader& image_of, T* to) {
  using Real = std::conditional_t<std::is_same_v<T, double>, double, float>;
  for (int64_t r = 0; r < how.count; ++r, regions += 4) {
    const auto image = wrap_index(image_of[r], images);
    if (!image) return index_out_of_range(image_of[r], images);
    const Span<Real> down(static_cast<Real>(regions[1]), static_cast<Real>(regions[3]), how.rows,
                          how);
    const Span<Real> across(static_cast<Real>(regions[0]), static_cast<Real>(regions[2]),
                            how.columns, how);
    if (down.samples < 0 || across.samples < 0) {
      return make_error(ErrorCode::kInvalidArgument,
                        "region {} asks for more than {} samples in each of its parts", r,
                        kMostSamples);
    }
    for (int64_t c = 0; c < how.channels; ++c) {
      const T* plane = x + (*image * how.channels + c) * how.height * how.width;
      for (int64_t row = 0; row < how.rows; ++row) {
        for (int64_t column = 0; column < how.columns; ++column) {
          *to++ = static_cast<T>(sampled<T, Real>(plane, how, down, across, row, column));
        }
      }
    }
  }
  return {};
}

}  // namespace

/// Inputs: images [n, channels, height, width], regions [r, 4] (x1, y1, x2, y2), the image of each
/// [r] (i32 or i64). Output [r, channels, rows, columns]: the mean of as many samples of each part
/// of a region as pixels lie in it each way, rounded up. Attributes: scale (of regions), half_pixel
/// (1: pixels' centres are between integers), largest (1: the largest weighted pixel, not the
/// mean).
Result<PreparedRoutine> prepare_roi_align(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 3, 3, 1, 1));
  const RoutineOperand &x = call.inputs[0], &regions = call.inputs[1], &of = call.inputs[2];
  CORF_RETURN_IF_ERROR(check_index_dtype(of, "the images of regions"));
  CORF_RETURN_IF_ERROR(check_dtype(regions, x.dtype, "regions"));
  CORF_RETURN_IF_ERROR(check_dtype(call.outputs[0], x.dtype, "the output"));
  CORF_ASSIGN(const double scale, attribute_or<double>(call, "scale", 1));
  CORF_ASSIGN(const int64_t half_pixel, attribute_or<int64_t>(call, "half_pixel", 1));
  CORF_ASSIGN(const int64_t largest, attribute_or<int64_t>(call, "largest", 0));
  const Shape& result = call.outputs[0].shape;
  if (!is_float(x.dtype) || x.shape.size() != 4 || result.size() != 4) {
    return make_error(ErrorCode::kInvalidModel, "images {} {} and a result {}", to_string(x.dtype),
                      to_string(x.shape), to_string(result));
  }
  CORF_RETURN_IF_ERROR(check_shape(regions, {result[0], 4}, "regions"));
  CORF_RETURN_IF_ERROR(check_shape(of, {result[0]}, "the images of regions"));
  CORF_RETURN_IF_ERROR(
      check_shape(call.outputs[0], {result[0], x.shape[1], result[2], result[3]}, "the output"));
  const Regions how = {x.shape[1], x.shape[2], x.shape[3],      result[0],   result[2],
                       result[3],  scale,      half_pixel != 0, largest != 0};
  const int64_t images = num_elems(x.shape) == 0 ? 0 : x.shape[0];
  const DType dtype = x.dtype, index_dtype = of.dtype;
  return PreparedRoutine(
      [=](std::span<const void* const> inputs, std::span<void* const> outputs) -> Status {
        if (how.channels * how.rows * how.columns == 0) return {};
        const IndexReader image_of(index_dtype, inputs[2]);
        return visit_dtype(dtype, [&](auto type) -> Status {
          using T = typename decltype(type)::type;
          if constexpr (std::is_integral_v<T>) {
            return {};
          } else {
            return align(how, images, static_cast<const T*>(inputs[0]),
                         static_cast<const T*>(inputs[1]), image_of, static_cast<T*>(outputs[0]));
          }
        });
      });
}

}  // namespace corf::runtime
