#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "runtime/image.h"
#include "runtime/routines/routine.h"
#include "runtime/team.h"
#include "tensor/tensor.h"

namespace corf::runtime {

/// Where a buffer of a program lives at run time.
struct BufferPlace {
  enum class Kind : uint8_t { kInput, kOutput, kConstant, kArena } kind = Kind::kArena;
  // kArena, kConstant: within the arena or the constants' block, a multiple of 64
  int64_t offset_bytes = 0;
  int position = -1;  // kInput, kOutput
  int64_t size_bytes = 0;
  int block = 0;  // kConstant: 0: of the constants, n: of the n-th of the shared constants
  /// kConstant: what the elements were made of, and how, so that a program with the same need not
  /// make them again; empty: not told.
  std::string origin = {};
  DType dtype = DType::kU8;  // of the elements, where there is an origin
};

constexpr int64_t kBufferAlignment = 64;

/// Partitions are independent; each worker takes a contiguous part of them, so that it finds in its
/// own caches what it wrote in the step before.
struct KernelStep {
  int entry = 0;  // of the image
  std::vector<int> buffers;
  std::vector<int64_t> params;
  int64_t partitions = 1;
  std::string label;
  int64_t work_flops = 0, executed_flops = 0, compulsory_bytes = 0;
  int64_t params_step = 0;  // from the parameters of one partition to those of the next
};
struct RoutineTensor {
  int buffer = 0;
  DType dtype = DType::kF32;
  Shape shape;
};
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
  /// Blocks that other executables of the process have too, in memory only.
  std::vector<Tensor> shared_constants;
  /// The block is on pages of its own that nobody writes: it is used where it is.
  bool constants_in_place = false;
  /// Other executables find its own constants already, see share_constants.
  bool are_constants_held_out = false;
  int64_t arena_bytes = 0;
  int64_t scratch_bytes = 0;  // of each worker
  std::vector<TensorInfo> inputs, outputs;
  std::string plan_hash;
  std::map<std::string, std::string> metadata;  // the model's own notes
};

struct StepProfile {
  std::string label;
  double start_ns = 0;          // since the start of the run
  double time_ns = 0;           // slowest worker, barrier included
  std::vector<double> busy_ns;  // of each worker, without the wait at the barrier
};

struct LoadOptions {
  /// For tests: every buffer ends at an inaccessible page (reads and writes behind it fault), and
  /// arena, outputs and scratch hold NaNs when a run starts. Also switched on by the environment
  /// variable CORF_GUARD_PAGES=1. Costs a copy of the inputs and outputs.
  bool guard_pages = false;
};

/// Whether the numbers, offsets and sizes of `spec` fit together, so that loading and running it
/// stays inside of its memory (what the image's code does is not looked at).
/// Errors: kInvalidModel naming step and buffer.
Status verify_spec(const ExecutableSpec& spec);

/// A loaded model. Concurrent calls of run are safe: each has an arena and scratch memory of its
/// own, and the workers that the team gives it. Code and constants are there once.
class Executable {
 public:
  /// Errors: those of verify_spec, load_image and prepare_routine; kOutOfMemory.
  static Result<std::shared_ptr<Executable>> load(ExecutableSpec spec, std::shared_ptr<Team> team,
                                                  const LoadOptions& options = {});

  const std::vector<TensorInfo>& inputs() const;
  const std::vector<TensorInfo>& outputs() const;
  const ExecutableSpec& spec() const;

  /// Inputs and outputs are dense row-major arrays of the declared types and shapes, in order;
  /// outputs overlap neither inputs nor each other. Inside nothing is allocated once an arena of an
  /// earlier run is free for use (routines apart).
  /// Errors: kInvalidArgument for a wrong number of arrays, a null or misaligned one, or values
  /// that a routine rejects; kOutOfMemory.
  Status run(std::span<const void* const> inputs, std::span<void* const> outputs,
             std::vector<StepProfile>* profile = nullptr);

  ~Executable();

 private:
  Executable();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corf::runtime
