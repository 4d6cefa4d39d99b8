#include "picture.h"

#include <algorithm>
#include <cmath>
#include <png.h>
#include <stdexcept>

namespace {

constexpr int64_t kMostPixels = int64_t{1} << 28;

struct FreeImage {
  png_image* image;
  ~FreeImage() { png_image_free(image); }
};

}  // namespace

Picture read_png(const std::string& path) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  const FreeImage free_image{&image};
  if (png_image_begin_read_from_file(&image, path.c_str()) == 0) {
    throw std::runtime_error("cannot read " + path + ": " + image.message);
  }
  if (int64_t{image.width} * image.height > kMostPixels) {
    throw std::runtime_error("cannot read " + path + ": the picture is too large");
  }
  image.format = PNG_FORMAT_BGR;
  Picture picture{static_cast<int>(image.width), static_cast<int>(image.height), {}};
  picture.bgr.resize(PNG_IMAGE_SIZE(image));
  const png_color white = {255, 255, 255};
  if (png_image_finish_read(&image, &white, picture.bgr.data(), 0, nullptr) == 0) {
    throw std::runtime_error("cannot read " + path + ": " + image.message);
  }
  return picture;
}

Picture resize(const Picture& picture, int width, int height) {
  if (width == picture.width && height == picture.height) return picture;
  Picture result{width, height, std::vector<uint8_t>(size_t{3} * width * height)};
  // The pixels left and right (above and below) of a target pixel's centre, and the second's
  // weight.
  struct Neighbours {
    int first, second;
    double weight;
  };
  const auto neighbours = [](int target, int target_extent, int source_extent) {
    const double position =
        std::clamp((target + 0.5) * source_extent / target_extent - 0.5, 0.0, source_extent - 1.0);
    const int first = static_cast<int>(position);
    return Neighbours{first, std::min(first + 1, source_extent - 1), position - first};
  };
  const auto pixel = [&](int y, int x, int channel) -> double {
    return picture.bgr[(size_t{3} * y) * picture.width + size_t{3} * x + channel];
  };
  size_t next = 0;
  for (int y = 0; y < height; ++y) {
    const Neighbours rows = neighbours(y, height, picture.height);
    for (int x = 0; x < width; ++x) {
      const Neighbours columns = neighbours(x, width, picture.width);
      for (int channel = 0; channel < 3; ++channel) {
        const double above = std::lerp(pixel(rows.first, columns.first, channel),
                                       pixel(rows.first, columns.second, channel), columns.weight);
        const double below = std::lerp(pixel(rows.second, columns.first, channel),
                                       pixel(rows.second, columns.second, channel), columns.weight);
        result.bgr[next++] =
            static_cast<uint8_t>(std::lround(std::lerp(above, below, rows.weight)));
      }
    }
  }
  return result;
}
