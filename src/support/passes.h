#pragma once
#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "support/result.h"

namespace corf {

/// A named step from a value to one of the same type. `Context`: what every pass of a list may ask.
template <typename Value, typename Context>
struct Pass {
  const char* name;
  Result<Value> (*run)(Value, const Context&);
};

/// How the passes of a list are watched.
struct PassOptions {
  bool verify_each = false;  // after each pass
  bool time_passes = false;  // into the log
  std::string dump_dir;      // one numbered file for each pass that changed something; empty: none
};

/// Logs how long a pass took.
void log_pass(std::string_view list, std::string_view pass, std::chrono::nanoseconds elapsed);
/// Errors: kIo.
Status dump_pass(const std::string& dump_dir, std::string_view list, size_t number,
                 std::string_view pass, const std::string& text);

/// Runs the passes in their order. `list` is what files, log and errors call them. The value's
/// namespace has `Status verify(const Value&)` and `std::string to_string(const Value&)`.
/// Errors: a pass's own; kInternal naming the pass after which verify failed; kIo.
/// Test: tests/support/passes_test.cpp
template <typename Value, typename Context>
Result<Value> run_passes(std::string_view list, std::span<const Pass<Value, Context>> passes,
                         Value value, const Context& context, const PassOptions& options) {
  using Clock = std::chrono::steady_clock;
  const bool dumps = !options.dump_dir.empty();
  std::string before = dumps ? to_string(value) : std::string();
  for (size_t i = 0; i < passes.size(); ++i) {
    const auto& [name, run] = passes[i];
    const auto start = Clock::now();
    CORF_ASSIGN(value, run(std::move(value), context));
    if (options.time_passes) log_pass(list, name, Clock::now() - start);
    if (options.verify_each) {
      if (const Status status = verify(value); !status.ok()) {
        return make_error(ErrorCode::kInternal, "after {}.{}: {}", list, name,
                          status.error().message);
      }
    }
    if (!dumps) continue;
    std::string after = to_string(value);
    if (after != before) {
      CORF_RETURN_IF_ERROR(dump_pass(options.dump_dir, list, i + 1, name, after));
    }
    before = std::move(after);
  }
  return value;
}

}  // namespace corf
