#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "runtime/image.h"
#include "runtime/team.h"
#include "tensor/tensor.h"

namespace corf::runtime {

/// Where a buffer of a program lives at run time.
struct BufferPlace {
  enum class Kind : uint8_t { kInput, kOutput, kConstant, kArena } kind = Kind::kArena;
  int64_t offset_bytes = 0;  // kArena, kConstant: within the arena or the constants' block
  int position = -1;         // kInput, kOutput
  int64_t size_bytes = 0;
};

struct KernelStep {
  int entry = 0;  // of the image
  std::vector<int> buffers;
  std::vector<int64_t> params;
  int64_t partitions = 1;
  std::string label;
  int64_t work_flops = 0, executed_flops = 0, compulsory_bytes = 0;
};
struct RoutineTensor {
  int buffer = 0;
  DType dtype = DType::kF32;
  Shape shape;
};
using RoutineAttribute =
    std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;
struct RoutineStep {
  std::string routine;
  std::map<std::string, RoutineAttribute> attributes;
  std::vector<RoutineTensor> inputs, outputs;
  std::string label;
};

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

/// All that running a compiled model needs, as plain data: what a .corf file holds.
struct ExecutableSpec {
  Image image;
  std::vector<BufferPlace> buffers;
  std::vector<std::variant<KernelStep, RoutineStep>> steps;
  Tensor constants;  // u8, one 64-byte aligned block
  int64_t arena_bytes = 0;
  int64_t scratch_bytes = 0;  // of each worker
  std::vector<TensorInfo> inputs, outputs;
  std::string plan_hash;
};

struct StepProfile {
  std::string label;
  double time_ns = 0;  // of the last run, slowest worker, barrier included
};

/// A loaded model. Concurrent calls of run are safe: each has its own arena; they take turns on the
/// team.
class Executable {
 public:
  static Result<std::shared_ptr<Executable>> load(ExecutableSpec spec, std::shared_ptr<Team> team);

  const std::vector<TensorInfo>& inputs() const;
  const std::vector<TensorInfo>& outputs() const;
  const ExecutableSpec& spec() const;

  /// Inputs and outputs are dense row-major arrays of the declared types and shapes, in order.
  /// Inside nothing is allocated once an arena of an earlier run is free for use.
  Status run(std::span<const void* const> inputs, std::span<void* const> outputs,
             std::vector<StepProfile>* profile = nullptr);

  ~Executable();

 private:
  Executable();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corf::runtime
