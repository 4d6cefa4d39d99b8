#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <optional>

#include "files.h"
#include "support/read_file.h"

namespace corf::command {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr uint64_t kMostHeaderBytes = 1 << 20;

struct TypeName {
  corf_dtype dtype;
  std::string_view name;  // without the byte order
};
constexpr TypeName kTypeNames[] = {
    {CORF_BOOL, "b1"}, {CORF_I8, "i1"},  {CORF_U8, "u1"},  {CORF_I16, "i2"},
    {CORF_U16, "u2"},  {CORF_I32, "i4"}, {CORF_U32, "u4"}, {CORF_I64, "i8"},
    {CORF_U64, "u8"},  {CORF_F16, "f2"}, {CORF_F32, "f4"}, {CORF_F64, "f8"},
};

/// Reads the header, the literal of a Python dictionary with the keys descr, fortran_order, shape.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : text_(text) {}

  struct Header {
    std::string descr;
    bool fortran_order = false;
    Extents extents;
  };

  std::optional<Header> read() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    if (!take('{')) return std::nullopt;
    while (!take('}')) {
      const auto key = quoted();
      if (!key || !take(':')) return std::nullopt;
      if (*key == "descr" && !has_descr) {
        const auto descr = quoted();
        if (!descr) return std::nullopt;
        header.descr = *descr;
        has_descr = true;
      } else if (*key == "fortran_order" && !has_order) {
        if (!boolean(header.fortran_order)) return std::nullopt;
        has_order = true;
      } else if (*key == "shape" && !has_shape) {
        if (!tuple(header.extents)) return std::nullopt;
        has_shape = true;
      } else {
        return std::nullopt;
      }
      if (!take(',') && peek() != '}') return std::nullopt;
    }
    skip_space();
    if (position_ != text_.size() || !has_descr || !has_order || !has_shape) return std::nullopt;
    return header;
  }

 private:
  void skip_space() {
    while (position_ < text_.size() && std::strchr(" \t\r\n", text_[position_]) != nullptr &&
           text_[position_] != '\0') {
      ++position_;
    }
  }
  char peek() {
    skip_space();
    return position_ < text_.size() ? text_[position_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++position_;
    return true;
  }
  std::optional<std::string> quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') return std::nullopt;
    const size_t end = text_.find(quote, position_ + 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string result(text_.substr(position_ + 1, end - position_ - 1));
    position_ = end + 1;
    return result;
  }
  bool boolean(bool& value) {
    skip_space();
    for (const auto& [word, meaning] : {std::pair{"True", true}, std::pair{"False", false}}) {
      if (text_.substr(position_).starts_with(word)) {
        position_ += std::strlen(word);
        value = meaning;
        return true;
      }
    }
    return false;
  }
  bool tuple(Extents& extents) {
    if (!take('(')) return false;
    while (!take(')')) {
      int64_t extent = 0;
      if (!number(extent)) return false;
      extents.push_back(extent);
      if (!take(',') && peek() != ')') return false;
    }
    return true;
  }
  bool number(int64_t& value) {
    skip_space();
    const size_t begin = position_;
    while (position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9') {
      const int64_t digit = text_[position_] - '0';
      if (value > (std::numeric_limits<int64_t>::max() - digit) / 10) return false;
      value = 10 * value + digit;
      ++position_;
    }
    return position_ > begin;
  }

  std::string_view text_;
  size_t position_ = 0;
};

/// Bytes of an array; nullopt on overflow.
std::optional<uint64_t> size_in_bytes(const Extents& extents, size_t elem_bytes) {
  uint64_t size = elem_bytes;
  for (const int64_t extent : extents) {
    if (__builtin_mul_overflow(size, static_cast<uint64_t>(extent), &size)) return std::nullopt;
  }
  return size;
}

/// Copies a first-index-fastest array into a last-index-fastest one.
void from_fortran_order(const char* source, const Extents& extents, size_t elem_bytes,
                        char* target) {
  const size_t rank = extents.size();
  std::vector<size_t> stride(rank, elem_bytes);  // of the source
  for (size_t i = 1; i < rank; ++i) {
    stride[i] = stride[i - 1] * static_cast<size_t>(extents[i - 1]);
  }
  std::vector<int64_t> index(rank, 0);
  size_t count = 1;
  for (const int64_t extent : extents) count *= static_cast<size_t>(extent);
  size_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(target + i * elem_bytes, source + offset, elem_bytes);
    for (size_t axis = rank; axis-- > 0;) {
      offset += stride[axis];
      if (++index[axis] < extents[axis]) break;
      offset -= stride[axis] * static_cast<size_t>(extents[axis]);
      index[axis] = 0;
    }
  }
}

}  // namespace

Array read_npy(const std::string& path) {
  const auto fail = [&](const std::string& what) {
    throw Exception(CORF_INVALID_ARGUMENT, fmt::format("{}: {}", path, what));
  };
  Result<InputFile> opened = InputFile::open(path);
  if (!opened.ok()) throw Exception(CORF_IO, opened.error().message);
  const InputFile file = opened.take();
  const auto file_bytes = static_cast<uint64_t>(file.size_bytes());
  const auto read = [&](uint64_t offset_bytes, void* to, uint64_t size_bytes) {
    const Status status = file.read(static_cast<int64_t>(offset_bytes),
                                    {static_cast<std::byte*>(to), static_cast<size_t>(size_bytes)});
    if (!status.ok()) throw Exception(CORF_IO, status.error().message);
  };

  char start[12] = {};
  if (file_bytes < 10) fail("not a .npy file");
  read(0, start, std::min<uint64_t>(file_bytes, sizeof start));
  if (!std::string_view(start, sizeof start).starts_with(kMagic)) fail("not a .npy file");
  const int version = static_cast<unsigned char>(start[6]);
  if (version < 1 || version > 3) fail(fmt::format("version {} of .npy is unknown", version));
  const uint64_t length_bytes = version == 1 ? 2 : 4;
  uint64_t header_bytes = 0;
  if (file_bytes < 8 + length_bytes) fail("the .npy file is cut off in its header");
  std::memcpy(&header_bytes, start + 8, length_bytes);
  const uint64_t data_offset = 8 + length_bytes + header_bytes;
  if (file_bytes < data_offset) fail("the .npy file is cut off in its header");
  if (header_bytes > kMostHeaderBytes) fail("the .npy file's header is too long");
  std::string text(header_bytes, ' ');
  read(8 + length_bytes, text.data(), header_bytes);
  const auto header = HeaderReader(text).read();
  if (!header) fail("the .npy file's header is damaged");

  const std::string& descr = header->descr;
  const TypeName* type = nullptr;
  for (const TypeName& candidate : kTypeNames) {
    if (descr.size() == 3 && descr.substr(1) == candidate.name) type = &candidate;
  }
  if (type == nullptr) fail(fmt::format("NumPy's element type '{}' is not supported", descr));
  const size_t elem_bytes = corf_dtype_size_bytes(type->dtype);
  const bool native = descr[0] == '<' || descr[0] == '=' || (descr[0] == '|' && elem_bytes == 1);
  if (!native && elem_bytes > 1) {
    fail(fmt::format("byte order of '{}' is not little-endian", descr));
  }

  const auto data_bytes = size_in_bytes(header->extents, elem_bytes);
  if (!data_bytes || file_bytes - data_offset != *data_bytes) {
    fail(fmt::format("the shape in the .npy header does not fit the {} bytes of data that follow",
                     file_bytes - data_offset));
  }
  Array array("", type->dtype, header->extents);
  if (header->fortran_order) {
    std::string data(*data_bytes, '\0');
    read(data_offset, data.data(), *data_bytes);
    from_fortran_order(data.data(), header->extents, elem_bytes, static_cast<char*>(array.bytes()));
  } else {
    read(data_offset, array.bytes(), *data_bytes);
  }
  return array;
}

namespace {

/// What stands in front of the data.
std::string npy_header(const std::string& descr, const Extents& extents) {
  std::string shape;
  for (const int64_t extent : extents) shape += fmt::format("{}, ", extent);
  if (extents.size() > 1) shape.resize(shape.size() - 2);
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, shape);
  // The data start at a multiple of 64 bytes; the header ends with a newline.
  size_t length_bytes = header.size() > 60000 ? 4 : 2;
  const size_t unpadded = 8 + length_bytes + header.size() + 1;
  header.append((64 - unpadded % 64) % 64, ' ');
  header += '\n';

  std::string file(kMagic);
  file += length_bytes == 2 ? '\x01' : '\x02';
  file += '\0';
  for (size_t i = 0; i < length_bytes; ++i) {
    file += static_cast<char>((header.size() >> (8 * i)) & 0xff);
  }
  file += header;
  return file;
}

/// The code points of a text in UTF-8.
std::u32string code_points(const std::string& text) {
  std::u32string points;
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const int length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    char32_t point = length == 1 ? first : first & (0x7f >> length);
    bool is_sound = first < 0x80 || (first >= 0xc2 && first < 0xf5);
    for (int k = 1; k < length && is_sound; ++k) {
      const unsigned char next = i + k < text.size() ? text[i + k] : 0;
      is_sound = (next & 0xc0) == 0x80;
      point = point << 6 | (next & 0x3f);
    }
    points.push_back(is_sound ? point : char32_t{0xfffd});
    i += is_sound ? length : 1;
  }
  return points;
}

}  // namespace

std::string strings_to_npy(const Extents& extents, const std::vector<std::string>& strings) {
  std::vector<std::u32string> texts;
  size_t longest = 1;
  for (const std::string& text : strings) {
    texts.push_back(code_points(text));
    longest = std::max(longest, texts.back().size());
  }
  std::string file = npy_header(fmt::format("<U{}", longest), extents);
  for (std::u32string& text : texts) {
    text.resize(longest);
    file.append(reinterpret_cast<const char*>(text.data()), longest * sizeof(char32_t));
  }
  return file;
}

std::string to_npy(const Array& array) {
  if (array.dtype() == CORF_BF16) {
    Array wide(array.name(), CORF_F32, array.extents());
    for (size_t i = 0; i < array.num_elems(); ++i) {
      wide.data<uint32_t>()[i] = static_cast<uint32_t>(array.data<uint16_t>()[i]) << 16;
    }
    return to_npy(wide);
  }
  std::string_view type;
  for (const TypeName& candidate : kTypeNames) {
    if (candidate.dtype == array.dtype()) type = candidate.name;
  }
  std::string file =
      npy_header(fmt::format("{}{}", corf_dtype_size_bytes(array.dtype()) == 1 ? '|' : '<', type),
                 array.extents());
  file.append(static_cast<const char*>(array.bytes()), array.size_bytes());
  return file;
}

}  // namespace corf::command
