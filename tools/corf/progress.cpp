#include "progress.h"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

#include "support/printable.h"
#include "terminal.h"

namespace corf::command {
namespace {

constexpr std::chrono::seconds kPatience(2);
constexpr std::chrono::milliseconds kRedraw(200);
constexpr int kBar = 24, kUnknownWidth = 80;
constexpr const char* kErase = "\r\x1b[K";

/// "12 s", "3 min 20 s", "2 h 5 min".
std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e9) + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

void draw_line(const std::string& line) {
  const int columns = columns_of(stderr);
  // A terminal goes to the next line when the last column is written to.
  fmt::print(stderr, "{}{}", kErase, shortened(line, (columns > 0 ? columns : kUnknownWidth) - 1));
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(std::string label)
    : label_(std::move(label)), is_terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (is_drawn_) fmt::print(stderr, kErase);
}

bool Progress::is_due() {
  if (!is_terminal_) return false;
  const auto now = Clock::now();
  if (now - begin_ < kPatience || now - drawn_ < kRedraw) return false;
  drawn_ = now;
  return true;
}

void Progress::update(double fraction, std::string_view what) {
  if (!is_due()) return;
  const double passed_s = std::chrono::duration<double>(Clock::now() - begin_).count();
  draw(fraction, fraction > 0 ? duration(passed_s * (1 / fraction - 1)) + " left" : "", what);
}

void Progress::update_at_most(double fraction, double left_s, std::string_view what) {
  if (is_due()) draw(fraction, duration(left_s) + " left at most", what);
}

void Progress::draw(double fraction, const std::string& left, std::string_view what) {
  const double share = std::clamp(fraction, 0.0, 1.0);
  const int filled = static_cast<int>(share * kBar);
  draw_line(fmt::format("{} [{:#<{}}{:<{}}] {:.0f} %  {}  {}", label_, "", filled, "",
                        kBar - filled, 100 * share, left, printable(what)));
  is_drawn_ = true;
}

Waiting::Waiting(std::string label) {
  if (isatty(STDERR_FILENO) == 0) return;
  thread_ = std::thread([this, label = std::move(label)] { draw(label); });
}

Waiting::~Waiting() {
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
  }
  ended_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Waiting::draw(const std::string& label) {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  bool is_drawn = false;
  std::chrono::steady_clock::duration pause = kPatience;
  while (!ended_.wait_for(lock, pause, [this] { return has_ended_; })) {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    draw_line(fmt::format("{}, {}", label, duration(passed.count())));
    is_drawn = true;
    pause = std::chrono::seconds(1);
  }
  if (is_drawn) fmt::print(stderr, kErase);
}

}  // namespace corf::command
