#include "runtime/file.h"

#include <algorithm>
#include <array>
#include <zlib.h>

#include "runtime/byte_stream.h"
#include "runtime/pages.h"
#include "runtime/share_constants.h"
#include "support/checked.h"
#include "support/write_file.h"

namespace corf::runtime {

// ---- what the structs hold --------------------------------------------------------------------
// A change here is a new kFormat.

template <typename T, typename U>
concept MaybeConst = std::same_as<std::remove_const_t<T>, U>;

auto fields(MaybeConst<Image::Entry> auto& v) { return std::tie(v.name, v.offset_bytes); }
auto fields(MaybeConst<BufferPlace> auto& v) {
  return std::tie(v.kind, v.offset_bytes, v.position, v.size_bytes, v.block, v.origin, v.dtype);
}
auto fields(MaybeConst<FileRange> auto& v) {
  return std::tie(v.file, v.offset_bytes, v.size_bytes);
}
auto fields(MaybeConst<KernelStep> auto& v) {
  return std::tie(v.entry, v.buffers, v.params, v.partitions, v.label, v.work_flops,
                  v.executed_flops, v.compulsory_bytes, v.params_step);
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
constexpr uint32_t kFormat = 5;
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

/// `blocks`: empty where all constants are within.
Parts parts_of(const ExecutableSpec& spec, const std::vector<FileRange>& blocks) {
  Parts parts;
  ByteWriter writer;
  writer.write(spec);
  writer.write(blocks);
  parts.steps = writer.take();
  const Tensor inside = blocks.empty() ? spec.constants : Tensor();
  parts.sections = {std::span<const std::byte>(parts.steps),
                    std::span(spec.image.bytes),
                    {inside.bytes(), static_cast<size_t>(inside.size_bytes())}};
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

/// Where a file's bytes come from, and how many there are.
struct Source {
  int64_t size_bytes = 0;
  std::function<Status(int64_t offset_bytes, std::span<std::byte> to)> read;
};

Result<Header> read_header(const Source& source) {
  Header header;
  if (source.size_bytes < static_cast<int64_t>(sizeof(Header))) {
    return damaged("it has {} bytes, fewer than its header", source.size_bytes);
  }
  CORF_RETURN_IF_ERROR(source.read(0, std::as_writable_bytes(std::span(&header, 1))));
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

/// Number of bytes of a section that lies within the file.
Result<int64_t> size_of_section(const Source& source, const Header& header, SectionNumber number) {
  const Section& section = header.sections[number];
  const auto file_bytes = static_cast<uint64_t>(source.size_bytes);
  if (section.offset_bytes > file_bytes || section.size_bytes > file_bytes - section.offset_bytes) {
    return damaged("it ends after {} bytes, within its {}", file_bytes, kSectionNames[number]);
  }
  return static_cast<int64_t>(section.size_bytes);
}

Status read_section(const Source& source, const Header& header, SectionNumber number,
                    std::span<std::byte> to) {
  const Section& section = header.sections[number];
  CORF_RETURN_IF_ERROR(source.read(static_cast<int64_t>(section.offset_bytes), to));
  if (checksum_of(to) != section.checksum) {
    return damaged("the checksum of its {} is wrong", kSectionNames[number]);
  }
  return {};
}

Result<std::vector<std::byte>> read_section(const Source& source, const Header& header,
                                            SectionNumber number) {
  CORF_ASSIGN(const int64_t size, size_of_section(source, header, number));
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  CORF_RETURN_IF_ERROR(read_section(source, header, number, bytes));
  return bytes;
}

/// The constants, on pages of their own that nobody writes any more.
Result<Tensor> read_constants(const Source& source, const Header& header) {
  CORF_ASSIGN(const int64_t size, size_of_section(source, header, kConstants));
  CORF_ASSIGN(Pages pages, map_pages(size));
  CORF_RETURN_IF_ERROR(
      read_section(source, header, kConstants, {pages.data(), static_cast<size_t>(size)}));
  pages.forbid_writes();
  auto owner = std::make_shared<Pages>(std::move(pages));
  std::byte* data = owner->data();
  return Tensor(DType::kU8, {size}, std::move(owner), data);
}

/// All blocks become shared ones.
Status find_blocks(const std::vector<FileRange>& blocks, const FindRange& find,
                   ExecutableSpec& spec) {
  if (blocks.empty()) return {};
  if (!find) return damaged("its constants lie in other files");
  for (const FileRange& range : blocks) {
    Tensor block;
    if (range.size_bytes != 0) {
      CORF_ASSIGN(block, find(range));
    }
    spec.shared_constants.push_back(std::move(block));
  }
  for (BufferPlace& place : spec.buffers) {
    if (place.kind == BufferPlace::Kind::kConstant) ++place.block;
  }
  return {};
}

Result<ExecutableSpec> read_spec(const Source& source, const FindRange& find = nullptr) {
  CORF_ASSIGN(const Header header, read_header(source));
  CORF_ASSIGN(const std::vector<std::byte> steps, read_section(source, header, kSteps));
  CORF_ASSIGN(std::vector<std::byte> code, read_section(source, header, kCode));
  ExecutableSpec spec;
  ByteReader reader(steps);
  reader.read(spec);
  std::vector<FileRange> blocks;
  reader.read(blocks);
  if (!reader.ok() || !reader.at_end()) return damaged("its steps make no sense");
  spec.image.bytes = std::move(code);
  CORF_ASSIGN(spec.constants, read_constants(source, header));
  spec.constants_in_place = true;
  CORF_RETURN_IF_ERROR(find_blocks(blocks, find, spec));
  CORF_RETURN_IF_ERROR(verify_spec(spec));
  return spec;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::vector<std::byte> to_bytes(const ExecutableSpec& spec) {
  if (!spec.shared_constants.empty()) return to_bytes(with_own_constants(spec));
  const Parts parts = parts_of(spec, {});
  const Section& last = parts.header.sections.back();
  std::vector<std::byte> bytes(last.offset_bytes + last.size_bytes);
  std::memcpy(bytes.data(), &parts.header, sizeof(Header));
  for (int i = 0; i < kNumSections; ++i) {
    std::copy(parts.sections[i].begin(), parts.sections[i].end(),
              bytes.begin() + static_cast<int64_t>(parts.header.sections[i].offset_bytes));
  }
  return bytes;
}

Result<ExecutableSpec> from_bytes(std::span<const std::byte> bytes) {
  return read_spec({static_cast<int64_t>(bytes.size()),
                    [&](int64_t offset_bytes, std::span<std::byte> to) -> Status {
                      const auto from = bytes.subspan(static_cast<size_t>(offset_bytes), to.size());
                      std::copy(from.begin(), from.end(), to.begin());
                      return {};
                    }});
}

namespace {

Status write_parts(const Parts& parts, const std::string& path, unsigned permissions) {
  CORF_ASSIGN(OutputFile file, OutputFile::create(path, permissions));
  CORF_RETURN_IF_ERROR(file.write(as_text(std::as_bytes(std::span(&parts.header, 1)))));
  for (int i = 0; i < kNumSections; ++i) {
    const auto gap =
        static_cast<int64_t>(parts.header.sections[i].offset_bytes) - file.size_bytes();
    CORF_RETURN_IF_ERROR(file.write(std::string(static_cast<size_t>(gap), '\0')));
    CORF_RETURN_IF_ERROR(file.write(as_text(parts.sections[i])));
  }
  return file.finish();
}

}  // namespace

Status write_executable_file(const ExecutableSpec& spec, const std::string& path,
                             unsigned permissions) {
  if (!spec.shared_constants.empty()) {
    return write_executable_file(with_own_constants(spec), path, permissions);
  }
  return write_parts(parts_of(spec, {}), path, permissions);
}

Status write_without_constants(const ExecutableSpec& spec, const std::vector<FileRange>& blocks,
                               const std::string& path, unsigned permissions) {
  return write_parts(parts_of(spec, blocks), path, permissions);
}

Result<ExecutableSpec> read_without_constants(const InputFile& file, const FindRange& find) {
  const auto read = [&](int64_t offset_bytes, std::span<std::byte> to) {
    return file.read(offset_bytes, to);
  };
  return read_spec({file.size_bytes(), read}, find);
}

Result<ExecutableSpec> read_executable(const InputFile& file) {
  return read_spec({file.size_bytes(), [&](int64_t offset_bytes, std::span<std::byte> to) {
                      return file.read(offset_bytes, to);
                    }});
}

Result<ExecutableSpec> read_executable_file(const std::string& path) {
  CORF_ASSIGN(const InputFile file, InputFile::open(path));
  Result<ExecutableSpec> spec = read_executable(file);
  if (spec.ok() || spec.error().code == ErrorCode::kIo) return spec;
  return Error{spec.error().code, fmt::format("'{}': {}", path, spec.error().message)};
}

bool is_executable_file(const std::string& path) {
  std::array<char, kMagic.size()> start{};
  const Result<InputFile> file = InputFile::open(path);
  return file.ok() && file->read(0, std::as_writable_bytes(std::span(start))).ok() &&
         start == kMagic;
}

}  // namespace corf::runtime
