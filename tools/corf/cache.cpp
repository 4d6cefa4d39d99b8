#include <corf/corf.hpp>
#include <fmt/format.h>
#include <memory>

#include "commands.h"
#include "json.h"
#include "support/printable.h"

namespace corf::command {
namespace {

struct CacheSettings {
  std::string action;
  bool json = false;
};

void cache(const CacheSettings& settings) {
  const bool clears = settings.action == "clear";
  const std::string folder = executable_cache_folder();
  const corf_cache_contents contents =
      clears ? clear_executable_cache() : executable_cache_contents();
  if (settings.json) {
    print({{"folder", folder},
           {clears ? "num_removed" : "num_entries", contents.num_entries},
           {"size_bytes", contents.size_bytes}});
    return;
  }
  fmt::print("{}: {} compiled models, {:.1f} MiB{}\n", printable(folder), contents.num_entries,
             static_cast<double>(contents.size_bytes) / (1 << 20), clears ? ", removed" : "");
}

}  // namespace

void add_cache(CLI::App& app) {
  auto settings = std::make_shared<CacheSettings>();
  CLI::App* command =
      app.add_subcommand("cache", "Show or clear the compiled models that are kept on disk");
  command->add_option("ACTION", settings->action, "show or clear")
      ->required()
      ->check(CLI::IsMember({"show", "clear"}));
  command->add_flag("--json", settings->json, "Machine-readable output on stdout");
  command->footer(
      "`corf run --cache` and the Python package keep what they compile, a gibibyte at most, and\n"
      "find it again for the same model, shapes, options and machine.\n"
      "Examples:\n"
      "  corf cache show\n"
      "  corf cache clear");
  command->callback([settings] { cache(*settings); });
}

}  // namespace corf::command
