#include "progress.h"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

namespace corf::command {
namespace {

constexpr std::chrono::seconds kPatience(2);
constexpr std::chrono::milliseconds kRedraw(200);
constexpr int kColumns = 40;

}  // namespace

Progress::Progress(std::string label)
    : label_(std::move(label)), is_terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (is_drawn_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::update(double fraction) {
  if (!is_terminal_) return;
  const auto now = Clock::now();
  if (now - begin_ < kPatience || now - drawn_ < kRedraw) return;
  const int filled = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * kColumns);
  fmt::print(stderr, "\r{} [{:#<{}}{:<{}}]", label_, "", filled, "", kColumns - filled);
  drawn_ = now;
  is_drawn_ = true;
}

}  // namespace corf::command
