#include "man_pages.h"

#include <corf/corf.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sstream>

namespace corf::command {
namespace {

/// Text as roff takes it: hyphens that can be copied, and no line that is a request.
std::string roff(const std::string& text) {
  std::string result;
  bool at_line_start = true;
  for (const char c : text) {
    if (at_line_start && (c == '.' || c == '\'')) result += "\\&";
    at_line_start = c == '\n';
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
  }
  return result;
}

std::string bold(const std::string& text) { return fmt::format("\\fB{}\\fR", roff(text)); }
std::string italic(const std::string& text) { return fmt::format("\\fI{}\\fR", roff(text)); }

std::string option_entry(const OptionDescription& option) {
  std::string head;
  for (const std::string& name : option.names) {
    head += fmt::format("{}{}", head.empty() ? "" : ", ", bold(name));
  }
  if (!option.value.empty()) head += (head.empty() ? "" : " ") + italic(option.value);
  std::string text = option.text;
  if (!option.choices.empty()) {
    text += fmt::format(". One of {}", fmt::join(option.choices, ", "));
  }
  if (!option.default_value.empty()) text += fmt::format(" (default: {})", option.default_value);
  return fmt::format(".TP\n{}\n{}{}.\n", head, option.required ? "Required. " : "", roff(text));
}

std::string synopsis(const CommandDescription& command, bool is_top) {
  std::string line = bold(is_top ? "corf" : "corf " + command.name);
  if (is_top) {
    return line + fmt::format(" {} [{}]\n", italic("COMMAND"), italic("OPTIONS"));
  }
  line += fmt::format(" [{}]", italic("OPTIONS"));
  for (const OptionDescription& option : command.options) {
    if (option.names.empty()) {
      line += fmt::format(" {}{}", italic(option.value), option.repeated ? "..." : "");
    }
  }
  return line + '\n';
}

}  // namespace

std::string page_name(const CommandDescription& command) {
  return command.name == "corf" ? "corf" : "corf-" + command.name;
}

std::string man_page(const std::vector<CommandDescription>& commands,
                     const CommandDescription& command) {
  const bool is_top = &command == &commands.front();
  const std::string name = page_name(command);
  std::string page =
      fmt::format(".TH \"{}\" 1 \"\" \"corf {}\" \"corf\"\n", roff(name), corf_version());
  page += fmt::format(".SH NAME\n{} \\- {}\n", roff(name), roff(command.text));
  page += ".SH SYNOPSIS\n" + synopsis(command, is_top);
  // The command's own notes are what the sections below say.
  if (!is_top && !command.notes.empty()) page += ".SH DESCRIPTION\n" + roff(command.notes);
  page += ".SH OPTIONS\n";
  for (const OptionDescription& option : command.options) page += option_entry(option);
  if (is_top) {
    page += ".SH COMMANDS\n";
    for (size_t i = 1; i < commands.size(); ++i) {
      page += fmt::format(".TP\n{}\n{}. See {}(1).\n", bold(commands[i].name),
                          roff(commands[i].text), bold(page_name(commands[i])));
    }
    page += ".SH ENVIRONMENT\n";
    page += fmt::format(".TP\n{}\n{}\n", bold("CORF_DUMP_DIR"),
                        roff("Folder that receives a numbered file for each compiler pass that "
                             "changed something."));
    page += fmt::format(".TP\n{}\n{}\n", bold("XDG_CACHE_HOME"),
                        roff("Tuned plans and the machine's measurements lie in its folder corf "
                             "(default: ~/.cache)."));
  }
  if (!command.examples.empty()) {
    page += ".SH EXAMPLES\n.nf\n";
    for (const std::string& example : command.examples) page += roff(example) + '\n';
    page += ".fi\n";
  }
  page += ".SH EXIT STATUS\n0 on success, 2 for a usage error, 1 for anything else.\n";
  page += ".SH SEE ALSO\n";
  std::string others;
  for (const CommandDescription& other : commands) {
    if (&other == &command) continue;
    others += fmt::format("{}{}(1)", others.empty() ? "" : ",\n", bold(page_name(other)));
    if (!is_top) break;
  }
  return page + others + '\n';
}

}  // namespace corf::command
