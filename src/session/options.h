#pragma once
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/team.h"
#include "support/budget.h"
#include "support/result.h"
#include "target/machine.h"

namespace corf::session {

/// What corf_options_set takes. Which of it counts is up to the session: one of a compiled file has
/// use for the workers only.
struct Options {
  runtime::TeamOptions workers;
  std::optional<Isa> isa;     // default: the best of this machine
  std::string plan = "auto";  // or unfused, fused
  std::optional<std::string> force_plan;
  std::string plan_cache_dir;  // empty: none
  bool tune_anew = false;
  std::map<std::string, std::string> constants;  // input: its values
  bool winograd = true;
  bool bf16 = false;                   // factors of dense products
  std::optional<int64_t> random_seed;  // of nodes that have none
  size_t cache_size = 8;
  /// Of executables that other processes find: kDefaultFolder, a path, or empty: none.
  std::string executable_cache;
  static constexpr std::string_view kDefaultFolder = "default";
  int64_t executable_cache_bytes = int64_t{1} << 30;
  Limits limits;  // unset: by the model's size
  std::shared_ptr<const Cancellation> cancellation;
  bool verify_each = false;
  bool time_passes = false;
  std::string dump_dir;

  /// CORF_DUMP_DIR and the cache's folder are read here, once.
  static Options from_environment();
  /// Keys and values as documented at corf_options_set.
  Status set(std::string_view key, std::string_view value);
};

}  // namespace corf::session

struct corf_options {
  corf::session::Options options;
};
struct corf_cancellation {
  std::shared_ptr<corf::Cancellation> cancellation;
};
