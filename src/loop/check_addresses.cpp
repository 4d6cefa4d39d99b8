#include "loop/check_addresses.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "loop/text.h"

namespace corf::loop {
namespace {

using index::Interval;

class AddressCheck {
 public:
  AddressCheck(const Program& program, const KernelCall& call, int64_t partition)
      : program_(program), call_(call), kernel_(program.kernels[call.kernel]) {
    const Kernel& kernel = kernel_;
    ranges_.resize(kernel.var_names.size());
    known_.assign(kernel.var_names.size(), false);
    set(0, {partition, partition});
    int var = 1;
    for (int64_t value : call.params_of(partition, kernel.num_params)) set(var++, {value, value});
  }

  std::string run() {
    check(kernel_.body);
    return error_;
  }

 private:
  void set(int var, Interval range) {
    ranges_[var] = range;
    known_[var] = true;
  }

  /// Whether every value in the loop's range is taken; sets the range.
  template <typename L>
  bool enter(const L& loop) {
    if (!all_known(loop.lo) || !all_known(loop.hi)) return false;
    const Interval lo = index::bounds(loop.lo, ranges_), hi = index::bounds(loop.hi, ranges_);
    if (lo.lo != lo.hi || hi.lo != hi.hi || hi.lo <= lo.lo) return false;
    set(loop.var, {lo.lo, lo.lo + (hi.lo - 1 - lo.lo) / loop.step * loop.step});
    return true;
  }

  bool all_known(const Expr& expr) const {
    std::vector<bool> used;
    index::collect_variables(expr, used);
    for (size_t var = 0; var < used.size(); ++var) {
      if (used[var] && !known_[var]) return false;
    }
    return true;
  }

  // A loop whose bounds vary is skipped: what it contains may never run with some combinations.
  void check(const std::vector<Stmt>& body) {
    for (const Stmt& stmt : body) {
      if (!error_.empty()) return;
      if (const auto* loop = std::get_if<For>(&stmt)) {
        if (enter(*loop)) check(loop->body);
        continue;
      }
      const Tile& tile = std::get<Tile>(stmt);
      for (const TileAxis& axis : tile.axes) set(axis.var, {0, axis.extent - 1});
      check(tile.body);
    }
  }
  void check(const std::vector<TileStmt>& body) {
    for (const TileStmt& stmt : body) {
      if (!error_.empty()) return;
      if (const auto* loop = std::get_if<TileLoop>(&stmt)) {
        if (enter(*loop)) check(loop->body);
      } else if (const auto* store = std::get_if<TileStore>(&stmt)) {
        check(stmt, store->buffer, store->offset, store->guards);
      } else if (const auto* let = std::get_if<TileLet>(&stmt)) {
        const auto* load = std::get_if<TileLoad>(&let->value);
        if (load) check(stmt, load->buffer, load->offset, load->guards);
      }
    }
  }

  void check(const TileStmt& stmt, int buffer, const Expr& offset,
             const std::vector<Guard>& guards) {
    if (!guards.empty() || !all_known(offset)) return;
    const Expr in_call = index::substitute(offset, [this](int var) -> std::optional<Expr> {
      if (var > kernel_.num_params) return std::nullopt;
      return Expr(ranges_[var].lo);
    });
    if (!index::to_linear(in_call).is_affine()) return;
    const Interval range = index::bounds(in_call, ranges_);
    const auto num_buffers = static_cast<int>(kernel_.buffers.size());
    const int64_t size = buffer < num_buffers ? program_.buffers[call_.buffers[buffer]].size_elems
                                              : kernel_.scratch[buffer - num_buffers].size_elems;
    if (range.lo >= 0 && range.hi < size) return;
    error_ = fmt::format("offsets {} to {} leave the buffer's {} elements in partition {}: {}",
                         range.lo, range.hi, size, ranges_[0].lo, to_string(kernel_, stmt));
  }

  const Program& program_;
  const KernelCall& call_;
  const Kernel& kernel_;
  std::vector<Interval> ranges_;  // by variable
  std::vector<bool> known_;
  std::string error_;
};

}  // namespace

Status check_addresses(const Program& program, const KernelCall& call) {
  for (int64_t partition : {int64_t{0}, call.partitions - 1}) {
    const std::string fault = AddressCheck(program, call, partition).run();
    if (!fault.empty()) {
      return make_error(ErrorCode::kInternal, "call '{}', kernel '{}': {}", call.label,
                        program.kernels[call.kernel].name, fault);
    }
    if (call.partitions == 1) break;
  }
  return {};
}

}  // namespace corf::loop
