#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/executable.h"
#include "runtime/team.h"
#include "session/declared_tensor.h"
#include "session/options.h"
#include "session/recently_used.h"
#include "session/shapes.h"
#include "session/value.h"
#include "support/at_fork.h"

namespace corf::session {

/// The model compiled for one set of shapes, and of values that decide shapes.
struct CompiledModel {
  std::shared_ptr<runtime::Executable> executable;
  DeclaredTensors inputs, outputs;
  ValueBindings values;  // of the model's inputs that are compiled in, and not among `inputs`
  double compile_ms = 0;
  int threads = 1;
};

/// What a compiler returns: not loaded yet.
struct CompiledSpec {
  runtime::ExecutableSpec spec;
  double compile_ms = 0;
};

/// Makes the executables of a session's model. It is handed in, so that sessions of compiled files
/// need nothing but the runtime.
class Compiler {
 public:
  virtual ~Compiler() = default;
  /// `shapes`: of every input, all extents numbers. Inputs with a value are constants of what is
  /// compiled, and none of its inputs.
  virtual Result<CompiledSpec> compile(const ShapeBindings& shapes, const ValueBindings& values,
                                       int threads) const = 0;
  /// After an error of `compile`: further inputs whose values it may be for want of.
  virtual std::vector<std::string> deciding_inputs(const ShapeBindings& shapes,
                                                   const ValueBindings& values) const = 0;
};

/// What a model says of itself.
struct Description {
  DeclaredTensors inputs, outputs;
  std::vector<corf_kind> input_kinds, output_kinds;  // empty: all are tensors
  std::map<std::string, std::string> metadata;
  int64_t opset = 0;                                       // 0: not known
  std::vector<std::pair<std::string, int64_t>> operators;  // how often each occurs
};

/// A model with its options, its workers and the executables compiled for the shapes used last, and
/// for the values of those inputs that decide shapes.
class Session {
 public:
  /// `team`: null for one of its own.
  static Result<std::shared_ptr<Session>> create(std::shared_ptr<const Compiler> compiler,
                                                 Description description, const Options& options,
                                                 std::shared_ptr<runtime::Team> team = nullptr);
  /// Of a model that was compiled ahead of time, for the shapes that it was compiled for.
  static Result<std::shared_ptr<Session>> create(runtime::ExecutableSpec spec,
                                                 const Options& options);

  /// Null for a session of a compiled file.
  const Compiler* compiler() const { return compiler_.get(); }
  const Description& description() const { return description_; }
  const DeclaredTensors& inputs() const { return description_.inputs; }
  const DeclaredTensors& outputs() const { return description_.outputs; }
  int threads() const { return team_->size(); }
  const std::shared_ptr<runtime::Team>& team() const { return team_; }

  /// What runs the model where it cannot be compiled as a whole.
  void set_piece_runner(std::shared_ptr<PieceRunner> runner) { piece_runner_ = std::move(runner); }
  const std::shared_ptr<PieceRunner>& piece_runner() const { return piece_runner_; }
  /// Errors: kInvalidArgument naming what is not as the model declares it.
  Status check_values(const std::vector<Value>& inputs) const;
  /// Whether it was that in the last run on values.
  bool runs_in_pieces() const { return runs_in_pieces_; }
  /// One value for each input and output, in order, whatever the model needs for it.
  /// Errors: as of compile; kInvalidArgument naming the input that does not fit.
  Result<std::vector<Value>> run(const std::vector<Value>& inputs);

  /// From the cache, or compiled. Threads that ask for shapes that are being compiled wait.
  Result<std::shared_ptr<CompiledModel>> compile(const ShapeBindings& bindings);
  /// As the other for the shapes of these arrays, one for each input, in order. Where values decide
  /// shapes they are compiled in, and what is compiled is kept for them.
  /// Errors: kInvalidArgument too where a node does not admit the values.
  Result<std::shared_ptr<CompiledModel>> compile(const std::vector<const corf_tensor*>& inputs);
  /// The values of `inputs` that are compiled in for these shapes, without compiling.
  ValueBindings decide(const ShapeBindings& shapes, const std::vector<const corf_tensor*>& inputs);
  /// Of one array for each of the model's inputs, in order: those that are not compiled in.
  std::vector<const corf_tensor*> taken_by(const ValueBindings& compiled_in,
                                           const std::vector<const corf_tensor*>& inputs) const;
  /// What is compiled from now on is compiled anew.
  void forget_compiled();
  /// Loads what was compiled elsewhere for the session's workers; the cache does not see it.
  Result<std::shared_ptr<CompiledModel>> load(CompiledSpec compiled) const;

  /// Shapes of `inputs`, in the order of the model's inputs, after a check of their types.
  Result<ShapeBindings> shapes_of(const std::vector<const corf_tensor*>& inputs) const;

 private:
  Session(Description description, const Options& options, std::shared_ptr<runtime::Team> team);

  Result<std::shared_ptr<CompiledModel>> compile(const ShapeBindings& shapes,
                                                 const ValueBindings& values);
  /// Those of `inputs` that decide shapes, as far as is known.
  ValueBindings deciding_values(const std::vector<const corf_tensor*>& inputs);
  /// Whether there are any that were not known to.
  bool learn_deciding_inputs(const ShapeBindings& shapes, const ValueBindings& values);

  std::shared_ptr<const Compiler> compiler_;
  std::shared_ptr<CompiledModel> precompiled_;  // of a compiled file
  Description description_;
  std::shared_ptr<runtime::Team> team_;
  LongMutex compile_mutex_;  // held while compiling; taken before cache_mutex_
  BriefMutex cache_mutex_;
  RecentlyUsed<CompiledModel> cache_;
  std::set<std::string> deciding_inputs_;  // under cache_mutex_
  std::shared_ptr<PieceRunner> piece_runner_;
  std::atomic<bool> runs_in_pieces_ = false;
};

/// The outputs of a run on one array for each of the session's inputs, for which `compiled` is.
Result<std::vector<Tensor>> run(CompiledModel& compiled, const Session& session,
                                const std::vector<const corf_tensor*>& inputs);

/// Runs on one array for each input and output of `compiled`, in order.
/// Errors: kInvalidArgument naming the input or output that does not fit.
Status run(CompiledModel& compiled, const std::vector<const corf_tensor*>& inputs,
           const std::vector<const corf_tensor*>& outputs,
           std::vector<runtime::StepProfile>* profile = nullptr);

/// Runs on the caller's arrays, matched to the model's inputs and outputs by name or position.
/// Errors: kInvalidArgument naming the input or output that does not fit.
Status run(CompiledModel& compiled, const corf_tensor* inputs, size_t num_inputs,
           const corf_tensor* outputs, size_t num_outputs,
           std::vector<runtime::StepProfile>* profile = nullptr);

/// The options, or those of the environment where the caller gives none.
Options to_options(const corf_options* options);

}  // namespace corf::session

struct corf_session {
  std::shared_ptr<corf::session::Session> session;
};
struct corf_executable {
  std::shared_ptr<corf::session::CompiledModel> compiled;
};
