#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "driver/compile.h"
#include "runtime/executable.h"
#include "support/read_file.h"

/// Executables that earlier processes have compiled, in a folder of the user's own.
///
/// An entry is found by a hash of all that compiling depends on: the model's bytes, shapes,
/// options, what is known of the machine, and the library's own code. It is what compiling would
/// give, bit for bit. Constants lie in files of their own, named by a hash of their bytes, so that
/// entries for several shapes have them once; they are mapped, and so in memory once for all
/// processes. Entries are machine code, so only what nobody else can have written is loaded: the
/// folder is the user's with permissions 0700, a file the user's without other writers or names.
/// Files appear whole or not at all and are never written to again, so that one which is as long as
/// its entry says stays so as long as it is mapped; entries carry checksums, constants are on the
/// disk before they have their name. Any number of processes may use the folder at once. What goes
/// wrong here is never an error of a compilation.
namespace corf::driver {

/// A text that stands for a model's bytes; nullopt for one whose weights may lie in other files,
/// which are not looked at here. Errors of reading give nullopt too.
std::optional<std::string> identity_of(std::span<const std::byte> model);
std::optional<std::string> identity_of(const InputFile& model);

/// What an entry is called. `model`: what identity_of gives, and whatever else the caller's model
/// depends on. Measures the machine where that has not been done.
std::string executable_key(std::string_view model, const CompileOptions& options);

/// A name for a sequence of texts, as entries have: 64 hexadecimal digits, others for any other.
std::string name_for(const std::vector<std::string>& texts);

/// Limits that are set, in their order.
std::string in_words(const Limits& limits);

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

  /// Texts beside the executables, for which the same holds.
  std::optional<std::string> find_note(const std::string& key) const;
  void insert_note(const std::string& key, std::string_view note) const;

  /// Errors: kIo where the folder is not one that would be used.
  Result<CacheContents> contents() const;
  /// Removes all entries; what there were. Errors: as contents.
  Result<CacheContents> clear() const;

  /// Where there are entries if nothing else is said: a folder beside the tuned plans; "" without
  /// a folder for them.
  static std::string default_folder();

 private:
  std::string path_of(const std::string& key, std::string_view suffix) const;
  /// A file that nobody else can have written.
  std::optional<InputFile> open(const std::string& path) const;
  /// Errors: kIo.
  Status write(const std::string& key, const runtime::ExecutableSpec& spec) const;

  std::string folder_;
  int64_t most_bytes_;
};

}  // namespace corf::driver
