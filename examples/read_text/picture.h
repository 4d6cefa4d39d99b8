#pragma once
#include <cstdint>
#include <string>
#include <vector>

/// Rows of pixels, three bytes each: blue, green, red.
struct Picture {
  int width = 0, height = 0;
  std::vector<uint8_t> bgr;
};

/// Transparent pixels become white. Throws std::runtime_error naming the file.
Picture read_png(const std::string& path);

/// Bilinear between pixel centres.
Picture resize(const Picture& picture, int width, int height);
