#pragma once
#include <cstddef>
#include <string_view>

#include "driver/compile.h"
#include "support/result.h"

namespace corf::api {

struct Options {
  driver::CompileOptions compile;
  size_t cache_size = 8;

  /// CORF_DUMP_DIR is read here, once.
  static Options from_environment();
  /// Keys and values as documented at corf_options_set.
  Status set(std::string_view key, std::string_view value);
};

}  // namespace corf::api

struct corf_options {
  corf::api::Options options;
};
