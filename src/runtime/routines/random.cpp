#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "runtime/routines/operands.h"
#include "support/random_numbers.h"

namespace corf::runtime {
namespace {

/// Fewer numbers than this are not worth waking other workers for.
constexpr int64_t kMinShared = 1 << 12;

/// Different in each process and for each call.
uint64_t unpredictable_key() {
  uint64_t key = 0;
  if (::getrandom(&key, sizeof key, GRND_NONBLOCK) == sizeof key) return key;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  static std::atomic<uint64_t> calls{0};
  const uint64_t nanoseconds = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
  const RandomWords words = philox(
      {static_cast<uint32_t>(::getpid()), static_cast<uint32_t>(++calls), 0, 0}, nanoseconds);
  return uint64_t{words[0]} << 32 | words[1];
}

/// What is drawn in each run: the same with a seed, something else each time without one.
class Source {
 public:
  Source(std::optional<int64_t> seed, uint32_t stream)
      : has_seed_(seed.has_value()),
        stream_{seed ? static_cast<uint64_t>(*seed) : unpredictable_key(), stream, 0} {}

  /// By one worker, before any takes it.
  void begin_run() {
    if (has_seed_) return;
    // A forked process goes on with a copy of the count.
    process_key_ = static_cast<uint64_t>(::getpid()) << 32;
    ++stream_.run;
  }
  RandomStream stream() const { return {stream_.key ^ process_key_, stream_.stream, stream_.run}; }

 private:
  bool has_seed_;
  RandomStream stream_;
  uint64_t process_key_ = 0;
};

template <typename T>
void fill_share(const RandomDistribution& distribution, const RandomStream& stream, T* numbers,
                int64_t count, const RoutineWorker& worker) {
  const int64_t blocks = (count + kRandomBlock - 1) / kRandomBlock;
  const int64_t first = std::min(count, blocks * worker.number / worker.count * kRandomBlock);
  const int64_t end = std::min(count, blocks * (worker.number + 1) / worker.count * kRandomBlock);
  fill_random(distribution, stream, first,
              std::span(numbers + first, static_cast<size_t>(end - first)));
}

}  // namespace

/// No inputs. Output: f32 or f64. Attributes: distribution ("uniform", "normal"), factor, offset;
/// stream: which of those with the same seed; seed: the same numbers in each run, others in each if
/// it is absent.
Result<PreparedRoutine> prepare_random(RoutineCall call) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 0, 0, 1, 1));
  const RoutineOperand& output = call.outputs[0];
  if (output.dtype != DType::kF32 && output.dtype != DType::kF64) {
    return make_error(ErrorCode::kInvalidModel, "the output has element type {}, not f32 or f64",
                      to_string(output.dtype));
  }
  CORF_ASSIGN(const std::string name, attribute_or<std::string>(call, "distribution", "uniform"));
  if (name != "uniform" && name != "normal") {
    return make_error(ErrorCode::kInvalidModel, "distribution '{}' is not uniform or normal", name);
  }
  RandomDistribution distribution{name == "normal"};
  CORF_ASSIGN(distribution.factor, attribute_or<double>(call, "factor", 1));
  CORF_ASSIGN(distribution.offset, attribute_or<double>(call, "offset", 0));
  CORF_ASSIGN(const int64_t stream, attribute_or<int64_t>(call, "stream", 0));
  std::optional<int64_t> seed;
  if (call.attributes.contains("seed")) {
    CORF_ASSIGN(seed, attribute_or<int64_t>(call, "seed", 0));
  }
  auto source = std::make_shared<Source>(seed, static_cast<uint32_t>(stream));
  const auto fill = [distribution, dtype = output.dtype, count = num_elems(output.shape)](
                        const RandomStream& drawn, void* to, const RoutineWorker& worker) {
    if (dtype == DType::kF64) {
      fill_share(distribution, drawn, static_cast<double*>(to), count, worker);
    } else {
      fill_share(distribution, drawn, static_cast<float*>(to), count, worker);
    }
  };
  if (num_elems(output.shape) < kMinShared) {
    return PreparedRoutine(
        [=](PreparedRoutine::Inputs, PreparedRoutine::Outputs outputs) -> Status {
          source->begin_run();
          fill(source->stream(), outputs[0], {});
          return {};
        });
  }
  return PreparedRoutine([=](PreparedRoutine::Inputs, PreparedRoutine::Outputs outputs,
                             const RoutineWorker& worker) -> Status {
    if (worker.number == 0) source->begin_run();
    worker.barrier();
    fill(source->stream(), outputs[0], worker);
    return {};
  });
}

}  // namespace corf::runtime
