#include "driver/dump.h"

#include <filesystem>
#include <fstream>

#include "support/log.h"

namespace corf::driver {

using Clock = std::chrono::steady_clock;

Dumper::Dumper(const CompileOptions& options) : options_(options), last_(Clock::now()) {}

void Dumper::stage(const std::string& name, const std::function<std::string()>& text) {
  const std::chrono::duration<double, std::milli> elapsed = Clock::now() - last_;
  if (options_.time_passes) log().info("stage {:<16} {:9.2f} ms", name, elapsed.count());
  if (!options_.dump_dir.empty()) {
    std::error_code ignored;
    std::filesystem::create_directories(options_.dump_dir, ignored);
    const auto path = std::filesystem::path(options_.dump_dir) / ("stage-" + name + ".txt");
    if (!(std::ofstream(path) << text())) log().warn("cannot write {}", path.string());
  }
  last_ = Clock::now();
}

}  // namespace corf::driver
