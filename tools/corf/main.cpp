#include <CLI/CLI.hpp>
#include <corf/corf.hpp>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <sstream>
#include <string>

#include "commands.h"
#include "nearest.h"
#include "support/printable.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsageError = 2;

/// Words of the command line and of files may be in the message.
void say(const std::string& message) {
  std::fprintf(stderr, "corf: error: %s\n", corf::printable_lines(message).c_str());
}

/// What CLI11 has to say, of usage or of a fault in it: lines of its own, in which words of the
/// command line occur.
int say_usage(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out, err;
  const int status = app.exit(error, out, err);
  std::cout << out.str();
  std::string line;
  for (std::istringstream lines(err.str()); std::getline(lines, line);) {
    std::cerr << corf::printable(line) << '\n';
  }
  if (const std::string meant = corf::command::suggestion(app); status != 0 && !meant.empty()) {
    std::cerr << meant << '\n';
  }
  return status == 0 ? 0 : kUsageError;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compiles a trained network (.onnx) into fast CPU code and runs it.", "corf");
  app.require_subcommand(1);
  app.set_version_flag("--version", corf_version());
  app.get_formatter()->column_width(38);
  app.footer(
      "`corf COMMAND --help` tells what a command takes.\n"
      "Exit status: 0 success, 2 usage error, 1 anything else.");
  corf::command::add_run(app);
  corf::command::add_bench(app);
  corf::command::add_inspect(app);
  corf::command::add_explain(app);
  corf::command::add_tune(app);
  corf::command::add_compare(app);
  corf::command::add_compile(app);
  corf::command::add_conformance(app);
  corf::command::add_cache(app);
  corf::command::add_operators(app);
  corf::command::add_doctor(app);
  corf::command::add_documents(app);
  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0) {
      say("cannot write to the standard output");
      return kFailed;
    }
    return 0;
  } catch (const CLI::ParseError& error) {
    return say_usage(app, error);
  } catch (const corf::Exception& exception) {
    say(exception.what());
  } catch (const corf::command::Failed&) {
  } catch (const std::bad_alloc&) {
    say("out of memory");
  } catch (const std::length_error&) {
    say("out of memory");
  } catch (const std::exception& exception) {
    say(exception.what());
  }
  return kFailed;
}
