#include "tests/fuzz/own_caches.h"

#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

#include "target/calibrate.h"
#include "target/calibration_cache.h"
#include "tests/fuzz/some_figures.h"

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
      set_some_figures(machine);
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
