#include "driver/executable_cache.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <filesystem>
#include <link.h>
#include <set>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include "codegen/content_hash.h"
#include "driver/pipeline.h"
#include "runtime/file.h"
#include "runtime/share_constants.h"
#include "runtime/team.h"
#include "support/at_fork.h"
#include "support/log.h"
#include "support/printable.h"
#include "support/write_file.h"
#include "target/calibrate.h"
#include "target/calibration_cache.h"

namespace corf::driver {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSuffix = ".corf", kConstantsSuffix = ".constants",
                           kNoteSuffix = ".note";
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

/// The entries, those that were not used for longest first; constants behind all entries that have
/// them, for they are touched after these. What other processes remove meanwhile is left out; what
/// they left unfinished long ago is removed.
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
    const bool is_ours =
        name.ends_with(kSuffix) || name.ends_with(kConstantsSuffix) || name.ends_with(kNoteSuffix);
    if (error || !is_ours) continue;
    entries.push_back({file.path(), static_cast<int64_t>(size), used});
  }
  std::ranges::sort(entries, {}, [](const Entry& entry) {
    return std::pair(entry.used, entry.path.extension() == kConstantsSuffix);
  });
  return entries;
}

CacheContents sum_of(const std::vector<Entry>& entries) {
  CacheContents contents;
  for (const Entry& entry : entries) {
    contents.num_entries += entry.path.extension() == kSuffix ? 1 : 0;
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

std::string name_for(const std::vector<std::string>& texts) {
  codegen::ContentHash hash;
  for (const std::string& text : texts) hash.add(text);
  return hash.digits();
}

std::string in_words(const Limits& limits) {
  return fmt::format("{} {} {} {}", limit_in_words(limits.seconds),
                     limit_in_words(limits.memory_bytes), limit_in_words(limits.constant_bytes),
                     limit_in_words(limits.nodes));
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
  hash.add(limit_in_words(options.random_seed));
  hash.add(in_words(options.limits));
  return hash.digits();
}

// ---- constants ---------------------------------------------------------------------------------

namespace {

/// A block of constants of this process that lies in a file, too.
struct BlockInFile {
  std::weak_ptr<void> owner;
  std::string path;
  std::byte* data = nullptr;  // of the whole file
  int64_t size_bytes = 0;
};

struct BlocksInFiles {
  BriefMutex mutex;
  std::vector<BlockInFile> blocks;
};

/// Never destroyed: executables may come and go to the end.
BlocksInFiles& blocks_in_files() {
  static auto* const instance = new BlocksInFiles();
  return *instance;
}

std::optional<BlockInFile> find_block(const std::function<bool(const BlockInFile&)>& matches) {
  BlocksInFiles& known = blocks_in_files();
  const std::lock_guard lock(known.mutex);
  std::erase_if(known.blocks, [](const BlockInFile& block) { return block.owner.expired(); });
  const auto found = std::ranges::find_if(known.blocks, matches);
  return found == known.blocks.end() ? std::nullopt : std::optional(*found);
}

void keep_block(BlockInFile block) {
  BlocksInFiles& known = blocks_in_files();
  const std::lock_guard lock(known.mutex);
  known.blocks.push_back(std::move(block));
}

void set_used_now(const std::string& path) {
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
}

/// Puts bytes into a file named by their hash; the name.
Result<std::string> write_constants(const std::string& folder, std::span<const std::byte> bytes) {
  const std::string name = codegen::hash_of(bytes) + std::string(kConstantsSuffix);
  const std::string path = folder + "/" + name;
  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0 && status.st_size == static_cast<off_t>(bytes.size())) {
    return name;
  }
  CORF_ASSIGN(OutputFile file, OutputFile::create(path, kFileMode));
  CORF_RETURN_IF_ERROR(file.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  CORF_RETURN_IF_ERROR(file.sync());
  CORF_RETURN_IF_ERROR(file.finish());
  return name;
}

/// Where the bytes of a block lie in the folder; they are written if they do not.
Result<runtime::FileRange> range_of(const std::string& folder, const Tensor& block) {
  if (block.size_bytes() == 0) return runtime::FileRange();
  const std::weak_ptr<void> owner = block.owner();
  const std::optional<BlockInFile> known = find_block([&](const BlockInFile& other) {
    return !owner.owner_before(other.owner) && !other.owner.owner_before(owner) &&
           std::filesystem::path(other.path).parent_path() == folder;
  });
  struct stat status{};
  if (known && ::lstat(known->path.c_str(), &status) == 0) {
    return runtime::FileRange{std::filesystem::path(known->path).filename().string(),
                              block.bytes() - known->data, block.size_bytes()};
  }
  CORF_ASSIGN(std::string name,
              write_constants(folder, {block.bytes(), static_cast<size_t>(block.size_bytes())}));
  return runtime::FileRange{std::move(name), 0, block.size_bytes()};
}

/// Maps a file of constants, or finds it mapped.
/// Errors: kIo, also if others may have written it.
Result<BlockInFile> map_constants(const std::string& path, std::shared_ptr<void>& owner) {
  if (auto known = find_block([&](const BlockInFile& other) { return other.path == path; })) {
    owner = known->owner.lock();
    if (owner != nullptr) return *known;
  }
  CORF_ASSIGN(const InputFile file, InputFile::open(path, InputFile::LastComponent::kNoLink));
  if (!file.is_of_this_user_alone() || file.size_bytes() == 0) {
    return make_error(ErrorCode::kIo, "'{}' is not used: others may have written it", path);
  }
  CORF_ASSIGN(MappedFile mapped, MappedFile::map(file));
  auto whole = std::make_shared<MappedFile>(std::move(mapped));
  BlockInFile block{whole, path, whole->data(), whole->size_bytes()};
  keep_block(block);
  owner = std::move(whole);
  return block;
}

/// Errors: kInvalidModel if the file is shorter than it was; those of map_constants.
Result<Tensor> bytes_at(const std::string& folder, const runtime::FileRange& range) {
  const bool is_plain =
      range.file.ends_with(kConstantsSuffix) && range.file.find('/') == std::string::npos;
  const std::string path = folder + "/" + range.file;
  std::shared_ptr<void> owner;
  if (is_plain) {
    CORF_ASSIGN(const BlockInFile block, map_constants(path, owner));
    if (range.offset_bytes >= 0 && range.size_bytes >= 0 &&
        range.offset_bytes <= block.size_bytes - range.size_bytes) {
      return Tensor(DType::kU8, {range.size_bytes}, std::move(owner),
                    block.data + range.offset_bytes);
    }
  }
  return make_error(ErrorCode::kInvalidModel, "'{}' does not have bytes {} to {}", path,
                    range.offset_bytes, range.offset_bytes + range.size_bytes);
}

}  // namespace

// ---- entries -----------------------------------------------------------------------------------

std::string ExecutableCache::path_of(const std::string& key, std::string_view suffix) const {
  return fmt::format("{}/{}{}", folder_, key, suffix);
}

std::optional<InputFile> ExecutableCache::open(const std::string& path) const {
  if (folder_.empty() || build_id().empty()) return std::nullopt;
  Result<InputFile> file = InputFile::open(path, InputFile::LastComponent::kNoLink);
  if (!file.ok()) return std::nullopt;
  const Status usable = check_folder(folder_);
  if (usable.ok() && file->is_of_this_user_alone()) return file.take();
  log().warn("an executable that others may have written is left aside: {}", printable(path));
  return std::nullopt;
}

std::optional<std::string> ExecutableCache::find_note(const std::string& key) const {
  constexpr int64_t kMostBytes = int64_t{1} << 24;
  const std::string path = path_of(key, kNoteSuffix);
  const std::optional<InputFile> file = open(path);
  if (!file || file->size_bytes() > kMostBytes) return std::nullopt;
  std::string note(static_cast<size_t>(file->size_bytes()), '\0');
  if (!file->read(0, std::as_writable_bytes(std::span(note))).ok()) return std::nullopt;
  set_used_now(path);
  return note;
}

void ExecutableCache::insert_note(const std::string& key, std::string_view note) const {
  if (folder_.empty() || build_id().empty()) return;
  if (!make_folder(folder_) || !check_folder(folder_).ok()) return;
  Result<OutputFile> file = OutputFile::create(path_of(key, kNoteSuffix), kFileMode);
  if (file.ok() && file->write(note).ok()) static_cast<void>(file->finish());
}

std::optional<runtime::ExecutableSpec> ExecutableCache::find(const std::string& key) const {
  const std::string path = path_of(key, kSuffix);
  const std::optional<InputFile> file = open(path);
  if (!file) return std::nullopt;
  std::set<std::string> files;
  Result<runtime::ExecutableSpec> spec =
      runtime::read_without_constants(*file, [&](const runtime::FileRange& range) {
        files.insert(range.file);
        return bytes_at(folder_, range);
      });
  if (!spec.ok()) {
    ::unlink(path.c_str());
    return std::nullopt;
  }
  set_used_now(path);
  for (const std::string& file : files) set_used_now(folder_ + "/" + file);
  return spec.take();
}

Status ExecutableCache::write(const std::string& key, const runtime::ExecutableSpec& spec) const {
  std::vector<runtime::FileRange> blocks(1);
  CORF_ASSIGN(blocks[0], range_of(folder_, spec.constants));
  if (!blocks[0].file.empty()) {
    keep_block({spec.constants.owner(), folder_ + "/" + blocks[0].file,
                const_cast<std::byte*>(spec.constants.bytes()), spec.constants.size_bytes()});
  }
  for (const Tensor& shared : spec.shared_constants) {
    CORF_ASSIGN(blocks.emplace_back(), range_of(folder_, shared));
  }
  CORF_RETURN_IF_ERROR(
      runtime::write_without_constants(spec, blocks, path_of(key, kSuffix), kFileMode));
  for (const runtime::FileRange& range : blocks) {
    if (!range.file.empty()) set_used_now(folder_ + "/" + range.file);
  }
  return {};
}

void ExecutableCache::insert(const std::string& key, const runtime::ExecutableSpec& spec) const {
  if (folder_.empty() || build_id().empty() || runtime::constant_bytes(spec) > most_bytes_) return;
  if (!make_folder(folder_) || !check_folder(folder_).ok()) return;
  if (!write(key, spec).ok()) return;
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
