#include "driver/executable_cache.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <filesystem>
#include <link.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include "codegen/content_hash.h"
#include "driver/pipeline.h"
#include "runtime/file.h"
#include "runtime/team.h"
#include "support/log.h"
#include "support/printable.h"
#include "target/calibrate.h"
#include "target/calibration_cache.h"

namespace corf::driver {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSuffix = ".corf";
constexpr mode_t kFolderMode = 0700;
constexpr unsigned kFileMode = 0600;
/// Of names that unfinished files have: those of processes that were ended meanwhile go as well.
constexpr std::string_view kUnfinished = ".unfinished";
constexpr std::chrono::hours kAbandoned{1};

// ---- what an entry depends on ------------------------------------------------------------------

/// The key of external data's entry that says where it lies, as protobuf writes it.
constexpr std::string_view kLocation = "\x0a\x08location";
constexpr size_t kPieceBytes = size_t{1} << 20;

bool names_other_files(std::span<const std::byte> bytes) {
  return ::memmem(bytes.data(), bytes.size(), kLocation.data(), kLocation.size()) != nullptr;
}

struct Search {
  const void* address;  // of the module that is looked for
  std::string build_id;
};

/// Of dl_iterate_phdr: fills the build id of the module that holds the address.
int find_build_id(dl_phdr_info* module, size_t, void* data) {
  auto& search = *static_cast<Search*>(data);
  const auto address = reinterpret_cast<uintptr_t>(search.address);
  const std::span segments(module->dlpi_phdr, module->dlpi_phnum);
  const bool is_here = std::ranges::any_of(segments, [&](const ElfW(Phdr) & segment) {
    const uintptr_t start = module->dlpi_addr + segment.p_vaddr;
    return segment.p_type == PT_LOAD && address >= start && address - start < segment.p_memsz;
  });
  if (!is_here) return 0;
  for (const ElfW(Phdr) & segment : segments) {
    if (segment.p_type != PT_NOTE) continue;
    const auto* at = reinterpret_cast<const char*>(module->dlpi_addr + segment.p_vaddr);
    const char* const end = at + segment.p_memsz;
    while (end - at >= static_cast<std::ptrdiff_t>(sizeof(ElfW(Nhdr)))) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* name = at + sizeof note;
      const char* content = name + (note.n_namesz + 3) / 4 * 4;
      if (note.n_type == NT_GNU_BUILD_ID && std::string_view(name, note.n_namesz) == "GNU\0"sv) {
        search.build_id.assign(content, note.n_descsz);
      }
      at = content + (note.n_descsz + 3) / 4 * 4;
    }
  }
  return 1;
}

}  // namespace

const std::string& build_id() {
  static const std::string id = [] {
    Search search{reinterpret_cast<const void*>(&executable_key), ""};
    ::dl_iterate_phdr(find_build_id, &search);
    return search.build_id;
  }();
  return id;
}

namespace {

std::string in_words(const Machine& machine) {
  std::string text =
      fmt::format("{} {} {} {} {} {}", machine.cpu_name, to_string(machine.isa), machine.threads,
                  machine.l1_bytes, machine.l2_bytes, machine.l3_bytes);
  for (double Machine::* rate : kRates) text += fmt::format(" {}", machine.*rate);
  for (double Machine::* time : kTimes) text += fmt::format(" {}", machine.*time);
  return text;
}

/// When a tuned plan was last added or replaced; 0 if there are none.
int64_t plans_changed_ns(const std::string& plan_cache_dir) {
  struct stat status{};
  if (plan_cache_dir.empty() || ::stat((plan_cache_dir + "/plans").c_str(), &status) != 0) return 0;
  return int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

template <typename T>
std::string limit_in_words(const std::optional<T>& limit) {
  return limit ? fmt::format("{}", *limit) : "-";
}

// ---- the folder --------------------------------------------------------------------------------

/// Errors: kIo if somebody else may have put files there.
Status check_folder(const std::string& folder) {
  const auto refuse = [&](std::string_view reason) {
    return make_error(ErrorCode::kIo, "the folder of executables '{}' is not used: {}", folder,
                      reason);
  };
  struct stat status{};
  if (::lstat(folder.c_str(), &status) != 0) return refuse(std::strerror(errno));
  if (!S_ISDIR(status.st_mode)) return refuse("it is no folder");
  if (status.st_uid != ::geteuid()) return refuse("it belongs to another user");
  if ((status.st_mode & 0077) != 0) return refuse("others may use it (chmod 700 would end that)");
  return {};
}

bool make_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(folder).parent_path(), error);
  return ::mkdir(folder.c_str(), kFolderMode) == 0 || errno == EEXIST;
}

struct Entry {
  std::filesystem::path path;
  int64_t size_bytes = 0;
  std::filesystem::file_time_type used;
};

/// The entries, those that were not used for longest first. What other processes remove meanwhile
/// is left out; what they left unfinished long ago is removed.
std::vector<Entry> entries_of(const std::string& folder) {
  std::vector<Entry> entries;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = file.path().filename().string();
    const auto used = file.last_write_time(error);
    if (error) continue;
    if (name.ends_with(kUnfinished)) {
      if (std::filesystem::file_time_type::clock::now() - used > kAbandoned) {
        std::filesystem::remove(file.path(), error);
      }
      continue;
    }
    const auto size = file.file_size(error);
    if (error || !name.ends_with(kSuffix)) continue;
    entries.push_back({file.path(), static_cast<int64_t>(size), used});
  }
  std::ranges::sort(entries, {}, &Entry::used);
  return entries;
}

CacheContents sum_of(const std::vector<Entry>& entries) {
  CacheContents contents;
  for (const Entry& entry : entries) {
    ++contents.num_entries;
    contents.size_bytes += entry.size_bytes;
  }
  return contents;
}

}  // namespace

std::optional<std::string> identity_of(std::span<const std::byte> model) {
  if (names_other_files(model)) return std::nullopt;
  codegen::ContentHash hash;
  hash.add_bytes(model);
  return hash.digits();
}

std::optional<std::string> identity_of(const InputFile& model) {
  codegen::ContentHash hash;
  // The end of the piece before stands in front of each, in case that the key lies across.
  std::vector<std::byte> bytes(kLocation.size() + kPieceBytes);
  size_t kept = 0;
  for (int64_t at = 0; at < model.size_bytes();) {
    const int64_t left = model.size_bytes() - at;
    const size_t count = std::min(kPieceBytes, static_cast<size_t>(left));
    const std::span<std::byte> piece(bytes.data() + kept, count);
    if (!model.read(at, piece).ok()) return std::nullopt;
    hash.add_bytes(piece);
    const std::span<std::byte> both(bytes.data(), kept + count);
    if (names_other_files(both)) return std::nullopt;
    kept = std::min(kLocation.size(), both.size());
    std::memmove(bytes.data(), both.last(kept).data(), kept);
    at += static_cast<int64_t>(count);
  }
  return hash.digits();
}

std::string executable_key(std::string_view model, const CompileOptions& options) {
  codegen::ContentHash hash;
  hash.add(build_id());
  hash.add(model);
  hash.add(std::to_string(options.shapes.size()));
  for (const auto& [name, shape] : options.shapes) {
    hash.add(name);
    hash.add(to_string(shape));
  }
  hash.add(std::to_string(options.values.size()));
  for (const auto& [name, value] : options.values) {
    hash.add(name);
    hash.add(
        {reinterpret_cast<const char*>(value.bytes()), static_cast<size_t>(value.size_bytes())});
  }
  const Machine machine = calibrated_machine(threads_of(options), options.isa.value_or(best_isa()));
  hash.add(in_words(machine));
  hash.add(fmt::format("{} {} {} {} {}", static_cast<int>(options.plan), options.winograd,
                       options.bf16, options.plan_text.has_value(),
                       plans_changed_ns(options.plan_cache_dir)));
  hash.add(options.plan_text.value_or(""));
  hash.add(options.plan_cache_dir);
  hash.add(limit_in_words(options.limits.seconds));
  hash.add(limit_in_words(options.limits.memory_bytes));
  hash.add(limit_in_words(options.limits.constant_bytes));
  hash.add(limit_in_words(options.limits.nodes));
  return hash.digits();
}

std::optional<runtime::ExecutableSpec> ExecutableCache::find(const std::string& key) const {
  if (folder_.empty() || build_id().empty()) return std::nullopt;
  const std::string path = fmt::format("{}/{}{}", folder_, key, kSuffix);
  const Result<InputFile> file = InputFile::open(path, InputFile::LastComponent::kNoLink);
  if (!file.ok()) return std::nullopt;
  const Status usable = check_folder(folder_);
  if (!usable.ok() || !file->is_of_this_user_alone()) {
    log().warn("an executable that others may have written is left aside: {}", printable(path));
    return std::nullopt;
  }
  Result<runtime::ExecutableSpec> spec = runtime::read_executable(*file);
  if (!spec.ok()) {
    ::unlink(path.c_str());
    return std::nullopt;
  }
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);  // used now
  return spec.take();
}

void ExecutableCache::insert(const std::string& key, const runtime::ExecutableSpec& spec) const {
  if (folder_.empty() || build_id().empty() || spec.constants.size_bytes() > most_bytes_) return;
  if (!make_folder(folder_) || !check_folder(folder_).ok()) return;
  const std::string path = fmt::format("{}/{}{}", folder_, key, kSuffix);
  if (!runtime::write_executable_file(spec, path, kFileMode).ok()) return;
  std::vector<Entry> entries = entries_of(folder_);
  int64_t size_bytes = sum_of(entries).size_bytes;
  for (const Entry& entry : entries) {
    if (size_bytes <= most_bytes_) break;
    ::unlink(entry.path.c_str());
    size_bytes -= entry.size_bytes;
  }
}

Result<CacheContents> ExecutableCache::contents() const {
  struct stat status{};
  if (folder_.empty() || (::lstat(folder_.c_str(), &status) != 0 && errno == ENOENT)) {
    return CacheContents{};
  }
  CORF_RETURN_IF_ERROR(check_folder(folder_));
  return sum_of(entries_of(folder_));
}

Result<CacheContents> ExecutableCache::clear() const {
  CORF_ASSIGN(const CacheContents removed, contents());
  if (removed.num_entries == 0) return removed;
  for (const Entry& entry : entries_of(folder_)) ::unlink(entry.path.c_str());
  return removed;
}

std::string ExecutableCache::default_folder() {
  const std::string folder = CalibrateOptions::default_cache_dir();
  return folder.empty() ? "" : folder + "/executables";
}

}  // namespace corf::driver
