#include <filesystem>
#include <fmt/format.h>
#include <memory>

#include "commands.h"
#include "completions.h"
#include "files.h"
#include "man_pages.h"
#include "option_table.h"

namespace corf::command {

void add_documents(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "documents", "Write the manual pages, and completion scripts for bash and zsh");
  auto folder = std::make_shared<std::string>();
  command->add_option("DIR", *folder, "Folder that receives them; made where it is missing")
      ->required();
  command->footer(
      "Writes corf.1, a page for each subcommand, corf.bash and _corf.\n"
      "Examples:\n"
      "  corf documents doc && man doc/corf.1\n"
      "  corf documents doc && source doc/corf.bash");
  command->callback([&app, folder] {
    std::error_code error;
    std::filesystem::create_directories(*folder, error);
    if (error) {
      throw Exception(CORF_IO, fmt::format("cannot make {}: {}", *folder, error.message()));
    }
    const std::filesystem::path path = *folder;
    const std::vector<CommandDescription> commands = describe_commands(app);
    for (const CommandDescription& one : commands) {
      write_file(path / (page_name(one) + ".1"), man_page(commands, one));
    }
    write_file(path / "corf.bash", bash_completion(commands));
    write_file(path / "_corf", zsh_completion(commands));
  });
}

}  // namespace corf::command
