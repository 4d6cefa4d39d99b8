#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "driver/compile.h"
#include "runtime/executable.h"
#include "support/read_file.h"

/// Executables that earlier processes have compiled, in a folder of the user's own.
///
/// An entry is found by a hash of all that compiling depends on: the model's bytes, shapes,
/// options, what is known of the machine, and the library's own code. It is what compiling would
/// give, bit for bit. Entries are machine code, so only what nobody else can have written is
/// loaded: the folder is the user's with permissions 0700, a file the user's without other writers
/// or names. Files appear whole or not at all, carry checksums, and any number of processes may use
/// the folder at once. What goes wrong here is never an error of a compilation.
namespace corf::driver {

/// A text that stands for a model's bytes; nullopt for one whose weights may lie in other files,
/// which are not looked at here. Errors of reading give nullopt too.
std::optional<std::string> identity_of(std::span<const std::byte> model);
std::optional<std::string> identity_of(const InputFile& model);

/// What an entry is called. `model`: what identity_of gives, and whatever else the caller's model
/// depends on. Measures the machine where that has not been done.
std::string executable_key(std::string_view model, const CompileOptions& options);

/// Bytes that tell this library from every other build of it; "" if the linker was told to leave
/// that out.
const std::string& build_id();

/// What the folder holds.
struct CacheContents {
  int64_t num_entries = 0;
  int64_t size_bytes = 0;
};

class ExecutableCache {
 public:
  /// Nothing is done without a folder.
  ExecutableCache(std::string folder, int64_t most_bytes)
      : folder_(std::move(folder)), most_bytes_(most_bytes) {}

  /// nullopt where there is none that may be used.
  std::optional<runtime::ExecutableSpec> find(const std::string& key) const;
  /// Makes the folder where it is missing, and room by removing what was not used for longest.
  void insert(const std::string& key, const runtime::ExecutableSpec& spec) const;

  /// Errors: kIo where the folder is not one that would be used.
  Result<CacheContents> contents() const;
  /// Removes all entries; what there were. Errors: as contents.
  Result<CacheContents> clear() const;

  /// Where there are entries if nothing else is said: a folder beside the tuned plans; "" without
  /// a folder for them.
  static std::string default_folder();

 private:
  std::string folder_;
  int64_t most_bytes_;
};

}  // namespace corf::driver
