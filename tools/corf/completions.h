#pragma once
#include <string>

#include "option_table.h"

namespace corf::command {

/// Scripts that complete the command's subcommands, options and the values of those that take one
/// of a few words; names of files anywhere else.
std::string bash_completion(const std::vector<CommandDescription>& commands);
std::string zsh_completion(const std::vector<CommandDescription>& commands);

}  // namespace corf::command
