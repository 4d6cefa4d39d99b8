#include <algorithm>
#include <cstring>
#include <string>

#include "runtime/team.h"
#include "session/error.h"
#include "session/options.h"
#include "target/calibrate.h"

using corf::Status;
using corf::session::guarded;

struct corf_machine {
  corf::Machine machine;
  std::string isa, calibration_file;
  int64_t cpus = 0;
};

extern "C" {

corf_error* corf_machine_create(int threads, const char* isa, corf_machine** machine) {
  return guarded({{machine, "machine"}}, [&]() -> Status {
    corf::session::Options options;
    CORF_RETURN_IF_ERROR(options.set("threads", std::to_string(threads)));
    if (isa != nullptr && *isa != 0) CORF_RETURN_IF_ERROR(options.set("isa", isa));
    const int cpus = corf::runtime::available_cpus();
    const int workers =
        options.workers.threads == 0 ? cpus : std::min(options.workers.threads, cpus);
    const corf::Machine measured =
        corf::calibrated_machine(workers, options.isa.value_or(corf::best_isa()));
    const std::string folder = corf::CalibrateOptions::default_cache_dir();
    *machine =
        new corf_machine{measured, std::string(corf::to_string(measured.isa)),
                         folder.empty() ? "" : corf::calibration_file(measured, folder), cpus};
    return {};
  });
}

void corf_machine_free(corf_machine* machine) { delete machine; }

corf_error* corf_machine_describe(const corf_machine* machine, corf_machine_info* info,
                                  size_t info_size_bytes) {
  return guarded({{machine, "machine"}, {info, "info"}}, [&]() -> Status {
    const corf::Machine& from = machine->machine;
    corf_machine_info result = {};
    result.cpu = from.cpu_name.c_str();
    result.isa = machine->isa.c_str();
    result.calibration_file = machine->calibration_file.c_str();
    result.threads = from.threads;
    result.cpus = machine->cpus;
    result.l1_bytes = from.l1_bytes;
    result.l2_bytes = from.l2_bytes;
    result.l3_bytes = from.l3_bytes;
    result.fma_gflops_core = from.fma_gflops_core;
    result.fma_gflops_all = from.fma_gflops_all;
    result.l1_gbps_core = from.l1_gbps_core;
    result.l2_gbps_core = from.l2_gbps_core;
    result.l3_gbps_core = from.l3_gbps_core;
    result.memory_gbps_all = from.dram_gbps_all;
    result.barrier_ns = from.barrier_ns;
    std::memcpy(info, &result, std::min(sizeof result, info_size_bytes));
    return {};
  });
}

}  // extern "C"
