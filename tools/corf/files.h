#pragma once
#include <corf/corf.hpp>
#include <string>
#include <string_view>

namespace corf::command {

/// Throws Exception (CORF_IO) naming the file and the system's reason.
std::string read_file(const std::string& path);

/// Writes under another name in the same folder, then renames: `path` is never half-written.
/// Throws Exception (CORF_IO) naming the file and the system's reason.
void write_file(const std::string& path, std::string_view bytes);

/// The array in `bytes`, the content of a .npy file (versions 1 to 3, little-endian, C or Fortran
/// order). Throws Exception (CORF_INVALID_ARGUMENT) that begins with `path`.
/// Source: numpy.lib.format's description of the format.
Array parse_npy(const std::string& path, std::string_view bytes);

/// Version 1 or, for long headers, 2. bf16, which NumPy lacks, is widened to float32.
std::string to_npy(const Array& array);

}  // namespace corf::command
