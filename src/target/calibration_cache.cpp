#include "target/calibration_cache.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "support/read_file.h"
#include "support/write_file.h"

namespace corf {
namespace {

using nlohmann::json;

constexpr int kFormat = 8;
constexpr int64_t kMostBytes = 1 << 16;

constexpr std::array<std::pair<const char*, double Machine::*>, 14> kMeasured = {{
    {"fma_gflops_core", &Machine::fma_gflops_core},
    {"fma_gflops_all", &Machine::fma_gflops_all},
    {"tile_gflops_core", &Machine::tile_gflops_core},
    {"matrix_product_ns", &Machine::matrix_product_ns},
    {"l1_gbps_core", &Machine::l1_gbps_core},
    {"l2_gbps_core", &Machine::l2_gbps_core},
    {"l3_gbps_core", &Machine::l3_gbps_core},
    {"l3_gbps_all", &Machine::l3_gbps_all},
    {"dram_gbps_all", &Machine::dram_gbps_all},
    {"l2_write_gbps_core", &Machine::l2_write_gbps_core},
    {"l3_write_gbps_all", &Machine::l3_write_gbps_all},
    {"dram_write_gbps_all", &Machine::dram_write_gbps_all},
    {"remote_gbps_core", &Machine::remote_gbps_core},
    {"barrier_ns", &Machine::barrier_ns},
}};

/// What the measurements belong to, as the file's name does: instruction sets that differ in
/// products of bytes share them.
json identity(const Machine& machine) {
  return {{"format", kFormat},
          {"cpu", machine.cpu_name},
          {"isa", std::string(to_string(without_byte_products(machine.isa)))},
          {"threads", machine.threads},
          {"l1_bytes", machine.l1_bytes},
          {"l2_bytes", machine.l2_bytes},
          {"l3_bytes", machine.l3_bytes}};
}

}  // namespace

Machine take_better(Machine machine, const Machine& other) {
  for (double Machine::* field : kRates) {
    machine.*field = std::max(machine.*field, other.*field);
  }
  for (double Machine::* field : kTimes) {
    if (machine.*field == 0 || (other.*field > 0 && other.*field < machine.*field)) {
      machine.*field = other.*field;
    }
  }
  return machine;
}

bool read_calibration(const std::string& file, Calibration& calibration) {
  const Result<std::string> text = read_file(file, kMostBytes);
  if (!text.ok()) return false;
  const json content = json::parse(*text, nullptr, false);
  if (!content.is_object() || content.value("machine", json()) != identity(calibration.machine)) {
    return false;
  }
  const json measured = content.value("measured", json());
  if (!measured.is_object()) return false;
  Calibration filled = calibration;
  for (const auto& [name, field] : kMeasured) {
    const auto found = measured.find(name);
    if (found == measured.end() || !found->is_number()) return false;
    const double value = found->get<double>();
    if (!std::isfinite(value) || value < 0) return false;
    filled.machine.*field = value;
  }
  const json settled = content.value("settled", json()), taken_s = content.value("taken_s", json()),
             results = content.value("results", json());
  if (!settled.is_boolean() || !taken_s.is_number_integer() || !results.is_number_integer()) {
    return false;
  }
  filled.is_settled = settled.get<bool>();
  filled.taken_s = taken_s.get<int64_t>();
  filled.results = static_cast<int>(std::clamp<int64_t>(results.get<int64_t>(), 1, 1000));
  calibration = filled;
  return true;
}

bool write_calibration(const std::string& file, const Calibration& calibration) {
  const Machine& machine = calibration.machine;
  json content = {{"machine", identity(machine)},
                  {"settled", calibration.is_settled},
                  {"taken_s", calibration.taken_s},
                  {"results", calibration.results}};
  for (const auto& [name, field] : kMeasured) content["measured"][name] = machine.*field;
  // The CPU's name is whatever the hypervisor says, perhaps not UTF-8.
  const std::string text = content.dump(2, ' ', false, json::error_handler_t::replace) + '\n';
  return write_file_and_folder(file, text).ok();
}

}  // namespace corf
