#pragma once
#include <fmt/format.h>
#include <string>
#include <unordered_set>

namespace corf::onnx {

/// Names that are in use, so that each node and value gets one of its own.
class UniqueNames {
 public:
  std::string claim(const std::string& wanted) {
    if (names_.insert(wanted).second) return wanted;
    for (int i = 1;; ++i) {
      std::string name = fmt::format("{}_{}", wanted, i);
      if (names_.insert(name).second) return name;
    }
  }

 private:
  std::unordered_set<std::string> names_;
};

}  // namespace corf::onnx
