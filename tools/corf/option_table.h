#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace corf::command {

/// An option, flag or positional argument as `corf COMMAND --help` tells of it.
struct OptionDescription {
  std::vector<std::string> names;    // "-o", "--output"; none: positional
  std::string value;                 // "FILE", for a positional its name; empty: a flag
  std::vector<std::string> choices;  // the values that it takes, where these are few words
  std::string text;
  std::string default_value;  // empty: none is shown
  bool required = false;
  bool repeated = false;
};

/// The command itself or one of its subcommands.
struct CommandDescription {
  std::string name;  // "corf" or "run"
  std::string text;
  std::vector<OptionDescription> options;
  std::string notes;                  // of the footer, in front of the examples
  std::vector<std::string> examples;  // command lines
};

/// The command first, then its subcommands in the order of `corf --help`.
std::vector<CommandDescription> describe_commands(const CLI::App& app);

}  // namespace corf::command
