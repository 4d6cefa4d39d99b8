#include "codegen/spills.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

namespace corf::codegen {
namespace {

/// Of the comment "64-byte Folded Reload"; 0 if the line has none that ends like this.
int64_t bytes_moved(std::string_view line, std::string_view kind) {
  constexpr std::string_view kUnit = "-byte ";
  if (!line.ends_with(kind)) return 0;
  const size_t unit = line.rfind(kUnit);
  if (unit == std::string_view::npos) return 0;
  size_t first = unit;
  while (first > 0 && line[first - 1] >= '0' && line[first - 1] <= '9') --first;
  int64_t bytes = 0;
  std::from_chars(line.data() + first, line.data() + unit, bytes);
  return bytes;
}

/// The word behind `before`, empty if the line lacks it.
std::string_view word_behind(std::string_view line, std::string_view before) {
  const size_t at = line.find(before);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = line.substr(at + before.size());
  return rest.substr(0, rest.find_first_of(" \t"));
}

/// Reads the text line by line. LLVM's comments say what is a spill, and behind the label of each
/// block the innermost loop around it.
class Counter {
 public:
  void read(std::string_view line) {
    if (const size_t end = line.find(':'); end != std::string_view::npos && end > 0) {
      if (line.starts_with(".LBB") || line.starts_with("# %bb.")) {
        block_ = line.starts_with(".L") ? line.substr(2, end - 2) : std::string_view{};
        in_innermost_ = false;
      } else if (line[0] != '.' && line[0] != '#' && line[0] != '\t' && line[0] != ' ') {
        in_kernel_ = line.starts_with("kernel_");
        if (in_kernel_) functions_.push_back({std::string(line.substr(0, end))});
        innermost_.clear();  // each module numbers its blocks anew
      }
    }
    // Blocks of a loop that are not its header name it.
    if (const auto header = word_behind(line, "in Loop: Header="); !header.empty()) {
      in_innermost_ = innermost_.count(std::string(header)) != 0;
    }
    if (line.find("Inner Loop Header:") != std::string_view::npos) {
      innermost_.insert(std::string(block_));
      in_innermost_ = true;
    }
    if (in_kernel_) count(line, functions_.back());
  }

  std::vector<Spills> take() { return std::move(functions_); }

 private:
  void count(std::string_view line, Spills& spills) const {
    constexpr int64_t kVectorBytes = 16;
    const bool stored = bytes_moved(line, "Spill") >= kVectorBytes;
    const bool loaded = bytes_moved(line, "Reload") >= kVectorBytes;
    spills.stores += stored;
    spills.loads += loaded;
    if (in_innermost_) spills.in_innermost_loops += stored || loaded;
  }

  std::vector<Spills> functions_;
  std::string_view block_;  // without ".L", as the comments name it
  std::set<std::string> innermost_;
  bool in_innermost_ = false;
  bool in_kernel_ = false;  // and not in a function that kernels call
};

}  // namespace

std::vector<Spills> count_spills(std::string_view assembly) {
  Counter counter;
  while (!assembly.empty()) {
    const size_t end = std::min(assembly.find('\n'), assembly.size());
    counter.read(assembly.substr(0, end));
    assembly.remove_prefix(std::min(end + 1, assembly.size()));
  }
  return counter.take();
}

}  // namespace corf::codegen
