#pragma once
#include <string>
#include <string_view>

namespace corf {

/// Writes the file whole or not at all (under another name, then renamed) and makes its folder.
/// False if that fails.
bool write_file_whole(const std::string& file, std::string_view content);

}  // namespace corf
