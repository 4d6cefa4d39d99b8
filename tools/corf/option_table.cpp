#include "option_table.h"

#include <sstream>

namespace corf::command {
namespace {

/// "TEXT:{avx2,avx512}" as "TEXT" and its choices; "INT:INT in [0 - 1024]" as "INT".
void describe_value(const std::string& type_name, OptionDescription& option) {
  option.value = type_name.substr(0, type_name.find(':'));
  const size_t begin = type_name.find('{');
  const size_t end = type_name.find('}');
  if (begin == std::string::npos || end == std::string::npos) return;
  std::istringstream list(type_name.substr(begin + 1, end - begin - 1));
  for (std::string choice; std::getline(list, choice, ',');) option.choices.push_back(choice);
}

OptionDescription describe(const CLI::Option& option) {
  OptionDescription result;
  for (const std::string& name : option.get_snames()) result.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) result.names.push_back("--" + name);
  const bool is_flag = option.get_type_size_max() == 0;
  if (!is_flag) {
    describe_value(option.get_type_name(), result);
    result.default_value = option.get_default_str();
  }
  if (option.get_positional()) {
    result.names.clear();
    result.value = option.get_name(true);
  }
  result.text = option.get_description();
  result.required = option.get_required();
  result.repeated = option.get_items_expected_max() > 1;
  return result;
}

CommandDescription describe(const CLI::App& app) {
  CommandDescription result;
  result.name = app.get_name();
  result.text = app.get_description();
  for (const CLI::Option* option : app.get_options()) result.options.push_back(describe(*option));
  bool in_examples = false;
  std::istringstream footer(app.get_footer());
  for (std::string line; std::getline(footer, line);) {
    if (line == "Example:" || line == "Examples:") {
      in_examples = true;
    } else if (in_examples) {
      result.examples.push_back(line.substr(line.find_first_not_of(' ')));
    } else {
      if (!line.empty()) result.notes += line + '\n';
    }
  }
  return result;
}

}  // namespace

std::vector<CommandDescription> describe_commands(const CLI::App& app) {
  std::vector<CommandDescription> commands = {describe(app)};
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(describe(*command));
  }
  return commands;
}

}  // namespace corf::command
