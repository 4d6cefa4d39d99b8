#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/executable.h"
#include "runtime/team.h"
#include "session/declared_tensor.h"
#include "session/options.h"
#include "session/recently_used.h"
#include "session/shapes.h"
#include "support/at_fork.h"

namespace corf::session {

/// The model compiled for one set of shapes.
struct CompiledModel {
  std::shared_ptr<runtime::Executable> executable;
  DeclaredTensors inputs, outputs;
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
  /// `shapes`: of every input, all extents numbers.
  virtual Result<CompiledSpec> compile(const ShapeBindings& shapes, int threads) const = 0;
};

/// What a model says of itself.
struct Description {
  DeclaredTensors inputs, outputs;
  std::map<std::string, std::string> metadata;
  int64_t opset = 0;                                       // 0: not known
  std::vector<std::pair<std::string, int64_t>> operators;  // how often each occurs
};

/// A model with its options, its workers and the executables compiled for the shapes used last.
class Session {
 public:
  static Result<std::shared_ptr<Session>> create(std::shared_ptr<const Compiler> compiler,
                                                 Description description, const Options& options);
  /// Of a model that was compiled ahead of time, for the shapes that it was compiled for.
  static Result<std::shared_ptr<Session>> create(runtime::ExecutableSpec spec,
                                                 const Options& options);

  /// Null for a session of a compiled file.
  const Compiler* compiler() const { return compiler_.get(); }
  const Description& description() const { return description_; }
  const DeclaredTensors& inputs() const { return description_.inputs; }
  const DeclaredTensors& outputs() const { return description_.outputs; }
  int threads() const { return team_->size(); }

  /// From the cache, or compiled. Threads that ask for shapes that are being compiled wait.
  Result<std::shared_ptr<CompiledModel>> compile(const ShapeBindings& bindings);
  /// What is compiled from now on is compiled anew.
  void forget_compiled();
  /// Loads what was compiled elsewhere for the session's workers; the cache does not see it.
  Result<std::shared_ptr<CompiledModel>> load(CompiledSpec compiled) const;

  /// Shapes of `inputs`, in the order of the model's inputs, after a check of their types.
  Result<ShapeBindings> shapes_of(const std::vector<const corf_tensor*>& inputs) const;

 private:
  Session(Description description, const Options& options, std::shared_ptr<runtime::Team> team);

  std::shared_ptr<const Compiler> compiler_;
  std::shared_ptr<CompiledModel> precompiled_;  // of a compiled file
  Description description_;
  std::shared_ptr<runtime::Team> team_;
  LongMutex compile_mutex_;  // held while compiling; taken before cache_mutex_
  BriefMutex cache_mutex_;
  RecentlyUsed<CompiledModel> cache_;
};

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
