#include "driver/dump.h"

#include <filesystem>

#include "support/log.h"
#include "support/printable.h"
#include "support/write_file.h"

namespace corf::driver {

using Clock = std::chrono::steady_clock;

Dumper::Dumper(const CompileOptions& options) : options_(options), last_(Clock::now()) {}

void Dumper::time(const std::string& name) const {
  const std::chrono::duration<double, std::milli> elapsed = Clock::now() - last_;
  if (options_.time_passes) log().info("stage {:<16} {:9.2f} ms", name, elapsed.count());
}

void Dumper::stage(const std::string& name, const std::function<std::string()>& text) {
  time(name);
  if (!options_.dump_dir.empty()) {
    const auto path = std::filesystem::path(options_.dump_dir) / ("stage-" + name + ".txt");
    if (Status status = write_file_and_folder(path.string(), text()); !status.ok()) {
      log().warn("{}", printable(status.error().message));
    }
  }
  last_ = Clock::now();
}

}  // namespace corf::driver
