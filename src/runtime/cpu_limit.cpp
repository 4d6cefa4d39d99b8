#include "runtime/cpu_limit.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <vector>

namespace corf::runtime {
namespace {

/// Where one hierarchy of control groups is mounted, and which of its groups is the process' own.
struct Hierarchy {
  bool version2 = false;
  std::string mounted_group;  // the group that the mount point shows
  std::string mount_point;
  std::string own_group;
};

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool names_cpu(const std::string& controllers) {
  const std::vector<std::string> names = split(controllers, ',');
  return std::find(names.begin(), names.end(), "cpu") != names.end();
}

/// Lines of mountinfo: id parent device root mount_point options [optional...] - type source super
std::vector<Hierarchy> read_mounts(const std::string& root) {
  std::vector<Hierarchy> hierarchies;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const std::string& type = dash[1];
    if (type != "cgroup2" && !(type == "cgroup" && names_cpu(dash[3]))) continue;
    hierarchies.push_back({type == "cgroup2", words[3], words[4], ""});
  }
  return hierarchies;
}

/// Lines of /proc/self/cgroup: hierarchy:controllers:group. Version 2 is "0::group".
void read_own_groups(const std::string& root, std::vector<Hierarchy>& hierarchies) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    if (first == std::string::npos) continue;
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    for (Hierarchy& hierarchy : hierarchies) {
      if (hierarchy.version2 ? controllers.empty() : names_cpu(controllers)) {
        hierarchy.own_group = group;
      }
    }
  }
}

std::optional<double> limit_of_group(const std::string& folder, bool version2) {
  std::optional<int64_t> quota, period;
  if (version2) {
    std::string quota_text, period_text;
    std::ifstream(folder + "/cpu.max") >> quota_text >> period_text;
    quota = parse_integer(quota_text);  // none for "max"
    period = parse_integer(period_text);
  } else {
    std::string quota_text, period_text;
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota_text;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period_text;
    quota = parse_integer(quota_text);  // -1 for none
    period = parse_integer(period_text);
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

}  // namespace

std::optional<double> cgroup_cpu_limit(const std::string& root) {
  std::vector<Hierarchy> hierarchies = read_mounts(root);
  read_own_groups(root, hierarchies);
  std::optional<double> smallest;
  for (const Hierarchy& hierarchy : hierarchies) {
    // Inside of a container the mount shows only the container's part of the tree.
    std::string group = hierarchy.own_group;
    const std::string& shown = hierarchy.mounted_group;
    if (shown != "/" && group.compare(0, shown.size(), shown) == 0) {
      group = group.substr(shown.size());
    }
    while (true) {
      while (!group.empty() && group.back() == '/') group.pop_back();
      const auto limit = limit_of_group(root + hierarchy.mount_point + group, hierarchy.version2);
      if (limit && (!smallest || *limit < *smallest)) smallest = limit;
      if (group.empty()) break;
      const size_t slash = group.rfind('/');
      group.resize(slash == std::string::npos ? 0 : slash);
    }
  }
  return smallest;
}

int whole_cpus(double limit) { return static_cast<int>(std::clamp(limit, 1.0, 1e6)); }

}  // namespace corf::runtime
