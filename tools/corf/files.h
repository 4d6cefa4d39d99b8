#pragma once
#include <corf/corf.hpp>
#include <string>
#include <string_view>

namespace corf::command {

/// Of texts and tensors that describe a model, not arrays: larger ones are mistakes.
constexpr int64_t kMostTextBytes = int64_t{64} << 20;

/// As the library's read_file and write_file (support/), but they throw Exception (CORF_IO), and
/// the standard output is left to what was written there.
std::string read_file(const std::string& path, int64_t most_bytes = kMostTextBytes);
void write_file(const std::string& path, std::string_view bytes);

/// To be called where `file` has been written: if that was the standard output, whatever the
/// command prints afterwards goes to the standard error.
void leave_standard_output_to(const std::string& file);

/// The array in a .npy file (versions 1 to 3, little-endian, C or Fortran order). Nothing is
/// allocated for an array that the file does not hold. Throws Exception (CORF_IO,
/// CORF_INVALID_ARGUMENT) naming the file.
/// Source: numpy.lib.format's description of the format.
Array read_npy(const std::string& path);

/// Version 1 or, for long headers, 2. bf16, which NumPy lacks, is widened to float32.
std::string to_npy(const Array& array);

/// As NumPy's strings, each as long as the longest. What is not UTF-8 becomes U+FFFD.
std::string strings_to_npy(const Extents& extents, const std::vector<std::string>& strings);

}  // namespace corf::command
