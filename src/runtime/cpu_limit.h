#pragma once
#include <optional>
#include <string>

namespace corf::runtime {

/// CPUs' worth of time that control groups (version 2 and 1) grant this process: the smallest
/// quota / period from its group up to the root; nullopt if there is no limit. `root` stands before
/// every path that is read, so that tests can hand in a file tree of their own.
std::optional<double> cgroup_cpu_limit(const std::string& root = "");

/// The whole CPUs of such a limit, at least 1: a worker that no time is left for keeps all others
/// waiting at each barrier.
int whole_cpus(double limit);

}  // namespace corf::runtime
