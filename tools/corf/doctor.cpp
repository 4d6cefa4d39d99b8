#include <corf/corf.hpp>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "support/printable.h"

namespace corf::command {
namespace {

constexpr double kMebibyte = 1 << 20;

struct DoctorSettings {
  int threads = 0;
  bool json = false;
};

/// The first line of a file of the system's; none where it cannot be read.
std::optional<std::string> first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

int64_t physical_memory_bytes() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE); }

/// What a control group of version 2 or 1 allows; none where there is no limit.
std::optional<int64_t> memory_limit_bytes() {
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const auto line = first_line(path);
    if (!line || line->empty() || line->find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    const int64_t bytes = std::strtoll(line->c_str(), nullptr, 10);
    if (bytes < physical_memory_bytes()) return bytes;
  }
  return std::nullopt;
}

struct CacheState {
  std::string folder;
  std::optional<corf_cache_contents> contents;
  std::string why_not;
};

CacheState cache_state() {
  CacheState state{executable_cache_folder(), {}, ""};
  try {
    state.contents = executable_cache_contents();
  } catch (const Exception& exception) {
    state.why_not = exception.what();
  }
  return state;
}

/// What keeps corf from being as fast as it could be here, in sentences.
std::vector<std::string> findings(const corf_machine_info& machine, const CacheState& cache,
                                  int64_t logical_cpus) {
  std::vector<std::string> found;
  if (machine.cpus < logical_cpus) {
    found.push_back(fmt::format(
        "The process may use {} of {} CPUs (affinity mask or control group): as many workers run.",
        machine.cpus, logical_cpus));
  }
  if (!(machine.fma_gflops_core > 0) || !(machine.memory_gbps_all > 0)) {
    found.push_back("The machine could not be measured: plans are made for an average one.");
  }
  if (*machine.calibration_file == 0) {
    found.push_back(
        "Neither XDG_CACHE_HOME nor HOME is set: every process measures the machine anew and "
        "compiles what it runs.");
  }
  if (machine.threads > 1 && machine.fma_gflops_all > 0 &&
      machine.fma_gflops_all <
          0.75 * static_cast<double>(machine.threads) * machine.fma_gflops_core) {
    found.push_back(fmt::format(
        "{} workers together reach {:.1f} times what one does: they share cores, or power.",
        machine.threads, machine.fma_gflops_all / machine.fma_gflops_core));
  }
  if (!cache.why_not.empty()) found.push_back(cache.why_not);
  return found;
}

Json to_json(const corf_machine_info& machine, const CacheState& cache, int64_t logical_cpus,
             const std::vector<std::string>& found) {
  const auto limit = memory_limit_bytes();
  return {
      {"version", corf_version()},
      {"compiler", corf_compiler_version()},
      {"cpu", machine.cpu},
      {"isa", machine.isa},
      {"threads", machine.threads},
      {"cpus_allowed", machine.cpus},
      {"cpus", logical_cpus},
      {"l1_bytes", machine.l1_bytes},
      {"l2_bytes", machine.l2_bytes},
      {"l3_bytes", machine.l3_bytes},
      {"fma_gflops_core", machine.fma_gflops_core},
      {"fma_gflops_all", machine.fma_gflops_all},
      {"l1_gbps_core", machine.l1_gbps_core},
      {"l2_gbps_core", machine.l2_gbps_core},
      {"l3_gbps_core", machine.l3_gbps_core},
      {"memory_gbps_all", machine.memory_gbps_all},
      {"barrier_ns", machine.barrier_ns},
      {"calibration_file", machine.calibration_file},
      {"memory_bytes", physical_memory_bytes()},
      {"memory_limit_bytes", limit ? Json(*limit) : Json(nullptr)},
      {"executable_cache", cache.folder},
      {"executable_cache_bytes", cache.contents ? Json(cache.contents->size_bytes) : Json(nullptr)},
      {"findings", found}};
}

void print_text(const corf_machine_info& machine, const CacheState& cache, int64_t logical_cpus,
                const std::vector<std::string>& found) {
  const auto limit = memory_limit_bytes();
  const auto row = [](const char* name, const std::string& text) {
    fmt::print("{:<14}{}\n", name, printable(text));
  };
  row("corf", fmt::format("{} ({})", corf_version(), corf_compiler_version()));
  row("CPU", machine.cpu);
  row("ISA", machine.isa);
  row("CPUs", fmt::format("{}, of which this process may use {}; figures below are of {} threads",
                          logical_cpus, machine.cpus, machine.threads));
  row("caches", fmt::format("{} KiB and {} KiB a core, {} MiB shared", machine.l1_bytes >> 10,
                            machine.l2_bytes >> 10, machine.l3_bytes >> 20));
  row("multiply-adds", fmt::format("{:.0f} GFLOP/s one core, {:.0f} all", machine.fma_gflops_core,
                                   machine.fma_gflops_all));
  row("bandwidth",
      fmt::format("{:.0f}, {:.0f} and {:.0f} GB/s of the caches by a core, {:.0f} GB/s of memory",
                  machine.l1_gbps_core, machine.l2_gbps_core, machine.l3_gbps_core,
                  machine.memory_gbps_all));
  row("barrier", fmt::format("{:.0f} ns", machine.barrier_ns));
  row("memory",
      fmt::format("{:.0f} MiB{}", static_cast<double>(physical_memory_bytes()) / kMebibyte,
                  limit ? fmt::format(", of which a control group allows {:.0f}",
                                      static_cast<double>(*limit) / kMebibyte)
                        : ""));
  row("calibration", *machine.calibration_file == 0 ? "not kept" : machine.calibration_file);
  row("cache", cache.contents
                   ? fmt::format("{}: {} compiled models, {:.1f} MiB", cache.folder,
                                 cache.contents->num_entries,
                                 static_cast<double>(cache.contents->size_bytes) / kMebibyte)
                   : "not used");
  row("limits", "of compiling: by the model's size (--limit gives others)");
  for (const std::string& finding : found) fmt::print("\n{}\n", printable(finding));
  if (found.empty()) fmt::print("\nNothing stands in the way of full speed.\n");
}

void doctor(const DoctorSettings& settings) {
  const Machine machine(settings.threads);
  const corf_machine_info info = machine.info();
  const CacheState cache = cache_state();
  const int64_t logical_cpus = std::max(1u, std::thread::hardware_concurrency());
  const int64_t online = std::max<int64_t>(logical_cpus, sysconf(_SC_NPROCESSORS_ONLN));
  const std::vector<std::string> found = findings(info, cache, online);
  if (settings.json) {
    print(to_json(info, cache, online, found));
  } else {
    print_text(info, cache, online, found);
  }
}

}  // namespace

void add_doctor(CLI::App& app) {
  auto settings = std::make_shared<DoctorSettings>();
  CLI::App* command = app.add_subcommand(
      "doctor", "Show what corf knows of this machine, and what keeps it from full speed");
  command
      ->add_option("--threads", settings->threads, "Workers that the figures are of; 0: the CPUs")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--json", settings->json, "Machine-readable output on stdout");
  command->footer(
      "The first call measures the machine, which takes some seconds.\n"
      "Example:\n"
      "  corf doctor");
  command->callback([settings] { doctor(*settings); });
}

}  // namespace corf::command
