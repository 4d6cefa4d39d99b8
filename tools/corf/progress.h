#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace corf::command {

/// A line on stderr, drawn only on a terminal and only once two seconds have passed: a bar, its
/// percentage, the time that is left, and what is being worked on. Erased at the end.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `fraction` done, 0 to 1; `what`: in words, perhaps from a file.
  void update(double fraction, std::string_view what = "");
  /// As `update`, where a limit is known for what is left.
  void update_at_most(double fraction, double left_s, std::string_view what);

 private:
  using Clock = std::chrono::steady_clock;
  bool is_due();
  void draw(double fraction, const std::string& left, std::string_view what);

  std::string label_;
  Clock::time_point begin_ = Clock::now(), drawn_ = begin_;
  bool is_terminal_;
  bool is_drawn_ = false;
};

/// As Progress, for work that does not tell how far it is: the seconds that it has taken.
class Waiting {
 public:
  explicit Waiting(std::string label);
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  void draw(const std::string& label);

  std::mutex mutex_;
  std::condition_variable ended_;
  bool has_ended_ = false;
  std::thread thread_;
};

}  // namespace corf::command
