#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/declared_tensor.h"
#include "api/options.h"
#include "api/recently_used.h"
#include "driver/compile.h"
#include "runtime/executable.h"
#include "runtime/team.h"

namespace corf::api {

/// The model compiled for one set of shapes.
struct CompiledModel {
  std::shared_ptr<runtime::Executable> executable;
  DeclaredTensors inputs, outputs;
  double compile_ms = 0;
  int threads = 1;
};

/// A model with its options, its workers and the executables compiled for the shapes used last.
class Session {
 public:
  static Result<std::shared_ptr<Session>> create(std::shared_ptr<const onnx::Model> model,
                                                 Options options);
  /// Of a model that was compiled ahead of time, for the shapes that it was compiled for. Of the
  /// options only the number of threads counts.
  static Result<std::shared_ptr<Session>> create(runtime::ExecutableSpec spec, Options options);

  /// Errors: kUnsupported for a session of a compiled file, which does not hold the model.
  Result<std::shared_ptr<const onnx::Model>> model() const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  int64_t opset() const { return model_ ? model_->opset() : 0; }
  const DeclaredTensors& inputs() const { return inputs_; }
  const DeclaredTensors& outputs() const { return outputs_; }
  const std::vector<std::pair<std::string, int64_t>>& operators() const { return operators_; }
  int threads() const { return team_->size(); }
  /// Compile options for these shapes.
  driver::CompileOptions compile_options(onnx::ShapeBindings shapes) const;

  /// From the cache, or compiled. Threads that ask for shapes that are being compiled wait.
  Result<std::shared_ptr<CompiledModel>> compile(const onnx::ShapeBindings& bindings);
  /// Compiled with other options, past the cache.
  Result<std::shared_ptr<CompiledModel>> compile_uncached(const driver::CompileOptions& options);

  /// Shapes of `inputs`, in the order of the model's inputs, after a check of their types.
  Result<onnx::ShapeBindings> shapes_of(const std::vector<const corf_tensor*>& inputs) const;

 private:
  Session(Options options, std::shared_ptr<runtime::Team> team);
  Result<std::shared_ptr<CompiledModel>> load(driver::Compiled compiled) const;

  std::shared_ptr<const onnx::Model> model_;    // null for a compiled file
  std::shared_ptr<CompiledModel> precompiled_;  // of a compiled file
  Options options_;
  std::shared_ptr<runtime::Team> team_;
  DeclaredTensors inputs_, outputs_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::pair<std::string, int64_t>> operators_;
  std::mutex compile_mutex_;  // held while compiling; taken before cache_mutex_
  std::mutex cache_mutex_;
  RecentlyUsed<CompiledModel> cache_;
};

/// Runs on the caller's arrays, matched to the model's inputs and outputs by name or position.
/// Errors: kInvalidArgument naming the input or output that does not fit.
Status run(CompiledModel& compiled, const corf_tensor* inputs, size_t num_inputs,
           const corf_tensor* outputs, size_t num_outputs,
           std::vector<runtime::StepProfile>* profile = nullptr);

}  // namespace corf::api

struct corf_session {
  std::shared_ptr<corf::api::Session> session;
};
struct corf_executable {
  std::shared_ptr<corf::api::CompiledModel> compiled;
};
