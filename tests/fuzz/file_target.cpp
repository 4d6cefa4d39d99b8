#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <zlib.h>

#include "runtime/file.h"
#include "tests/fuzz/targets.h"
#include "tests/runtime/small_kernels.h"

namespace corf::fuzz {
namespace {

using runtime::BufferPlace;
using runtime::ExecutableSpec;
using runtime::RoutineAttribute;
using runtime::RoutineTensor;

constexpr int64_t kNumbers[] = {0,
                                1,
                                -1,
                                2,
                                3,
                                4,
                                5,
                                64,
                                128,
                                4096,
                                int64_t{1} << 31,
                                int64_t{1} << 32,
                                int64_t{1} << 40,
                                int64_t{1} << 61,
                                std::numeric_limits<int64_t>::max(),
                                std::numeric_limits<int64_t>::max() - 63,
                                std::numeric_limits<int64_t>::min()};

using Attributes = std::map<std::string, RoutineAttribute>;
using Operands = std::vector<std::pair<DType, Shape>>;

/// A compiled model by hand: its steps are routines, or kernels that are small enough to write
/// down.
class SpecBuilder {
 public:
  ExecutableSpec spec;

  int input(DType dtype, const Shape& shape) {
    spec.inputs.push_back({fmt::format("x{}", spec.inputs.size()), dtype, shape});
    return add({BufferPlace::Kind::kInput, 0, static_cast<int>(spec.inputs.size()) - 1,
                num_elems(shape) * size_bytes(dtype)});
  }
  int output(DType dtype, const Shape& shape) {
    spec.outputs.push_back({fmt::format("y{}", spec.outputs.size()), dtype, shape});
    return add({BufferPlace::Kind::kOutput, 0, static_cast<int>(spec.outputs.size()) - 1,
                num_elems(shape) * size_bytes(dtype)});
  }
  int arena(DType dtype, const Shape& shape) {
    const int64_t size = num_elems(shape) * size_bytes(dtype);
    const int buffer = add({BufferPlace::Kind::kArena, spec.arena_bytes, -1, size});
    spec.arena_bytes += (size + 63) / 64 * 64;
    return buffer;
  }
  /// Its first result stays in the arena for who comes next.
  void routine(const std::string& name, const Attributes& attributes, const Operands& inputs,
               const Operands& outputs) {
    runtime::RoutineStep step{name, attributes, {}, {}, name};
    for (const auto& [dtype, shape] : inputs) {
      const bool first = &shape == &inputs[0].second;
      const bool fits = first && last_ >= 0 && last_type_ == dtype && last_shape_ == shape;
      step.inputs.push_back({fits ? last_ : input(dtype, shape), dtype, shape});
    }
    last_ = -1;
    for (const auto& [dtype, shape] : outputs) {
      const bool first = last_ < 0 && inputs[0].second == shape;
      const int buffer = first ? arena(dtype, shape) : output(dtype, shape);
      if (first) last_ = buffer, last_type_ = dtype, last_shape_ = shape;
      step.outputs.push_back({buffer, dtype, shape});
    }
    spec.steps.emplace_back(std::move(step));
  }

 private:
  int add(BufferPlace place) {
    spec.buffers.push_back(place);
    return static_cast<int>(spec.buffers.size()) - 1;
  }
  int last_ = -1;
  DType last_type_ = DType::kF32;
  Shape last_shape_;
};

constexpr DType kF = DType::kF32, kI = DType::kI64, kI4 = DType::kI32;

std::vector<ExecutableSpec> make_specs() {
  std::vector<ExecutableSpec> specs;
  SpecBuilder kernels;
  kernels.spec.image = runtime::small_kernels();
  kernels.spec.constants = Tensor(DType::kU8, {128});
  kernels.spec.scratch_bytes = 64;
  const int x = kernels.input(kF, {4}), t = kernels.arena(kF, {4}), y = kernels.output(kF, {4});
  kernels.spec.buffers.push_back({BufferPlace::Kind::kConstant, 64, -1, 64});
  kernels.spec.steps.emplace_back(
      runtime::KernelStep{runtime::kAddParam, {x, t}, {3}, 4, "add", 4, 4, 32});
  kernels.spec.steps.emplace_back(
      runtime::KernelStep{runtime::kMirror, {t, y}, {4}, 4, "mirror", 4, 4, 32});
  kernels.spec.metadata["author"] = "nobody";
  specs.push_back(kernels.spec);

  SpecBuilder sums;
  sums.routine("CumSum", {{"exclusive", int64_t{1}}}, {{kF, {2, 3, 2}}, {kI, {}}},
               {{kF, {2, 3, 2}}});
  sums.routine("CumSum", {{"axis", int64_t{-1}}, {"reverse", int64_t{1}}}, {{kF, {2, 3, 2}}},
               {{kF, {2, 3, 2}}});
  sums.routine("TopK", {{"axis", int64_t{1}}, {"largest", int64_t{0}}},
               {{kF, {2, 3, 2}}, {kI, {1}}}, {{kF, {2, 2, 2}}, {kI, {2, 2, 2}}});
  specs.push_back(sums.spec);

  SpecBuilder scatters;
  scatters.routine("ScatterElements", {{"axis", int64_t{1}}, {"reduction", std::string("add")}},
                   {{kF, {3, 4}}, {kI, {2, 3}}, {kF, {2, 3}}}, {{kF, {3, 4}}});
  scatters.routine("ScatterND", {{"reduction", std::string("max")}},
                   {{kF, {3, 4}}, {kI4, {2, 1}}, {kF, {2, 4}}}, {{kF, {3, 4}}});
  scatters.routine("GatherND", {{"batch_dims", int64_t{1}}}, {{kF, {3, 4}}, {kI, {3, 2, 1}}},
                   {{kF, {3, 2}}});
  specs.push_back(scatters.spec);

  const int64_t hidden = 2, features = 3, batch = 2, steps = 3;
  for (const auto& [name, gates] :
       {std::pair{"RNN", 1}, std::pair{"GRU", 3}, std::pair{"LSTM", 4}}) {
    SpecBuilder cell;
    const bool both = gates == 4;
    const int64_t directions = both ? 2 : 1, rows = gates * hidden;
    Operands inputs = {{kF, {steps, batch, features}},
                       {kF, {directions, rows, features}},
                       {kF, {directions, rows, hidden}},
                       {kF, {directions, 2 * rows}},
                       {kI4, {batch}},
                       {kF, {directions, batch, hidden}}};
    Operands outputs = {{kF, {steps, directions, batch, hidden}},
                        {kF, {directions, batch, hidden}}};
    if (both) {
      inputs.push_back({kF, {directions, batch, hidden}});
      inputs.push_back({kF, {directions, 3 * hidden}});
      outputs.push_back({kF, {directions, batch, hidden}});
    }
    cell.routine(name,
                 {{"hidden_size", hidden},
                  {"clip", 2.0},
                  {"direction", std::string(both ? "bidirectional" : "reverse")}},
                 inputs, outputs);
    specs.push_back(cell.spec);
  }
  return specs;
}

void change(int64_t& number, Choices& choices) {
  if (choices.chance(128)) {
    number = choices.any(kNumbers);
  } else {
    number = static_cast<int64_t>(static_cast<uint64_t>(number) +
                                  static_cast<uint64_t>(choices.pick(-4, 4)));
  }
}

template <typename T>
T* any_of(std::vector<T>& list, Choices& choices) {
  return list.empty() ? nullptr : &list[choices.below(list.size())];
}

void change(DType& dtype, Choices& choices) { dtype = static_cast<DType>(choices.pick(0, 14)); }

void change(Shape& shape, Choices& choices) {
  if (choices.chance(48)) shape.push_back(choices.pick(0, 3));
  if (choices.chance(48) && !shape.empty()) shape.pop_back();
  if (int64_t* extent = any_of(shape, choices)) change(*extent, choices);
}

void change(int& number, int64_t most, Choices& choices) {
  number = static_cast<int>(choices.pick(-1, most + 1));
}

void change(runtime::KernelStep& step, const ExecutableSpec& spec, Choices& choices) {
  change(step.entry, static_cast<int64_t>(spec.image.entries.size()), choices);
  if (int* buffer = any_of(step.buffers, choices)) {
    change(*buffer, static_cast<int64_t>(spec.buffers.size()), choices);
  }
  change(step.partitions, choices);
}

void change(runtime::RoutineStep& step, const ExecutableSpec& spec, Choices& choices) {
  switch (choices.below(8)) {
    case 0: {
      const auto names = runtime::routine_names();
      step.routine = std::string(choices.any(names));
      return;
    }
    case 1:
      if (!step.inputs.empty()) step.inputs.pop_back();
      return;
    case 2:
      if (!step.outputs.empty()) step.outputs.pop_back();
      return;
    case 3: {
      static const std::vector<std::string> kNames = {
          "axis",   "batch_dims",   "hidden_size",         "direction",   "clip",
          "layout", "input_forget", "linear_before_reset", "activations", "activation_alpha"};
      static const std::vector<std::string> kWords = {
          "add", "max", "bidirectional", "forward", "Relu,Elu", "Tanh", ""};
      RoutineAttribute& attribute = step.attributes[choices.any(kNames)];
      if (choices.chance(170)) {
        int64_t number = 0;
        change(number, choices);
        attribute = number;
      } else if (choices.chance(128)) {
        attribute = choices.any(kWords);
      } else {
        attribute = std::vector<double>{0.5, -1e300};
      }
      return;
    }
    default:
      break;
  }
  RoutineTensor* tensor = any_of(choices.chance(128) ? step.inputs : step.outputs, choices);
  if (tensor == nullptr) return;
  switch (choices.below(3)) {
    case 0:
      change(tensor->buffer, static_cast<int64_t>(spec.buffers.size()), choices);
      break;
    case 1:
      change(tensor->dtype, choices);
      break;
    default:
      change(tensor->shape, choices);
      break;
  }
}

void change(ExecutableSpec& spec, Choices& choices) {
  switch (choices.below(8)) {
    case 0:
      change(choices.chance(128) ? spec.arena_bytes : spec.scratch_bytes, choices);
      return;
    case 1:
      if (auto* info = any_of(choices.chance(128) ? spec.inputs : spec.outputs, choices)) {
        if (choices.chance(64))
          change(info->dtype, choices);
        else
          change(info->shape, choices);
      }
      return;
    case 2:
    case 3:
      if (BufferPlace* place = any_of(spec.buffers, choices)) {
        switch (choices.below(4)) {
          case 0:
            change(place->offset_bytes, choices);
            break;
          case 1:
            change(place->size_bytes, choices);
            break;
          case 2:
            change(place->position, static_cast<int64_t>(spec.inputs.size()), choices);
            break;
          default:
            place->kind = static_cast<BufferPlace::Kind>(choices.pick(0, 4));
            break;
        }
      }
      return;
    case 4:
      if (spec.image.entries.empty()) return;
      change(spec.image.entries[choices.below(spec.image.entries.size())].offset_bytes, choices);
      return;
    default:
      if (auto* step = any_of(spec.steps, choices)) {
        std::visit([&](auto& s) { change(s, spec, choices); }, *step);
      }
      return;
  }
}

/// Where the header has the sections and the checksums, in bytes (runtime/file.cpp).
constexpr size_t kHeaderChecksum = 12, kSections = 16, kSectionBytes = 24, kHeaderBytes = 88;

uint32_t crc(const std::byte* bytes, size_t size) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes), size));
}

/// Some bytes of the steps, or the header; the checksums are right afterwards.
void change_bytes(std::vector<std::byte>& file, Choices& choices) {
  if (file.size() < kHeaderBytes) return;
  auto at = [&](size_t offset) {
    uint64_t number = 0;
    std::memcpy(&number, file.data() + offset, sizeof(number));
    return number;
  };
  const size_t steps = at(kSections), size = at(kSections + 8);
  for (size_t i = choices.below(4); i > 0; --i) {
    const size_t where = steps + choices.below(size);
    if (choices.chance(170)) {
      file[where] = static_cast<std::byte>(choices.below(256));
    } else {
      const int64_t number = choices.any(kNumbers);
      std::memcpy(file.data() + where, &number, std::min(sizeof(number), steps + size - where));
    }
  }
  if (choices.chance(24)) file.resize(file.size() - choices.below(200));
  if (choices.chance(48)) {
    const int64_t number = choices.any(kNumbers);
    std::memcpy(file.data() + kSections + choices.below(3) * kSectionBytes + choices.below(2) * 8,
                &number, sizeof(number));
  }
  for (size_t section = 0; section < 3; ++section) {
    const size_t entry = kSections + section * kSectionBytes;
    const uint64_t offset = at(entry), bytes = at(entry + 8);
    if (offset > file.size() || bytes > file.size() - offset) continue;
    const uint32_t sum = crc(file.data() + offset, bytes);
    std::memcpy(file.data() + entry + 16, &sum, sizeof(sum));
  }
  uint32_t sum = 0;
  std::memcpy(file.data() + kHeaderChecksum, &sum, sizeof(sum));
  sum = crc(file.data(), kHeaderBytes);
  std::memcpy(file.data() + kHeaderChecksum, &sum, sizeof(sum));
}

bool is_small(const ExecutableSpec& spec) {
  constexpr int64_t kMost = 1 << 16;
  int64_t largest = std::max(spec.arena_bytes, spec.scratch_bytes);
  for (const BufferPlace& place : spec.buffers) largest = std::max(largest, place.size_bytes);
  int64_t bytes = 0;
  for (const auto* tensors : {&spec.inputs, &spec.outputs}) {
    for (const runtime::TensorInfo& info : *tensors) {
      bytes = std::max(bytes, num_elems(info.shape) * size_bytes(info.dtype));
    }
  }
  return std::max(largest, bytes) <= kMost && spec.buffers.size() < 64;
}

Finding run(runtime::Executable& executable, Choices& choices) {
  std::vector<std::unique_ptr<std::byte[]>> arrays;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  for (const runtime::TensorInfo& info : executable.inputs()) {
    Tensor tensor(info.dtype, info.shape);
    for (int64_t i = 0; i < tensor.num_elems(); ++i) {
      const int64_t number = choices.pick(-3, 3);
      if (is_float(info.dtype))
        tensor.set_f64(i, double(number));
      else
        tensor.set_i64(i, info.dtype == DType::kBool ? number & 1 : number);
    }
    // Of its exact size, so that one byte too many is seen.
    arrays.push_back(std::make_unique<std::byte[]>(static_cast<size_t>(tensor.size_bytes())));
    if (tensor.size_bytes() > 0) {
      std::memcpy(arrays.back().get(), tensor.bytes(), static_cast<size_t>(tensor.size_bytes()));
    }
    inputs.push_back(arrays.back().get());
  }
  for (const runtime::TensorInfo& info : executable.outputs()) {
    const auto size = static_cast<size_t>(num_elems(info.shape) * size_bytes(info.dtype));
    arrays.push_back(std::make_unique<std::byte[]>(size));
    outputs.push_back(arrays.back().get());
  }
  const Status ran = executable.run(inputs, outputs);
  return ran || !ran.error().message.empty() ? "" : "the run fails without a reason";
}

}  // namespace

Finding file_target(Choices choices) {
  static const std::vector<ExecutableSpec> specs = make_specs();
  static const std::shared_ptr<runtime::Team> team = *runtime::Team::create(1);
  ExecutableSpec changed = choices.any(specs);
  for (size_t i = choices.below(4); i > 0; --i) change(changed, choices);
  std::vector<std::byte> file = runtime::to_bytes(changed);
  if (choices.chance(96)) change_bytes(file, choices);
  auto spec = runtime::from_bytes(file);
  if (!spec) return spec.error().message.empty() ? "refused without a reason" : "";
  if (!is_small(*spec)) return "";
  const bool has_kernels = std::any_of(
      spec->steps.begin(), spec->steps.end(),
      [](const auto& step) { return std::holds_alternative<runtime::KernelStep>(step); });
  runtime::LoadOptions options;
  options.guard_pages = choices.chance(64);
  auto executable = runtime::Executable::load(*spec, team, options);
  if (!executable) {
    return executable.error().message.empty() ? "not loaded without a reason" : "";
  }
  // What kernels do with other buffers is their own matter.
  return has_kernels ? "" : run(**executable, choices);
}

}  // namespace corf::fuzz
