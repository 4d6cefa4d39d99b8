#include <fmt/format.h>

#include "tests/codegen/compare.h"

namespace corf::codegen {
namespace {

/// Kernels of one random tile within a loop: affine, divided and guarded loads over random subsets
/// of the axes, accumulators over others, permuted stores, reductions, values passed through
/// scratch memory.
class RandomTile {
 public:
  explicit RandomTile(uint32_t seed) : random_(seed) {}

  KernelRun make() {
    choose_axes();
    trips_ = pick(1, 4);
    const bool has_loop = chance(70);
    steps_ = has_loop ? pick(1, 7) : 0;
    std::string body;
    auto line = [&](const std::string& text) { body += "      " + text + "\n"; };
    const int num_accs = static_cast<int>(pick(1, 2));
    for (int i = 0; i < num_accs; ++i) {
      const std::vector<int> axes = subset();
      accs_.push_back({next_++, axes});
      const int init = chance(50) ? constant(line) : load(line, axes, false);
      line(fmt::format("acc %{} f32 ({}) = %{}", accs_.back().reg, names(axes), init));
    }
    outside_axes_ = subset();
    const int outside = load(line, outside_axes_, false);
    if (has_loop) {
      line(fmt::format("loop k in [0, {}) step 1 unroll {} {{",
                       chance(30) ? "param" : std::to_string(steps_), pick(1, 3)));
    }
    for (const Accumulator& acc : accs_) update(line, acc, outside, has_loop);
    if (has_loop) line("}");
    for (const Accumulator& acc : accs_) finish(line, acc);

    std::string buffers, scratch;
    for (size_t i = 0; i < sizes_.size(); ++i) {
      const std::string text = fmt::format("{}: f32[{}]", buffer_name(i), sizes_[i].elems);
      if (sizes_[i].kind == Kind::kScratch) {
        scratch += (scratch.empty() ? "" : ", ") + text;
      } else {
        buffers += (buffers.empty() ? "" : ", ") + text;
        if (sizes_[i].kind == Kind::kOutput) buffers += " mut";
      }
    }
    std::string axes;
    for (const Axis& axis : axes_) {
      axes += fmt::format("{}{}: {}{}", axes.empty() ? "" : ", ", axis.name, axis.extent,
                          axis.vector ? " vector" : "");
    }
    KernelRun run;
    run.kernel = parse(fmt::format(R"(
kernel random({}) partition part params(param) {} {{
  for i in [0, {}) step 1 {{
    tile ({}) {{
{}    }}
  }}
}})",
                                   buffers, scratch.empty() ? "" : "scratch(" + scratch + ")",
                                   trips_, axes, body));
    run.params = {steps_};
    uint32_t seed = 100;
    for (const loop::KernelBuffer& buffer : run.kernel.buffers) {
      if (!buffer.written) {
        run.inputs.push_back(small_integers(DType::kF32, buffer.size_elems, ++seed));
      }
    }
    return run;
  }

 private:
  enum class Kind { kInput, kOutput, kScratch };
  struct Axis {
    std::string name;
    int64_t extent;
    bool vector;
  };
  struct Buffer {
    Kind kind;
    int64_t elems;
  };
  struct Accumulator {
    int reg;
    std::vector<int> axes;
  };

  int64_t pick(int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(random_() % static_cast<uint32_t>(hi - lo + 1));
  }
  bool chance(int percent) { return pick(1, 100) <= percent; }

  void choose_axes() {
    const int count = static_cast<int>(pick(1, 4));
    const int vector = chance(90) ? static_cast<int>(pick(0, count - 1)) : -1;
    for (int i = 0; i < count; ++i) {
      const bool is_vector = i == vector;
      axes_.push_back({fmt::format("a{}", i), is_vector ? pick(1, 40) : pick(1, 4), is_vector});
    }
  }
  std::vector<int> subset() {
    std::vector<int> result;
    for (int i = 0; i < static_cast<int>(axes_.size()); ++i) {
      if (chance(axes_[static_cast<size_t>(i)].vector ? 80 : 60)) result.push_back(i);
    }
    return result;
  }
  std::string names(const std::vector<int>& axes) const {
    std::string text;
    for (int axis : axes) {
      text += (text.empty() ? "" : ", ") + axes_[static_cast<size_t>(axis)].name;
    }
    return text;
  }
  std::string buffer_name(size_t number) const {
    return fmt::format("{}{}",
                       sizes_[number].kind == Kind::kInput    ? "x"
                       : sizes_[number].kind == Kind::kOutput ? "y"
                                                              : "s",
                       number);
  }

  template <typename Line>
  int constant(Line& line) {
    const int reg = next_++;
    line(fmt::format("%{} = const f32 {}", reg, pick(-2, 2)));
    return reg;
  }

  /// A load whose offset runs over the axes, the outer loop and perhaps the tile's.
  template <typename Line>
  int load(Line& line, const std::vector<int>& axes, bool in_loop) {
    const int64_t by_trip = pick(0, 9);
    std::string offset = fmt::format("i*{}", by_trip);
    // The buffer ends with what is read last: there is a guard page behind it.
    int64_t greatest = (trips_ - 1) * by_trip;
    if (in_loop) {
      const int64_t by_step = pick(0, 5);
      offset += fmt::format(" + k*{}", by_step);
      greatest += (steps_ - 1) * by_step;
    }
    for (int number : axes) {
      const Axis& axis = axes_[static_cast<size_t>(number)];
      if (chance(10)) {
        const int64_t together = int64_t{1} << pick(1, 4), stride = pick(1, 3);
        offset += fmt::format(" + ({} floordiv {})*{}", axis.name, together, stride);
        greatest += (axis.extent - 1) / together * stride;
      } else {
        const int64_t stride = axis.vector && chance(70) ? 1 : pick(1, 4);
        offset += fmt::format(" + {}*{}", axis.name, stride);
        greatest += stride * (axis.extent - 1);
      }
    }
    const int reg = next_++;
    std::string guard;
    if (chance(35)) {
      const int64_t shift = pick(0, 6);
      offset += fmt::format(" - {}", shift);
      const int64_t size = std::max<int64_t>(1, greatest - pick(0, 8));
      guard = fmt::format(" guard(0 <= {} < {}) padding {}", offset, size, pick(-1, 1));
      sizes_.push_back({Kind::kInput, size});
    } else {
      sizes_.push_back({Kind::kInput, greatest + 1});
    }
    if (chance(15)) {
      const std::string row =
          fmt::format("{} <= i{} < {}", pick(0, 1), in_loop ? " + k" : "", pick(1, trips_ + 2));
      guard =
          guard.empty() ? fmt::format(" guard({}) padding 2", row) : guard.insert(7, row + ", ");
    }
    line(
        fmt::format("%{} = load f32 {}[{}]{}", reg, buffer_name(sizes_.size() - 1), offset, guard));
    return reg;
  }

  template <typename Line>
  void update(Line& line, const Accumulator& acc, int outside, bool in_loop) {
    std::vector<int> used = subset();
    const int a = load(line, used, in_loop);
    const int kind = static_cast<int>(pick(0, 3));
    if (kind == 0) {
      line(fmt::format("%{} max= %{}{}", acc.reg, a, over(acc, used)));
    } else if (kind == 1) {
      line(fmt::format("%{} += %{}{}", acc.reg, a, over(acc, used)));
    } else {
      const std::vector<int> axes = chance(20) ? outside_axes_ : subset();
      const int b = axes == outside_axes_ ? outside : load(line, axes, in_loop);
      used.insert(used.end(), axes.begin(), axes.end());
      line(fmt::format("%{} += %{} * %{}{}", acc.reg, a, b, over(acc, used)));
    }
  }

  /// The axes that the factors have and the accumulator lacks, and some that none of them has.
  std::string over(const Accumulator& acc, const std::vector<int>& used) {
    std::vector<int> axes;
    for (int axis = 0; axis < static_cast<int>(axes_.size()); ++axis) {
      if (std::count(acc.axes.begin(), acc.axes.end(), axis) > 0) continue;
      if (std::count(used.begin(), used.end(), axis) > 0 || chance(25)) axes.push_back(axis);
    }
    return axes.empty() ? "" : fmt::format(" over ({})", names(axes));
  }

  /// An offset that no two points of the outer loop and the axes share.
  std::string unique_offset(std::vector<int> axes, int64_t& elems) {
    std::shuffle(axes.begin(), axes.end(), random_);
    // The vector axis most often comes last.
    std::stable_partition(axes.begin(), axes.end(), [&](int axis) {
      return !axes_[static_cast<size_t>(axis)].vector || chance(20);
    });
    int64_t stride = 1;
    std::string offset;
    for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
      const Axis& info = axes_[static_cast<size_t>(*axis)];
      offset += fmt::format("{}*{} + ", info.name, stride);
      stride *= info.extent;
    }
    elems = stride * trips_;
    return offset + fmt::format("i*{}", stride);
  }

  template <typename Line>
  void finish(Line& line, const Accumulator& acc) {
    std::vector<int> axes = acc.axes;
    int value = acc.reg;
    if (chance(40)) {
      const int other = load(line, axes, false);
      const int sum = next_++;
      line(fmt::format("%{} = {} f32 %{}, %{}", sum, chance(50) ? "add" : "max", value, other));
      value = sum;
    }
    int64_t elems = 0;
    if (chance(30)) {
      const std::string offset = unique_offset(axes, elems);
      sizes_.push_back({Kind::kScratch, elems});
      const std::string scratch = buffer_name(sizes_.size() - 1);
      line(fmt::format("store {}[{}] = %{}", scratch, offset, value));
      const int again = next_++;
      line(fmt::format("%{} = load f32 {}[{}]", again, scratch, offset));
      const int twice = next_++;
      line(fmt::format("%{} = add f32 %{}, %{}", twice, again, value));
      line(fmt::format("store {}[{}] = %{}", scratch, offset, twice));
      const int last = next_++;
      line(fmt::format("%{} = load f32 {}[{}]", last, scratch, offset));
      value = last;
    }
    if (!axes.empty() && chance(30)) {
      const auto position = static_cast<size_t>(pick(0, static_cast<int64_t>(axes.size()) - 1));
      const int reduced = next_++;
      line(fmt::format("%{} = reduce {} f32 %{} over {}", reduced, chance(50) ? "sum" : "min",
                       value, axes_[static_cast<size_t>(axes[position])].name));
      axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(position));
      value = reduced;
    }
    const std::string offset = unique_offset(axes, elems);
    sizes_.push_back({Kind::kOutput, elems});
    const std::string guard =
        chance(25) ? fmt::format(" guard({} <= {} < {})", pick(0, 3), offset, elems - pick(0, 3))
                   : "";
    line(fmt::format("store {}[{}] = %{}{}", buffer_name(sizes_.size() - 1), offset, value, guard));
  }

  std::mt19937 random_;
  std::vector<Axis> axes_;
  std::vector<Buffer> sizes_;
  std::vector<Accumulator> accs_;
  std::vector<int> outside_axes_;
  int64_t trips_ = 1, steps_ = 0;
  int next_ = 0;
};

TEST(RandomTiles, AsInterpreted) {
  const uint32_t count = std::getenv("CORF_LONG_TESTS") ? 3000 : 60;
  for (uint32_t seed = 0; seed < count; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    expect_as_interpreted(RandomTile(seed).make());
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace corf::codegen
