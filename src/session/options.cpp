#include "session/options.h"

#include <charconv>
#include <cstdlib>
#include <string>

#include "session/error.h"
#include "target/calibrate.h"

namespace corf::session {
namespace {

constexpr int64_t kMaxCacheSize = 1 << 20;
constexpr int64_t kMaxNodes = int64_t{1} << 40;

Result<int64_t> parse_integer(std::string_view key, std::string_view value, int64_t least,
                              int64_t most) {
  int64_t number = 0;
  auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (code != std::errc() || end != value.data() + value.size() || number < least ||
      number > most) {
    return make_error(ErrorCode::kInvalidArgument,
                      "option {}: '{}' is not a whole number from {} to {}", key, value, least,
                      most);
  }
  return number;
}

/// Of an option limits.*; 0: none of the caller's.
template <typename T>
std::optional<T> limit(T number) {
  return number == 0 ? std::nullopt : std::optional<T>(number);
}

Result<std::optional<int64_t>> parse_mebibytes(std::string_view key, std::string_view value) {
  constexpr int64_t kMost = int64_t{1} << 30;
  CORF_ASSIGN(const int64_t mebibytes, parse_integer(key, value, 0, kMost));
  return limit(mebibytes << 20);
}

Result<std::optional<double>> parse_seconds(std::string_view key, std::string_view value) {
  double seconds = 0;
  auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (code != std::errc() || end != value.data() + value.size() || !(seconds >= 0)) {
    return make_error(ErrorCode::kInvalidArgument, "option {}: '{}' is not a number of seconds",
                      key, value);
  }
  return limit(seconds);
}

/// Of option streams, as TeamOptions has it.
Result<int> parse_streams(std::string_view value) {
  if (value == "auto") return runtime::TeamOptions::kShared;
  if (value == "latency") return 1;
  if (value == "throughput") return runtime::TeamOptions::kThroughput;
  Result<int64_t> count = parse_integer("streams", value, 1, runtime::kMaxWorkers);
  if (count.ok()) return static_cast<int>(*count);
  return make_error(
      ErrorCode::kInvalidArgument,
      "option streams: '{}' is not one of auto, latency, throughput or a whole number "
      "from 1 to {}",
      value, runtime::kMaxWorkers);
}

}  // namespace

Options Options::from_environment() {
  Options options;
  if (const char* folder = std::getenv("CORF_DUMP_DIR")) options.dump_dir = folder;
  options.plan_cache_dir = CalibrateOptions::default_cache_dir();
  return options;
}

Status Options::set(std::string_view key, std::string_view value) {
  if (key == "threads") {
    CORF_ASSIGN(const int64_t count, parse_integer(key, value, 0, runtime::kMaxWorkers));
    workers.threads = static_cast<int>(count);
  } else if (key == "streams") {
    CORF_ASSIGN(workers.streams, parse_streams(value));
  } else if (key == "workers") {
    if (value != "shared" && value != "own") {
      return make_error(ErrorCode::kInvalidArgument,
                        "option workers: '{}' is not one of shared, own", value);
    }
    workers.own_workers = value == "own";
  } else if (key == "isa") {
    const auto parsed = parse_isa(value);
    if (!parsed) {
      return make_error(ErrorCode::kInvalidArgument,
                        "option isa: '{}' is not one of sse2, avx2, avx2vnni, avx512, avx512vnni, "
                        "avx512bf16, amx",
                        value);
    }
    if (!has_isa(*parsed)) {
      return make_error(ErrorCode::kInvalidArgument,
                        "option isa: this machine lacks {}; its widest is {}", value,
                        to_string(best_isa()));
    }
    isa = parsed;
  } else if (key == "plan") {
    if (value != "auto" && value != "unfused" && value != "fused") {
      return make_error(ErrorCode::kInvalidArgument,
                        "option plan: '{}' is not one of auto, unfused, fused", value);
    }
    plan = std::string(value);
  } else if (key == "force_plan") {
    force_plan = std::string(value);
  } else if (key == "plan_cache") {
    plan_cache_dir = std::string(value);
  } else if (key == "constant") {
    const size_t equals = value.rfind('=');
    if (equals == std::string_view::npos || equals == 0) {
      return make_error(ErrorCode::kInvalidArgument,
                        "option constant: '{}' is not of the form NAME=VALUE", value);
    }
    constants[std::string(value.substr(0, equals))] = std::string(value.substr(equals + 1));
  } else if (key == "winograd") {
    CORF_ASSIGN(const int64_t on, parse_integer(key, value, 0, 1));
    winograd = on != 0;
  } else if (key == "precision") {
    if (value != "f32" && value != "bf16") {
      return make_error(ErrorCode::kInvalidArgument,
                        "option precision: '{}' is not one of f32, bf16", value);
    }
    bf16 = value == "bf16";
  } else if (key == "random_seed") {
    random_seed.reset();
    if (value.empty()) return {};
    CORF_ASSIGN(random_seed, parse_integer(key, value, 0, std::numeric_limits<int64_t>::max()));
  } else if (key == "cache_size") {
    CORF_ASSIGN(const int64_t size, parse_integer(key, value, 1, kMaxCacheSize));
    cache_size = static_cast<size_t>(size);
  } else if (key == "executable_cache") {
    executable_cache = std::string(value);
  } else if (key == "executable_cache_limit") {
    CORF_ASSIGN(const int64_t mebibytes, parse_integer(key, value, 1, int64_t{1} << 30));
    executable_cache_bytes = mebibytes << 20;
  } else if (key == "limits.compile_seconds") {
    CORF_ASSIGN(limits.seconds, parse_seconds(key, value));
  } else if (key == "limits.memory") {
    CORF_ASSIGN(limits.memory_bytes, parse_mebibytes(key, value));
  } else if (key == "limits.constants") {
    CORF_ASSIGN(limits.constant_bytes, parse_mebibytes(key, value));
  } else if (key == "limits.nodes") {
    CORF_ASSIGN(const int64_t nodes, parse_integer(key, value, 0, kMaxNodes));
    limits.nodes = limit(nodes);
  } else if (key == "tune_anew") {
    CORF_ASSIGN(const int64_t on, parse_integer(key, value, 0, 1));
    tune_anew = on != 0;
  } else if (key == "verify_each") {
    CORF_ASSIGN(const int64_t on, parse_integer(key, value, 0, 1));
    verify_each = on != 0;
  } else if (key == "time_passes") {
    CORF_ASSIGN(const int64_t on, parse_integer(key, value, 0, 1));
    time_passes = on != 0;
  } else if (key == "dump_dir") {
    dump_dir = std::string(value);
  } else {
    return make_error(ErrorCode::kInvalidArgument,
                      "unknown option '{}'; there are threads, streams, workers, isa, plan, "
                      "force_plan, plan_cache, "
                      "constant, winograd, precision, random_seed, cache_size, executable_cache, "
                      "executable_cache_limit, "
                      "limits.compile_seconds, limits.memory, limits.constants, limits.nodes, "
                      "tune_anew, verify_each, time_passes, dump_dir",
                      key);
  }
  return {};
}

}  // namespace corf::session

using corf::session::guarded;

extern "C" {

corf_error* corf_options_create(corf_options** options) {
  return guarded({{options, "options"}}, [&]() -> corf::Status {
    *options = new corf_options{corf::session::Options::from_environment()};
    return {};
  });
}

void corf_options_free(corf_options* options) { delete options; }

corf_error* corf_options_set(corf_options* options, const char* key, const char* value) {
  return guarded({{options, "options"}, {key, "key"}, {value, "value"}},
                 [&] { return options->options.set(key, value); });
}

corf_error* corf_cancellation_create(corf_cancellation** cancellation) {
  return guarded({{cancellation, "cancellation"}}, [&]() -> corf::Status {
    *cancellation = new corf_cancellation{std::make_shared<corf::Cancellation>()};
    return {};
  });
}

void corf_cancellation_cancel(corf_cancellation* cancellation) {
  if (cancellation != nullptr) cancellation->cancellation->cancel();
}

void corf_cancellation_free(corf_cancellation* cancellation) { delete cancellation; }

corf_error* corf_options_set_cancellation(corf_options* options,
                                          const corf_cancellation* cancellation) {
  return guarded({{options, "options"}}, [&]() -> corf::Status {
    options->options.cancellation = cancellation ? cancellation->cancellation : nullptr;
    return {};
  });
}

}  // extern "C"
