#pragma once
#include <fmt/format.h>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace corf::onnx {

/// Names that are in use, so that each node and value gets one of its own.
class UniqueNames {
 public:
  std::string claim(const std::string& wanted) {
    if (names_.insert(wanted).second) return wanted;
    for (int& last = last_number_[wanted];;) {
      std::string name = fmt::format("{}_{}", wanted, ++last);
      if (names_.insert(name).second) return name;
    }
  }

 private:
  std::unordered_set<std::string> names_;
  std::unordered_map<std::string, int> last_number_;  // those up to it are taken
};

}  // namespace corf::onnx
