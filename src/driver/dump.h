#pragma once
#include <chrono>
#include <functional>
#include <string>

#include "driver/compile.h"

namespace corf::driver {

/// Writes the text of each stage into the options' dump folder and logs its time on request.
class Dumper {
 public:
  explicit Dumper(const CompileOptions& options);
  /// `text` is made only if it is wanted.
  void stage(const std::string& name, const std::function<std::string()>& text);
  /// Of a stage that has no text.
  void time(const std::string& name) const;

 private:
  const CompileOptions& options_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace corf::driver
