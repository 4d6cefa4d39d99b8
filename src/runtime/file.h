#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/executable.h"

/// .corf files: a compiled model as it lies on disk. A header (magic, format number, table of
/// sections with their checksums, its own checksum) is followed by the steps, the code and the
/// constants, each at a multiple of a page.
namespace corf::runtime {

std::vector<std::byte> to_bytes(const ExecutableSpec& spec);

/// Errors: kInvalidModel if the bytes are not of this kind, damaged, or fail verify_spec;
/// kUnsupported for another format number.
Result<ExecutableSpec> from_bytes(std::span<const std::byte> bytes);

/// Errors: those of OutputFile.
Status write_executable_file(const ExecutableSpec& spec, const std::string& path);

/// Errors: kIo; those of from_bytes, naming the file.
Result<ExecutableSpec> read_executable_file(const std::string& path);

/// Whether the file starts as .corf files do, whatever its name.
bool is_executable_file(const std::string& path);

}  // namespace corf::runtime
