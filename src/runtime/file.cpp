#include "runtime/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "runtime/byte_stream.h"
#include "support/checked.h"

namespace corf::runtime {

// ---- what the structs hold --------------------------------------------------------------------
// A change here is a new kFormat.

template <typename T, typename U>
concept MaybeConst = std::same_as<std::remove_const_t<T>, U>;

auto fields(MaybeConst<Image::Entry> auto& v) { return std::tie(v.name, v.offset_bytes); }
auto fields(MaybeConst<BufferPlace> auto& v) {
  return std::tie(v.kind, v.offset_bytes, v.position, v.size_bytes);
}
auto fields(MaybeConst<KernelStep> auto& v) {
  return std::tie(v.entry, v.buffers, v.params, v.partitions, v.label, v.work_flops,
                  v.executed_flops, v.compulsory_bytes);
}
auto fields(MaybeConst<RoutineTensor> auto& v) { return std::tie(v.buffer, v.dtype, v.shape); }
auto fields(MaybeConst<RoutineStep> auto& v) {
  return std::tie(v.routine, v.attributes, v.inputs, v.outputs, v.label);
}
auto fields(MaybeConst<TensorInfo> auto& v) { return std::tie(v.name, v.dtype, v.shape); }
/// All but the code and the constants, which are sections of their own.
auto fields(MaybeConst<ExecutableSpec> auto& v) {
  return std::tie(v.image.isa, v.image.entries, v.buffers, v.steps, v.arena_bytes, v.scratch_bytes,
                  v.inputs, v.outputs, v.plan_hash, v.metadata);
}

namespace {

// ---- layout -----------------------------------------------------------------------------------

constexpr std::array<char, 8> kMagic = {'c', 'o', 'r', 'f', '\r', '\n', '\x1a', '\n'};
constexpr uint32_t kFormat = 3;
constexpr int64_t kSectionAlignment = 4096;

enum SectionNumber { kSteps, kCode, kConstants, kNumSections };
constexpr std::array<std::string_view, kNumSections> kSectionNames = {"steps", "code", "constants"};

struct Section {
  uint64_t offset_bytes = 0, size_bytes = 0;
  uint32_t checksum = 0, reserved = 0;
};

struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t format = kFormat;
  uint32_t checksum = 0;  // of the header with this field 0
  std::array<Section, kNumSections> sections{};
};
static_assert(sizeof(Header) == 16 + kNumSections * 24, "no padding");

uint32_t checksum_of(std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

uint32_t checksum_of(Header header) {
  header.checksum = 0;
  return checksum_of(std::as_bytes(std::span(&header, 1)));
}

template <typename... Args>
Error damaged(fmt::format_string<Args...> format, Args&&... args) {
  return Error{ErrorCode::kInvalidModel,
               "damaged file: " + fmt::format(format, std::forward<Args>(args)...) +
                   "; compile the model again"};
}

/// The three sections as bytes, and the header that tells where each goes.
struct Parts {
  std::vector<std::byte> steps;
  std::array<std::span<const std::byte>, kNumSections> sections;
  Header header;
};

Parts parts_of(const ExecutableSpec& spec) {
  Parts parts;
  ByteWriter writer;
  writer.write(spec);
  parts.steps = writer.take();
  parts.sections = {std::span<const std::byte>(parts.steps),
                    std::span(spec.image.bytes),
                    {spec.constants.bytes(), static_cast<size_t>(spec.constants.size_bytes())}};
  int64_t offset = sizeof(Header);
  for (int i = 0; i < kNumSections; ++i) {
    offset = round_up(offset, kSectionAlignment);
    const std::span<const std::byte> bytes = parts.sections[i];
    parts.header.sections[i] = {static_cast<uint64_t>(offset), bytes.size(), checksum_of(bytes), 0};
    offset += static_cast<int64_t>(bytes.size());
  }
  parts.header.checksum = checksum_of(parts.header);
  return parts;
}

Result<Header> read_header(std::span<const std::byte> bytes) {
  Header header;
  if (bytes.size() < sizeof(Header)) {
    return damaged("it has {} bytes, fewer than its header", bytes.size());
  }
  std::memcpy(&header, bytes.data(), sizeof(Header));
  if (header.magic != kMagic) {
    return Error{ErrorCode::kInvalidModel, "this is not a compiled corf model"};
  }
  if (header.format != kFormat) {
    return make_error(ErrorCode::kUnsupported,
                      "the file has format {}, this version of corf reads {}; compile the model "
                      "again",
                      header.format, kFormat);
  }
  if (header.checksum != checksum_of(header)) return damaged("the header's checksum is wrong");
  return header;
}

Result<std::span<const std::byte>> section_of(std::span<const std::byte> bytes,
                                              const Header& header, SectionNumber number) {
  const Section& section = header.sections[number];
  if (section.offset_bytes > bytes.size() ||
      section.size_bytes > bytes.size() - section.offset_bytes) {
    return damaged("it ends after {} bytes, within its {}", bytes.size(), kSectionNames[number]);
  }
  const auto part = bytes.subspan(section.offset_bytes, section.size_bytes);
  if (checksum_of(part) != section.checksum) {
    return damaged("the checksum of its {} is wrong", kSectionNames[number]);
  }
  return part;
}

/// A file mapped read-only.
struct Mapping {
  void* base = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (base != nullptr) munmap(base, size);
  }
};

/// Closed at the end of the scope.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

Error io_error(const std::string& path, const char* what) {
  return make_error(ErrorCode::kIo, "'{}' cannot be {}: {}", path, what, std::strerror(errno));
}

Result<std::shared_ptr<Mapping>> map_file(const std::string& path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info;
  if (file.number < 0 || fstat(file.number, &info) != 0) return io_error(path, "read");
  if (!S_ISREG(info.st_mode)) {
    return make_error(ErrorCode::kIo, "'{}' cannot be read: it is not a file", path);
  }
  auto mapping = std::make_shared<Mapping>();
  if (info.st_size == 0) return mapping;
  const auto size = static_cast<size_t>(info.st_size);
  void* base = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (base == MAP_FAILED) return io_error(path, "mapped");
  mapping->base = base;
  mapping->size = size;
  return mapping;
}

}  // namespace

std::vector<std::byte> to_bytes(const ExecutableSpec& spec) {
  const Parts parts = parts_of(spec);
  const Section& last = parts.header.sections.back();
  std::vector<std::byte> bytes(last.offset_bytes + last.size_bytes);
  std::memcpy(bytes.data(), &parts.header, sizeof(Header));
  for (int i = 0; i < kNumSections; ++i) {
    std::copy(parts.sections[i].begin(), parts.sections[i].end(),
              bytes.begin() + static_cast<int64_t>(parts.header.sections[i].offset_bytes));
  }
  return bytes;
}

Result<ExecutableSpec> from_bytes(std::span<const std::byte> bytes, std::shared_ptr<void> owner) {
  CORF_ASSIGN(const Header header, read_header(bytes));
  CORF_ASSIGN(const auto steps, section_of(bytes, header, kSteps));
  CORF_ASSIGN(const auto code, section_of(bytes, header, kCode));
  CORF_ASSIGN(const auto constants, section_of(bytes, header, kConstants));

  ExecutableSpec spec;
  ByteReader reader(steps);
  reader.read(spec);
  if (!reader.ok() || !reader.at_end()) return damaged("its steps make no sense");
  spec.image.bytes.assign(code.begin(), code.end());
  // Never written: constants are copied to pages of their own when they are loaded.
  spec.constants = Tensor(DType::kU8, {static_cast<int64_t>(constants.size())}, std::move(owner),
                          const_cast<void*>(static_cast<const void*>(constants.data())));
  CORF_RETURN_IF_ERROR(verify_spec(spec));
  return spec;
}

Status write_executable_file(const ExecutableSpec& spec, const std::string& path) {
  const Parts parts = parts_of(spec);
  const std::string unfinished = path + "." + std::to_string(getpid()) + ".unfinished";
  errno = 0;
  bool written = false;
  {
    std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(&parts.header), sizeof(Header));
    for (int i = 0; i < kNumSections; ++i) {
      file.seekp(static_cast<std::streamoff>(parts.header.sections[i].offset_bytes));
      file.write(reinterpret_cast<const char*>(parts.sections[i].data()),
                 static_cast<std::streamsize>(parts.sections[i].size()));
    }
    file.flush();
    written = file.good();
  }
  // An empty last section leaves the file short of its offset.
  const Section& last = parts.header.sections.back();
  written = written && truncate(unfinished.c_str(),
                                static_cast<off_t>(last.offset_bytes + last.size_bytes)) == 0;
  if (written && std::rename(unfinished.c_str(), path.c_str()) == 0) return {};
  const Error error = io_error(path, "written");
  std::remove(unfinished.c_str());
  return error;
}

Result<ExecutableSpec> read_executable_file(const std::string& path) {
  CORF_ASSIGN(std::shared_ptr<Mapping> mapping, map_file(path));
  const std::span bytes(static_cast<const std::byte*>(mapping->base), mapping->size);
  Result<ExecutableSpec> spec = from_bytes(bytes, mapping);
  if (spec.ok()) return spec;
  return Error{spec.error().code, fmt::format("'{}': {}", path, spec.error().message)};
}

bool is_executable_file(const std::string& path) {
  std::array<char, kMagic.size()> start{};
  std::ifstream file(path, std::ios::binary);
  return file.read(start.data(), start.size()) && start == kMagic;
}

}  // namespace corf::runtime
