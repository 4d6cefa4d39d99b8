#include "tests/fuzz/own_caches.h"

#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

#include "target/calibrate.h"
#include "target/calibration_cache.h"

namespace corf::fuzz {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / fmt::format("corf_fuzz_{}", getpid());

  Folder();
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

Folder::Folder() {
  fs::create_directories(path / "corf");
  setenv("XDG_CACHE_HOME", path.c_str(), 1);
  // Nothing is measured: the figures are there.
  for (Isa isa : kIsas) {
    for (int threads = 1; threads <= 4; ++threads) {
      Machine machine = detect_machine(threads, isa);
      machine.fma_gflops_core = 100;
      machine.fma_gflops_all = 100 * threads;
      machine.matrix_product_ns = 10;
      machine.l1_gbps_core = 200;
      machine.l2_gbps_core = 80;
      machine.l3_gbps_core = 30;
      machine.dram_gbps_all = 20;
      machine.barrier_ns = 300;
      write_calibration(calibration_file(machine, CalibrateOptions::default_cache_dir()),
                        Calibration{machine, true});
    }
  }
}

}  // namespace

const fs::path& own_caches() {
  static const Folder folder;
  return folder.path;
}

}  // namespace corf::fuzz
