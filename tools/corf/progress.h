#pragma once
#include <chrono>
#include <string>

namespace corf::command {

/// A bar on stderr, drawn only on a terminal and only once two seconds have passed; erased at the
/// end.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `fraction` done, 0 to 1.
  void update(double fraction);

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  Clock::time_point begin_ = Clock::now(), drawn_ = begin_;
  bool is_terminal_;
  bool is_drawn_ = false;
};

}  // namespace corf::command
