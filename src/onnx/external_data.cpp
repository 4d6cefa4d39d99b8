#include "onnx/external_data.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sys/mman.h>
#include <utility>

#include "support/checked.h"

namespace corf::onnx {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kChunkBytes = 256 << 10;

bool is_inside(const fs::path& root, const fs::path& path) {
  return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
}

}  // namespace

// ---- a file ----------------------------------------------------------------------------------

ExternalFile::ExternalFile(std::string path, InputFile opened, std::byte* memory)
    : path_(std::move(path)),
      opened_(std::move(opened)),
      memory_(memory),
      is_read_(static_cast<size_t>(ceil_div(opened_.size_bytes(), kChunkBytes))) {
  opened_.close();
}

ExternalFile::~ExternalFile() {
  if (memory_ != nullptr) ::munmap(memory_, static_cast<size_t>(opened_.size_bytes()));
}

Result<std::shared_ptr<ExternalFile>> ExternalFile::open(const std::string& path) {
  CORF_ASSIGN(InputFile file, InputFile::open(path, InputFile::LastComponent::kNoLink));
  if (file.num_names() > 1) {
    return make_error(ErrorCode::kIo,
                      "cannot read '{}': it has {} hard links, and so may be a file of somebody "
                      "else; external data must be a file of its own: put a copy in its place",
                      path, file.num_names());
  }
  void* memory = nullptr;
  if (file.size_bytes() > 0) {
    // Pages that no tensor asks for are never touched.
    memory = ::mmap(nullptr, static_cast<size_t>(file.size_bytes()), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (memory != MAP_FAILED && file.size_bytes() > 0) {
    // Fewer pages to be made while it is filled: a fifth of the time that reading takes.
    ::madvise(memory, static_cast<size_t>(file.size_bytes()), MADV_HUGEPAGE);
  }
  if (memory == MAP_FAILED) {
    return make_error(ErrorCode::kOutOfMemory, "no memory for the {} bytes of '{}': {}",
                      file.size_bytes(), path, std::strerror(errno));
  }
  return std::shared_ptr<ExternalFile>(
      new ExternalFile(path, std::move(file), static_cast<std::byte*>(memory)));
}

Result<const std::byte*> ExternalFile::read(int64_t offset_bytes, int64_t size_bytes) {
  const std::scoped_lock lock(mutex_);
  const auto first = is_read_.begin() + offset_bytes / kChunkBytes;
  const auto last = is_read_.begin() + ceil_div(offset_bytes + size_bytes, kChunkBytes);
  auto begin = std::find(first, last, false);
  if (begin == last) return memory_ + offset_bytes;
  CORF_ASSIGN(const InputFile file, InputFile::open(path_, InputFile::LastComponent::kNoLink));
  if (!file.is_unchanged_since(opened_)) {
    return make_error(ErrorCode::kIo,
                      "'{}' was changed after the model was loaded; load the model again", path_);
  }
  while (begin != last) {
    const auto end = std::find(begin, last, true);
    const int64_t from = (begin - is_read_.begin()) * kChunkBytes;
    const int64_t to = std::min((end - is_read_.begin()) * kChunkBytes, this->size_bytes());
    CORF_RETURN_IF_ERROR(file.read(from, {memory_ + from, static_cast<size_t>(to - from)}));
    std::fill(begin, end, true);
    begin = std::find(end, last, false);
  }
  return memory_ + offset_bytes;
}

// ---- all files of a model --------------------------------------------------------------------

ExternalData::ExternalData(std::vector<std::string> directories)
    : directories_(std::move(directories)) {
  for (std::string& directory : directories_) {
    if (directory.empty()) directory = ".";
  }
}

Result<std::shared_ptr<ExternalFile>> ExternalData::open(const std::string& location) {
  if (directories_.empty()) {
    return make_error(ErrorCode::kInvalidModel,
                      "its data lie in another file, '{}', which a tensor without a model cannot "
                      "have; keep them in the tensor (raw_data)",
                      location);
  }
  const std::scoped_lock lock(mutex_);
  if (auto known = files_.find(location); known != files_.end()) return known->second;
  const fs::path relative = fs::path(location).lexically_normal();
  const bool leaves = relative.is_absolute() || relative.empty() || *relative.begin() == "..";
  // A zero byte would end the name for the system, but not for us.
  const bool is_name = location.find('\0') == std::string::npos;
  bool inside = false;
  fs::path path;
  if (!leaves && is_name) {
    std::error_code error, root_error;
    path = fs::weakly_canonical(fs::path(directories_[0]) / relative, error);
    for (const std::string& directory : directories_) {
      const fs::path root = fs::weakly_canonical(directory, root_error);
      inside = inside || (!error && !root_error && !root.empty() && is_inside(root, path));
    }
  }
  if (!inside) {
    return make_error(ErrorCode::kInvalidModel,
                      "external data in '{}' lies outside of the model's directory; put the file "
                      "beside the model and name it by its relative path",
                      location);
  }
  CORF_ASSIGN(auto file, ExternalFile::open(path.string()));
  files_[location] = file;
  return file;
}

}  // namespace corf::onnx
