#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/executable.h"
#include "support/read_file.h"

/// .corf files: a compiled model as it lies on disk. A header (magic, format number, table of
/// sections with their checksums, its own checksum) is followed by the steps, the code and the
/// constants, each at a multiple of a page.
namespace corf::runtime {

std::vector<std::byte> to_bytes(const ExecutableSpec& spec);

/// Errors: kInvalidModel if the bytes are not of this kind, damaged, or fail verify_spec;
/// kUnsupported for another format number.
Result<ExecutableSpec> from_bytes(std::span<const std::byte> bytes);

/// `permissions`: as of OutputFile. Errors: those of OutputFile.
Status write_executable_file(const ExecutableSpec& spec, const std::string& path,
                             unsigned permissions = 0666);

/// Errors: kIo; those of from_bytes, naming the file.
Result<ExecutableSpec> read_executable_file(const std::string& path);
/// Of a file that is open. Errors: kIo; those of from_bytes.
Result<ExecutableSpec> read_executable(const InputFile& file);

/// Where bytes lie: in a file of a name that whoever reads and writes it makes something of.
struct FileRange {
  std::string file;
  int64_t offset_bytes = 0, size_bytes = 0;
};

/// A file without constants, which lie in others: `blocks` are those of the executable's own, then
/// of the shared ones. Errors: those of OutputFile.
Status write_without_constants(const ExecutableSpec& spec, const std::vector<FileRange>& blocks,
                               const std::string& path, unsigned permissions);
/// The bytes of a range, which nobody writes.
using FindRange = std::function<Result<Tensor>(const FileRange& range)>;
/// Such a file. Errors: kIo; those of from_bytes and of `find`.
Result<ExecutableSpec> read_without_constants(const InputFile& file, const FindRange& find);

/// Whether the file starts as .corf files do, whatever its name.
bool is_executable_file(const std::string& path);

}  // namespace corf::runtime
