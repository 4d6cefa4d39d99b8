#include "completions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace corf::command {
namespace {

/// All names of all options, separated by spaces.
std::string option_names(const CommandDescription& command) {
  std::vector<std::string> names;
  for (const OptionDescription& option : command.options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return fmt::format("{}", fmt::join(names, " "));
}

/// In single quotes, for either shell.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

/// Inside of a specification of _arguments or _describe, where colons and brackets have a meaning.
std::string zsh_text(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == ':' || c == '[' || c == ']' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

/// What _arguments is told of an option: one specification for each of its names.
std::vector<std::string> zsh_specifications(const OptionDescription& option) {
  const std::string action =
      option.choices.empty() ? "_files" : fmt::format("({})", fmt::join(option.choices, " "));
  const std::string value = fmt::format(":{}:{}", zsh_text(option.value), action);
  if (option.names.empty()) return {quoted((option.repeated ? "*" : "") + value)};
  std::vector<std::string> result;
  for (const std::string& name : option.names) {
    const bool is_long = name.starts_with("--");
    const std::string_view separator = option.value.empty() ? "" : is_long ? "=" : "+";
    result.push_back(quoted(fmt::format("{}{}{}[{}]{}", option.repeated ? "*" : "", name, separator,
                                        zsh_text(option.text), option.value.empty() ? "" : value)));
  }
  return result;
}

}  // namespace

std::string bash_completion(const std::vector<CommandDescription>& commands) {
  std::vector<std::string> subcommands;
  for (size_t i = 1; i < commands.size(); ++i) subcommands.push_back(commands[i].name);
  std::string script =
      "# bash completion for corf\n"
      "_corf() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words=\n"
      "  local command=${COMP_WORDS[1]}\n"
      "  # \"--isa=avx\" arrives as three words.\n"
      "  if [[ $previous == = ]]; then\n"
      "    previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
      "  elif [[ $word == = ]]; then\n"
      "    word=\n"
      "  fi\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then\n";
  script += fmt::format("    words={}\n", quoted(fmt::format("{} {}", fmt::join(subcommands, " "),
                                                             option_names(commands.front()))));
  script += "  else\n    case \"$command $previous\" in\n";
  for (const CommandDescription& command : commands) {
    for (const OptionDescription& option : command.options) {
      if (option.names.empty() || option.value.empty()) continue;
      std::vector<std::string> patterns;
      for (const std::string& name : option.names) {
        patterns.push_back(quoted(command.name + " " + name));
      }
      script += fmt::format("      {})\n", fmt::join(patterns, " | "));
      // Names of files, which the shell adds itself, where there are no words.
      script += option.choices.empty()
                    ? "        return ;;\n"
                    : fmt::format("        words={} ;;\n",
                                  quoted(fmt::format("{}", fmt::join(option.choices, " "))));
    }
  }
  script += "      *)\n        [[ $word == -* ]] || return\n        case $command in\n";
  for (size_t i = 1; i < commands.size(); ++i) {
    script += fmt::format("          {}) words={} ;;\n", commands[i].name,
                          quoted(option_names(commands[i])));
  }
  script +=
      "        esac ;;\n"
      "    esac\n"
      "  fi\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
      "}\n"
      "complete -o default -F _corf corf\n";
  return script;
}

std::string zsh_completion(const std::vector<CommandDescription>& commands) {
  std::string script =
      "#compdef corf\n"
      "_corf() {\n"
      "  local curcontext=$curcontext state line\n"
      "  local -a commands\n"
      "  commands=(\n";
  for (size_t i = 1; i < commands.size(); ++i) {
    script += fmt::format(
        "    {}\n", quoted(fmt::format("{}:{}", commands[i].name, zsh_text(commands[i].text))));
  }
  script += "  )\n  _arguments -C \\\n";
  for (const OptionDescription& option : commands.front().options) {
    for (const std::string& one : zsh_specifications(option)) script += "    " + one + " \\\n";
  }
  script +=
      "    '1:command:->command' \\\n"
      "    '*::argument:->arguments'\n"
      "  case $state in\n"
      "    command) _describe command commands ;;\n"
      "    arguments)\n"
      "      case $words[1] in\n";
  for (size_t i = 1; i < commands.size(); ++i) {
    script += fmt::format("        {})\n          _arguments", commands[i].name);
    for (const OptionDescription& option : commands[i].options) {
      for (const std::string& one : zsh_specifications(option)) {
        script += " \\\n            " + one;
      }
    }
    script += " ;;\n";
  }
  script +=
      "      esac ;;\n"
      "  esac\n"
      "}\n"
      "_corf \"$@\"\n";
  return script;
}

}  // namespace corf::command
