#include "driver/plan_cache.h"

#include <filesystem>
#include <fmt/format.h>

#include "graph/text.h"
#include "support/read_file.h"

namespace corf::driver {
namespace {

/// Plans of another version of the planner may be legal and still slow.
constexpr int kFormat = 1;
constexpr int64_t kMostBytes = 64 << 20;

uint64_t hash_of(std::string_view text) {
  uint64_t hash = 14695981039346656037ull;
  for (unsigned char byte : text) hash = (hash ^ byte) * 1099511628211ull;
  return hash;
}

}  // namespace

std::string plan_file(const graph::Graph& graph, const Machine& machine, const std::string& dir,
                      bool for_writing) {
  if (dir.empty()) return "";
  const std::filesystem::path folder = std::filesystem::path(dir) / "plans";
  std::error_code error;
  // To hash a large model's weights takes a while: not where it cannot be of use.
  if (!for_writing && !std::filesystem::exists(folder, error)) return "";
  const std::string machine_text =
      fmt::format("{} {} {} {} {} {} {}", kFormat, machine.cpu_name, to_string(machine.isa),
                  machine.threads, machine.l1_bytes, machine.l2_bytes, machine.l3_bytes);
  const uint64_t key = hash_of(machine_text + "\n" + graph::to_string(graph));
  return (folder / fmt::format("{:016x}.plan", key)).string();
}

std::optional<std::string> read_plan(const std::string& file) {
  if (file.empty()) return std::nullopt;
  Result<std::string> text = read_file(file, kMostBytes);
  return text.ok() ? std::optional(text.take()) : std::nullopt;
}

}  // namespace corf::driver
