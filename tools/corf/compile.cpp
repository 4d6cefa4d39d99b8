#include <fmt/format.h>
#include <memory>

#include "commands.h"
#include "files.h"
#include "inputs.h"
#include "json.h"
#include "settings.h"
#include "support/printable.h"

namespace corf::command {
namespace {

struct CompileSettings : Settings {
  std::string output;
};

void compile(const CompileSettings& settings) {
  Session session(settings.model, settings.to_options());
  const Executable executable = compile_watched(session, settings, settings.shapes());
  executable.write(settings.output);
  leave_standard_output_to(settings.output);
  const corf_executable_info info = executable.info();
  if (settings.json) {
    print({{"file", settings.output},
           {"compile_ms", info.compile_ms},
           {"isa", info.isa},
           {"plan", settings.plan},
           {"plan_hash", info.plan_hash},
           {"code_bytes", info.code_bytes},
           {"constant_bytes", info.constant_bytes}});
    return;
  }
  fmt::print("{}: {}, code {:.0f} KiB, constants {:.2f} MiB, plan {} ({}), compiled in {:.0f} ms\n",
             printable(settings.output), info.isa, static_cast<double>(info.code_bytes) / (1 << 10),
             static_cast<double>(info.constant_bytes) / (1 << 20), info.plan_hash, settings.plan,
             info.compile_ms);
}

}  // namespace

void add_compile(CLI::App& app) {
  auto settings = std::make_shared<CompileSettings>();
  CLI::App* command = app.add_subcommand("compile", "Compile a model ahead of time");
  settings->add_model_to(*command);
  command->add_option("-o,--output", settings->output, "File to write (.corf)")->required();
  command->footer(
      "The file is run like a model. It holds one set of shapes and one instruction set.\n"
      "Example:\n"
      "  corf compile rec.onnx --shape x=1x3x48x320 --isa avx2 -o rec.corf\n"
      "  corf run rec.corf");
  command->callback([settings] { compile(*settings); });
}

}  // namespace corf::command
