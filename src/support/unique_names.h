#pragma once
#include <fmt/format.h>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace corf {

/// Names that are in use, so that each node and value gets one of its own.
class UniqueNames {
 public:
  /// For whoever has it already: claims get others. False: it is in use.
  bool reserve(const std::string& name) { return names_.insert(name).second; }
  std::string claim(const std::string& wanted) {
    if (reserve(wanted)) return wanted;
    for (int& last = last_number_[wanted];;) {
      std::string name = fmt::format("{}_{}", wanted, ++last);
      if (reserve(name)) return name;
    }
  }

 private:
  std::unordered_set<std::string> names_;
  std::unordered_map<std::string, int> last_number_;  // those up to it are taken
};

}  // namespace corf
