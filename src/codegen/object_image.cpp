#include "codegen/object_image.h"

#include <limits>
#include <llvm/BinaryFormat/ELF.h>
#include <llvm/Object/ELFObjectFile.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/MemoryBufferRef.h>
#include <map>

#include "support/checked.h"

namespace corf::codegen {
namespace {

namespace elf = llvm::ELF;
using llvm::object::ELFSectionRef;
using llvm::object::SectionRef;
using llvm::object::SymbolRef;

Error llvm_error(const char* doing, llvm::Error error) {
  return make_error(ErrorCode::kInternal, "reading generated code, {}: {}", doing,
                    llvm::toString(std::move(error)));
}

/// Where an object's sections lie in the image.
class Linker {
 public:
  Linker(const llvm::object::ObjectFile& object, runtime::Image& image)
      : object_(object), image_(image) {}

  Status place_sections() {
    for (const SectionRef& section : object_.sections()) {
      const ELFSectionRef info(section);
      if (!(info.getFlags() & elf::SHF_ALLOC) || section.getSize() == 0) continue;
      if (info.getFlags() & elf::SHF_WRITE) {
        return make_error(ErrorCode::kInternal, "generated code has a writable section");
      }
      auto contents = section.getContents();
      if (!contents) return llvm_error("a section", contents.takeError());
      const auto alignment = static_cast<int64_t>(section.getAlignment().value());
      const int64_t start =
          round_up(static_cast<int64_t>(image_.bytes.size()), std::max<int64_t>(alignment, 64));
      image_.bytes.resize(static_cast<size_t>(start));
      const auto* bytes = reinterpret_cast<const std::byte*>(contents->data());
      image_.bytes.insert(image_.bytes.end(), bytes, bytes + contents->size());
      starts_[section.getIndex()] = start;
    }
    return {};
  }

  Status relocate() {
    for (const SectionRef& section : object_.sections()) {
      auto target = section.getRelocatedSection();
      if (!target) return llvm_error("a relocation section", target.takeError());
      if (*target == object_.section_end()) continue;
      auto start = starts_.find((*target)->getIndex());
      if (start == starts_.end()) continue;
      for (const llvm::object::RelocationRef& relocation : section.relocations()) {
        CORF_RETURN_IF_ERROR(apply(relocation, start->second));
      }
    }
    return {};
  }

  Result<int64_t> address_of(const SymbolRef& symbol) const {
    auto section = symbol.getSection();
    if (!section) return llvm_error("a symbol", section.takeError());
    auto value = symbol.getValue();
    if (!value) return llvm_error("a symbol", value.takeError());
    auto start =
        *section == object_.section_end() ? starts_.end() : starts_.find((*section)->getIndex());
    if (start == starts_.end()) {
      auto name = symbol.getName();
      return make_error(ErrorCode::kInternal, "generated code refers to the outside symbol '{}'",
                        name ? name->str() : (llvm::consumeError(name.takeError()), "?"));
    }
    return start->second + static_cast<int64_t>(*value);
  }

 private:
  Status apply(const llvm::object::RelocationRef& relocation, int64_t section_start) {
    const uint64_t type = relocation.getType();
    if (type != elf::R_X86_64_PC32 && type != elf::R_X86_64_PLT32) {
      return make_error(ErrorCode::kInternal, "generated code has a relocation of type {}", type);
    }
    CORF_ASSIGN(const int64_t symbol, address_of(*relocation.getSymbol()));
    auto addend = llvm::object::ELFRelocationRef(relocation).getAddend();
    if (!addend) return llvm_error("a relocation", addend.takeError());
    const int64_t place = section_start + static_cast<int64_t>(relocation.getOffset());
    const int64_t distance = symbol + *addend - place;
    if (distance < std::numeric_limits<int32_t>::min() ||
        distance > std::numeric_limits<int32_t>::max()) {
      return make_error(ErrorCode::kInternal, "generated code is too large for its relocations");
    }
    llvm::support::endian::write32le(image_.bytes.data() + place, static_cast<uint32_t>(distance));
    return {};
  }

  const llvm::object::ObjectFile& object_;
  runtime::Image& image_;
  std::map<uint64_t, int64_t> starts_;  // by section number
};

}  // namespace

Status append_object(std::string_view object, const std::vector<std::string>& functions,
                     runtime::Image& image) {
  auto file = llvm::object::ObjectFile::createELFObjectFile(
      llvm::MemoryBufferRef(llvm::StringRef(object.data(), object.size()), "kernels"));
  if (!file) return llvm_error("the object", file.takeError());
  Linker linker(**file, image);
  CORF_RETURN_IF_ERROR(linker.place_sections());
  CORF_RETURN_IF_ERROR(linker.relocate());
  std::map<std::string, int64_t> addresses;
  for (const SymbolRef& symbol : (*file)->symbols()) {
    auto type = symbol.getType();
    if (!type) return llvm_error("a symbol", type.takeError());
    if (*type != SymbolRef::ST_Function) continue;
    auto name = symbol.getName();
    if (!name) return llvm_error("a symbol", name.takeError());
    CORF_ASSIGN(const int64_t address, linker.address_of(symbol));
    addresses[name->str()] = address;
  }
  for (const std::string& function : functions) {
    auto found = addresses.find(function);
    if (found == addresses.end()) {
      return make_error(ErrorCode::kInternal, "generated code lacks the kernel '{}'", function);
    }
    image.entries.push_back({function, found->second});
  }
  return {};
}

}  // namespace corf::codegen
