#pragma once
#include <string>

#include "option_table.h"

namespace corf::command {

/// The manual page of `corf`, or of a subcommand, in the macros of man(7).
std::string man_page(const std::vector<CommandDescription>& commands,
                     const CommandDescription& command);

/// "corf" or "corf-run".
std::string page_name(const CommandDescription& command);

}  // namespace corf::command
