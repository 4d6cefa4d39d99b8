#include "runtime/executable.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>

#include "runtime/math_routines.h"
#include "runtime/pages.h"
#include "support/assert.h"
#include "support/at_fork.h"
#include "support/checked.h"

namespace corf::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kMostBytes = int64_t{1} << 50;  // more than there is, and 1,024 times it fits

constexpr int kNanByte = 0xff;  // four or eight of them are a NaN

bool guard_pages_by_environment() {
  const char* value = std::getenv("CORF_GUARD_PAGES");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

/// One step, resolved: where its buffers start in the list of pointers of a run.
struct ResolvedStep {
  const KernelStep* kernel = nullptr;  // null: a routine
  KernelFunction function = nullptr;
  const std::string* label = nullptr;
  const RoutineStep* routine = nullptr;
  int routine_number = -1;      // of the routines
  bool on_one_worker = false;   // on worker 0
  bool barrier_behind = false;  // unless both sides run on worker 0; behind the last step none
  size_t first_pointer = 0, num_inputs = 0, num_pointers = 0;
};

/// Memory of one run and the addresses of every step's buffers in it. Those of the caller's arrays
/// are filled in when the run starts, those in the arena where that has moved since the last one.
struct RunMemory {
  Pages pages;  // the team's while it runs: the arena, then the scratch memory of each worker
  std::byte* arena = nullptr;
  std::vector<std::byte*> scratch;        // of each worker
  std::vector<Pages> guarded;             // with guard pages: one for each buffer, and
  std::vector<Pages> guarded_scratch;     // one for each worker
  std::vector<PreparedRoutine> routines;  // they have memory of their own
  std::vector<void*> pointers;
};

/// A pointer that belongs to the caller's arrays.
struct CallerPointer {
  size_t pointer = 0;
  bool output = false;
  int position = 0, buffer = 0;
};

Status check_arrays(const std::vector<TensorInfo>& infos, std::span<const void* const> arrays,
                    std::string_view kind) {
  if (arrays.size() != infos.size()) {
    return make_error(ErrorCode::kInvalidArgument, "the model has {} {}s but {} were given",
                      infos.size(), kind, arrays.size());
  }
  for (size_t i = 0; i < arrays.size(); ++i) {
    const bool aligned =
        reinterpret_cast<uintptr_t>(arrays[i]) % static_cast<size_t>(size_bytes(infos[i].dtype)) ==
        0;
    if (aligned && (arrays[i] != nullptr || num_elems(infos[i].shape) == 0)) continue;
    return make_error(ErrorCode::kInvalidArgument,
                      "{} '{}' ({} {}) was given as a {} pointer; hand in an array of its own",
                      kind, infos[i].name, to_string(infos[i].dtype), to_string(infos[i].shape),
                      aligned ? "null" : "misaligned");
  }
  return {};
}

}  // namespace

struct Executable::State {
  ExecutableSpec spec;
  std::shared_ptr<Team> team;
  std::shared_ptr<LoadedImage> image;
  std::vector<Pages> guarded_constants;  // with guard pages: by buffer
  std::vector<ResolvedStep> steps;
  std::vector<int> buffer_of_pointer;
  std::vector<CallerPointer> caller_pointers;
  int num_routines = 0;
  bool guard_pages = false;
  bool needs_team = false;  // some step is shared out among workers

  BriefMutex pool_mutex;
  std::vector<std::unique_ptr<RunMemory>> pool;

  Status load_constants();
  void resolve_steps();
  std::byte* constant(int buffer);
  std::byte* unguarded_constant(const BufferPlace& place);
  Result<std::unique_ptr<RunMemory>> make_memory();
  Status prepare_routines(RunMemory& memory) const;
  Status guard_scratch(RunMemory& memory, int workers) const;
  Status find_room(RunMemory& memory, int workers) const;
  Result<std::unique_ptr<RunMemory>> take_memory(int workers);
  void give_back(std::unique_ptr<RunMemory> memory);
  Status run(Crew& crew, std::span<const void* const> inputs, std::span<void* const> outputs,
             std::vector<StepProfile>* profile);
  void bind(RunMemory& memory, std::span<const void* const> inputs,
            std::span<void* const> outputs) const;
  void enter_guarded(RunMemory& memory, std::span<const void* const> inputs) const;
  void leave_guarded(const RunMemory& memory, std::span<void* const> outputs) const;
};

namespace {

/// What the workers of one run share.
struct Run {
  const std::vector<ResolvedStep>& steps;
  RunMemory& memory;
  size_t scratch_nan_bytes = 0;  // filled with NaNs before each partition
  std::vector<StepProfile>* profile = nullptr;
  Status status;  // written by worker 0
  // Worker 0 may be one step ahead of who looks: hence the step, not only that one has failed.
  std::atomic<size_t> failed_step{SIZE_MAX};

  void work(const Worker& worker);
  void run_step(const ResolvedStep& step, const Worker& worker);
  void run_routine(const ResolvedStep& step, const Worker& worker, void* const* pointers);
};

void Run::run_routine(const ResolvedStep& step, const Worker& worker, void* const* pointers) {
  Status result;
  try {
    result = memory.routines[step.routine_number](
        {pointers, step.num_inputs},
        {pointers + step.num_inputs, step.num_pointers - step.num_inputs}, worker);
  } catch (const std::bad_alloc&) {
    result = Error{ErrorCode::kOutOfMemory, "there is not enough memory for the routine"};
  }
  if (result.ok() || worker.number != 0) return;
  status =
      Error{result.error().code, fmt::format("node '{}': {}", *step.label, result.error().message)};
  failed_step.store(&step - steps.data(), std::memory_order_relaxed);
}

// Before generated code no word says what its type is, for which the sanitizer looks.
#if defined(__clang__)
__attribute__((no_sanitize("function")))
#endif
void Run::run_step(const ResolvedStep& step, const Worker& worker) {
  void* const* pointers = memory.pointers.data() + step.first_pointer;
  if (step.kernel == nullptr) {
    run_routine(step, worker, pointers);
    return;
  }
  const int64_t partitions = step.kernel->partitions, workers = worker.count;
  // A single one is worker 0's.
  const int64_t end = ceil_div(partitions * (worker.number + 1), workers);
  std::byte* own_scratch = memory.scratch[worker.number];
  for (int64_t p = ceil_div(partitions * worker.number, workers); p < end; ++p) {
    if (scratch_nan_bytes > 0) std::memset(own_scratch, kNanByte, scratch_nan_bytes);
    step.function(&kernel_context(), pointers,
                  step.kernel->params.data() + p * step.kernel->params_step, p, own_scratch);
  }
}

void Run::work(const Worker& worker) {
  const Clock::time_point start = Clock::now();
  for (size_t i = 0; i < steps.size(); ++i) {
    const double before_ns = profile != nullptr ? ns_since(start) : 0;
    run_step(steps[i], worker);
    if (profile != nullptr) (*profile)[i].busy_ns[worker.number] = ns_since(start) - before_ns;
    if (steps[i].barrier_behind || profile != nullptr) worker.barrier();
    if (profile != nullptr && worker.number == 0) {
      (*profile)[i].start_ns = before_ns;
      (*profile)[i].time_ns = ns_since(start) - before_ns;
    }
    if (failed_step.load(std::memory_order_relaxed) == i) return;
  }
}

}  // namespace

// ---- loading ----------------------------------------------------------------------------------

Status Executable::State::load_constants() {
  const int64_t size = spec.constants.size_bytes();
  if (guard_pages) {
    for (const BufferPlace& place : spec.buffers) {
      Pages pages;
      if (place.kind == BufferPlace::Kind::kConstant) {
        CORF_ASSIGN(pages, map_guarded_pages(place.size_bytes));
        if (place.size_bytes > 0) {  // an empty one may lie nowhere
          std::memcpy(pages.data(), unguarded_constant(place),
                      static_cast<size_t>(place.size_bytes));
        }
        pages.forbid_writes();
      }
      guarded_constants.push_back(std::move(pages));
    }
    return {};
  }
  if (size == 0 || spec.constants_in_place) return {};
  CORF_ASSIGN(Pages pages, map_pages(size));
  std::memcpy(pages.data(), spec.constants.bytes(), static_cast<size_t>(size));
  pages.forbid_writes();
  auto owner = std::make_shared<Pages>(std::move(pages));
  std::byte* data = owner->data();
  spec.constants = Tensor(DType::kU8, {size}, std::move(owner), data);
  return {};
}

void Executable::State::resolve_steps() {
  for (const auto& step : spec.steps) {
    ResolvedStep resolved;
    resolved.first_pointer = buffer_of_pointer.size();
    if (const auto* kernel = std::get_if<KernelStep>(&step)) {
      resolved.kernel = kernel;
      resolved.label = &kernel->label;
      resolved.function = image->kernels()[kernel->entry];
      buffer_of_pointer.insert(buffer_of_pointer.end(), kernel->buffers.begin(),
                               kernel->buffers.end());
    } else {
      const auto& routine = std::get<RoutineStep>(step);
      resolved.label = &routine.label;
      resolved.routine = &routine;
      resolved.routine_number = num_routines++;
      for (const RoutineTensor& tensor : routine.inputs) buffer_of_pointer.push_back(tensor.buffer);
      for (const RoutineTensor& tensor : routine.outputs) {
        buffer_of_pointer.push_back(tensor.buffer);
      }
      resolved.num_inputs = routine.inputs.size();
    }
    resolved.num_pointers = buffer_of_pointer.size() - resolved.first_pointer;
    resolved.on_one_worker = resolved.kernel != nullptr && resolved.kernel->partitions <= 1;
    needs_team = needs_team || !resolved.on_one_worker;
    steps.push_back(std::move(resolved));
  }
  for (size_t i = 0; i + 1 < steps.size(); ++i) {
    steps[i].barrier_behind = !steps[i].on_one_worker || !steps[i + 1].on_one_worker;
  }
  for (size_t i = 0; i < buffer_of_pointer.size(); ++i) {
    const int buffer = buffer_of_pointer[i];
    const BufferPlace& place = spec.buffers[buffer];
    const bool output = place.kind == BufferPlace::Kind::kOutput;
    if (output || place.kind == BufferPlace::Kind::kInput) {
      caller_pointers.push_back({i, output, place.position, buffer});
    }
  }
}

Executable::Executable() : state_(std::make_unique<State>()) {}
Executable::~Executable() = default;

Result<std::shared_ptr<Executable>> Executable::load(ExecutableSpec spec,
                                                     std::shared_ptr<Team> team,
                                                     const LoadOptions& options) {
  CORF_ASSERT(team != nullptr, "an executable needs a team");
  CORF_RETURN_IF_ERROR(verify_spec(spec));
  std::shared_ptr<Executable> executable(new Executable());
  State& state = *executable->state_;
  state.spec = std::move(spec);
  state.team = std::move(team);
  state.guard_pages = options.guard_pages || guard_pages_by_environment();
  if (!state.spec.image.entries.empty()) {
    CORF_ASSIGN(state.image, load_image(state.spec.image));
  }
  CORF_RETURN_IF_ERROR(state.load_constants());
  state.resolve_steps();
  // The first memory now, so that what there is not enough of is known before the first run.
  CORF_ASSIGN(std::unique_ptr<RunMemory> memory, state.take_memory(state.team->size()));
  state.give_back(std::move(memory));
  return executable;
}

// ---- memory of a run --------------------------------------------------------------------------

std::byte* Executable::State::unguarded_constant(const BufferPlace& place) {
  Tensor& block = place.block == 0 ? spec.constants : spec.shared_constants[place.block - 1];
  return block.bytes() + place.offset_bytes;
}

std::byte* Executable::State::constant(int buffer) {
  return guard_pages ? guarded_constants[buffer].data() : unguarded_constant(spec.buffers[buffer]);
}

Result<std::unique_ptr<RunMemory>> Executable::State::make_memory() {
  auto memory = std::make_unique<RunMemory>();
  if (guard_pages) {
    for (const BufferPlace& place : spec.buffers) {
      Pages pages;
      if (place.kind != BufferPlace::Kind::kConstant) {
        CORF_ASSIGN(pages, map_guarded_pages(place.size_bytes));
      }
      memory->guarded.push_back(std::move(pages));
    }
  }
  for (const int buffer : buffer_of_pointer) {
    const BufferPlace& place = spec.buffers[buffer];
    std::byte* address = nullptr;
    if (place.kind == BufferPlace::Kind::kConstant) {
      address = constant(buffer);
    } else if (guard_pages) {
      address = memory->guarded[buffer].data();
    }
    memory->pointers.push_back(address);
  }
  CORF_RETURN_IF_ERROR(prepare_routines(*memory));
  return memory;
}

Status Executable::State::prepare_routines(RunMemory& memory) const {
  for (const ResolvedStep& step : steps) {
    if (step.routine == nullptr) continue;
    RoutineCall call{step.routine->attributes, {}, {}};
    for (const RoutineTensor& tensor : step.routine->inputs) {
      call.inputs.push_back({tensor.dtype, tensor.shape});
    }
    for (const RoutineTensor& tensor : step.routine->outputs) {
      call.outputs.push_back({tensor.dtype, tensor.shape});
    }
    auto prepared = prepare_routine(step.routine->routine, std::move(call));
    if (!prepared.ok()) {
      return Error{prepared.error().code,
                   fmt::format("node '{}': {}", *step.label, prepared.error().message)};
    }
    memory.routines.push_back(prepared.take());
  }
  return {};
}

Status Executable::State::guard_scratch(RunMemory& memory, int workers) const {
  const int64_t size_bytes = round_up(std::min(spec.scratch_bytes, kMostBytes), kBufferAlignment);
  while (static_cast<int>(memory.guarded_scratch.size()) < workers) {
    CORF_ASSIGN(Pages pages, map_guarded_pages(size_bytes));
    memory.scratch.push_back(pages.data());
    memory.guarded_scratch.push_back(std::move(pages));
  }
  return {};
}

/// The arena and the workers' scratch memory, each at the beginning of a page.
Status Executable::State::find_room(RunMemory& memory, int workers) const {
  const int64_t arena_bytes = round_up(std::min(spec.arena_bytes, kMostBytes), kPageBytes);
  const int64_t scratch_bytes = round_up(std::min(spec.scratch_bytes, kMostBytes), kPageBytes);
  CORF_ASSIGN(memory.pages, team->memory().take(arena_bytes + workers * scratch_bytes));
  std::byte* const base = memory.pages.data();
  memory.scratch.clear();
  for (int worker = 0; worker < workers; ++worker) {
    memory.scratch.push_back(base + arena_bytes + worker * scratch_bytes);
  }
  if (base == memory.arena) return {};
  memory.arena = base;
  for (size_t i = 0; i < buffer_of_pointer.size(); ++i) {
    const BufferPlace& place = spec.buffers[buffer_of_pointer[i]];
    if (place.kind != BufferPlace::Kind::kArena) continue;
    memory.pointers[i] = base + place.offset_bytes;
  }
  return {};
}

Result<std::unique_ptr<RunMemory>> Executable::State::take_memory(int workers) {
  std::unique_ptr<RunMemory> memory;
  {
    const std::lock_guard lock(pool_mutex);
    if (!pool.empty()) {
      memory = std::move(pool.back());
      pool.pop_back();
    }
  }
  if (memory == nullptr) {
    CORF_ASSIGN(memory, make_memory());
  }
  CORF_RETURN_IF_ERROR(guard_pages ? guard_scratch(*memory, workers) : find_room(*memory, workers));
  return memory;
}

void Executable::State::give_back(std::unique_ptr<RunMemory> memory) {
  if (!guard_pages) team->memory().give_back(std::move(memory->pages));
  const std::lock_guard lock(pool_mutex);
  pool.push_back(std::move(memory));
}

void Executable::State::bind(RunMemory& memory, std::span<const void* const> inputs,
                             std::span<void* const> outputs) const {
  for (const CallerPointer& caller : caller_pointers) {
    // Kernels do not write their inputs; they take all buffers as void*.
    memory.pointers[caller.pointer] =
        caller.output ? outputs[caller.position] : const_cast<void*>(inputs[caller.position]);
  }
}

void Executable::State::enter_guarded(RunMemory& memory,
                                      std::span<const void* const> inputs) const {
  for (size_t i = 0; i < spec.buffers.size(); ++i) {
    const BufferPlace& place = spec.buffers[i];
    const auto size = static_cast<size_t>(place.size_bytes);
    if (place.kind == BufferPlace::Kind::kInput && size > 0) {
      std::memcpy(memory.guarded[i].data(), inputs[place.position], size);
    } else if (place.kind != BufferPlace::Kind::kConstant) {
      std::memset(memory.guarded[i].data(), kNanByte, size);
    }
  }
}

void Executable::State::leave_guarded(const RunMemory& memory,
                                      std::span<void* const> outputs) const {
  for (size_t i = 0; i < spec.buffers.size(); ++i) {
    const BufferPlace& place = spec.buffers[i];
    if (place.kind != BufferPlace::Kind::kOutput || place.size_bytes == 0) continue;
    std::memcpy(outputs[place.position], memory.guarded[i].data(),
                static_cast<size_t>(place.size_bytes));
  }
}

// ---- running ----------------------------------------------------------------------------------

const std::vector<TensorInfo>& Executable::inputs() const { return state_->spec.inputs; }
const std::vector<TensorInfo>& Executable::outputs() const { return state_->spec.outputs; }
const ExecutableSpec& Executable::spec() const { return state_->spec; }

Status Executable::run(std::span<const void* const> inputs, std::span<void* const> outputs,
                       std::vector<StepProfile>* profile) {
  State& state = *state_;
  CORF_RETURN_IF_ERROR(check_arrays(state.spec.inputs, inputs, "input"));
  CORF_RETURN_IF_ERROR(
      check_arrays(state.spec.outputs, {outputs.data(), outputs.size()}, "output"));
  Status status;
  struct Call {
    State& state;
    std::span<const void* const> inputs;
    std::span<void* const> outputs;
    std::vector<StepProfile>* profile;
    Status& status;
  } call{state, inputs, outputs, profile, status};
  // One captured pointer, so that the function object needs no memory.
  state.team->take_turn(!state.needs_team && profile == nullptr, [shared = &call](Crew& crew) {
    const Call& it = *shared;
    it.status = it.state.run(crew, it.inputs, it.outputs, it.profile);
  });
  return status;
}

/// The run's memory comes after its workers, and goes before them: whoever waits has none.
Status Executable::State::run(Crew& crew, std::span<const void* const> inputs,
                              std::span<void* const> outputs, std::vector<StepProfile>* profile) {
  CORF_ASSIGN(std::unique_ptr<RunMemory> memory, take_memory(crew.size()));
  if (guard_pages) {
    enter_guarded(*memory, inputs);
  } else {
    bind(*memory, inputs, outputs);
  }
  if (profile != nullptr) {
    profile->clear();
    for (const ResolvedStep& step : steps) {
      profile->push_back({*step.label, 0, 0, std::vector<double>(crew.size())});
    }
  }
  const int64_t nan_bytes = guard_pages ? spec.scratch_bytes : 0;
  Run run{steps, *memory, static_cast<size_t>(nan_bytes), profile};
  crew.run([shared = &run](const Worker& worker) { shared->work(worker); });
  if (guard_pages) leave_guarded(*memory, outputs);
  give_back(std::move(memory));
  return run.status;
}

}  // namespace corf::runtime
