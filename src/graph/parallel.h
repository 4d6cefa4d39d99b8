#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace corf::graph {

/// body(begin, end) over parts of [0, count), each on a thread of its own. `body` must not throw.
inline void parallel_for(int threads, int64_t count,
                         const std::function<void(int64_t, int64_t)>& body) {
  int64_t parts = std::clamp<int64_t>(threads, 1, std::max<int64_t>(count, 1));
  std::vector<std::thread> others;
  for (int64_t part = 1; part < parts; ++part) {
    others.emplace_back(body, count * part / parts, count * (part + 1) / parts);
  }
  body(0, count / parts);
  for (std::thread& other : others) other.join();
}

}  // namespace corf::graph
