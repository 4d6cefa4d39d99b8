#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "driver/known_shapes.h"
#include "onnx/import.h"
#include "runtime/executable.h"
#include "support/budget.h"
#include "support/result.h"
#include "target/machine.h"

namespace corf::driver {

enum class PlanMode : uint8_t {
  kAuto,
  kUnfused,  // every complex operator in a kernel of its own
  kFused,    // as few kernels as there can be, whatever time they take
};

struct CompileOptions {
  std::optional<Isa> isa;  // default: the best of this machine
  int threads = 0;         // 0: the CPUs that the process may use
  onnx::ShapeBindings shapes;
  onnx::ValueBindings values;  // of inputs that are compiled in
  PlanMode plan = PlanMode::kAuto;
  /// A plan to carry out instead of a search's, as `inspect --stage plan` prints it.
  std::optional<std::string> plan_text;
  bool winograd = true;  // for the convolutions where it is estimated to be faster
  bool bf16 = false;     // the factors of dense products are rounded to bfloat16
  /// Of the random numbers of nodes that have no seed, which are others in each run without.
  std::optional<int64_t> random_seed;
  /// Plans that `tune` found, by graph and machine; nothing is read or written if empty.
  std::string plan_cache_dir;
  /// What compiling this model for other shapes has left, and leaves; null: all is made anew.
  std::shared_ptr<KnownShapes> known_shapes;
  Limits limits;  // of one compilation; what is unset follows from the model's size
  std::shared_ptr<const Cancellation> cancellation;
  bool verify_each = false;
  bool time_passes = false;
  std::string dump_dir;
};

/// Text of the stages, filled on request.
enum class Stage : uint8_t { kGraph, kMapping, kPlan, kCosts, kLoop, kLlvm, kAsm };
std::optional<Stage> parse_stage(std::string_view text);

struct Compiled {
  runtime::ExecutableSpec spec;
  double compile_ms = 0;
};

/// onnx::import of the options' shapes and values, with their seed.
Result<graph::Graph> import_model(const onnx::Model& model, const CompileOptions& options);

/// The whole pipeline, stage after stage.
Result<Compiled> compile(const onnx::Model& model, const CompileOptions& options);

/// Of onnx::find_deciding_inputs, within the options' budget: none where that is exceeded.
std::vector<std::string> find_deciding_inputs(const onnx::Model& model,
                                              const CompileOptions& options);

/// What generates code, with its version.
const char* backend_version();

/// How far a tuning is.
struct TuneProgress {
  double share = 0;      // of the time limit
  std::string group;     // names of the nodes of what is timed now
  int num_measured = 0;  // kernels
  int num_known = 0;     // kernels that an earlier tuning has measured
};
struct TuneOptions {
  double time_limit_s = 60;
  /// Leaves what earlier tunings have measured aside, and replaces it.
  bool measure_anew = false;
  /// Called before each group that is timed.
  std::function<void(const TuneProgress&)> progress;
};
struct Tuned {
  std::string plan_text;
  int num_measured = 0;      // kernels
  int num_known = 0;         // kernels that an earlier tuning has measured
  bool out_of_time = false;  // the rest was decided by prediction
};
/// Searches for the plan with measured times and keeps it in the plan cache, where PlanMode::kAuto
/// finds it from then on. Each time is kept as soon as it is measured (driver/known_times.h), so
/// that a tuning that was ended goes on where it was. Cancelled, it measures no further kernel, but
/// compares the plan that the times so far lead to with the predicted one as wholes and keeps the
/// faster, before it says so. Errors: those of the pipeline; kIo if the cache cannot be written;
/// kCancelled.
Result<Tuned> tune(const onnx::Model& model, const CompileOptions& options,
                   const TuneOptions& tuning);

/// The pipeline up to `stage`, as text.
Result<std::string> inspect(const onnx::Model& model, Stage stage, const CompileOptions& options);

/// Error of one output, or of one group's output, against the float64 reference.
struct ComparedValue {
  std::string name;                // the value's name
  std::vector<std::string> nodes;  // of the group that computes it
  double relative_l2 = 0;
  double max_abs = 0;
  bool within_bounds = true;
};
struct Comparison {
  std::vector<ComparedValue> outputs;
  std::optional<ComparedValue> first_wrong_group;
  /// Of a quantised model whose outputs are off: bytes on its way that are one step off, the
  /// numbers before them lying on ties, if nothing else is off in any operator by itself.
  std::optional<int64_t> ties;
};
/// Runs the compiled model and the reference on the same inputs.
Result<Comparison> compare(const onnx::Model& model, const std::vector<Tensor>& inputs,
                           const CompileOptions& options);

}  // namespace corf::driver
