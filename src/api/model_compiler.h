#pragma once
#include <memory>
#include <optional>
#include <string>

#include "api/lazy_model.h"
#include "driver/compile.h"
#include "onnx/import.h"
#include "session/session.h"

namespace corf::api {

/// The folder that option executable_cache names; "": none.
std::string cache_folder(const session::Options& options);

/// The compiler of a session that holds an ONNX model.
class ModelCompiler final : public session::Compiler {
 public:
  /// `identity`: what stands for the model's bytes where executables are kept for other processes;
  /// nullopt: none are.
  ModelCompiler(std::shared_ptr<LazyModel> model, session::Options options,
                std::optional<std::string> identity)
      : model_(std::move(model)), options_(std::move(options)), identity_(std::move(identity)) {}

  Result<session::CompiledSpec> compile(const session::ShapeBindings& shapes,
                                        const session::ValueBindings& values,
                                        int threads) const override;
  std::vector<std::string> deciding_inputs(const session::ShapeBindings& shapes,
                                           const session::ValueBindings& values) const override;
  /// As `compile`, whatever the session's options say of the plan.
  Result<session::CompiledSpec> compile_unfused(const session::ShapeBindings& shapes,
                                                const session::ValueBindings& values,
                                                int threads) const;

  /// Errors: those of LazyModel.
  Result<std::shared_ptr<const onnx::Model>> model() const { return model_->get(); }
  bool tunes_anew() const { return options_.tune_anew; }
  driver::CompileOptions options(const session::ShapeBindings& shapes, int threads,
                                 const session::ValueBindings& values = {}) const;

 private:
  Result<session::CompiledSpec> compile_anew(const driver::CompileOptions& options) const;

  std::shared_ptr<LazyModel> model_;
  session::Options options_;
  std::optional<std::string> identity_;
  const std::shared_ptr<driver::KnownShapes> known_shapes_ =
      std::make_shared<driver::KnownShapes>();
};

/// What the model says of itself.
session::Description describe(const onnx::Model& model);

/// A session that compiles `model`, which `description` is of. `identity`: as of ModelCompiler.
Result<std::shared_ptr<session::Session>> open_session(std::shared_ptr<LazyModel> model,
                                                       session::Description description,
                                                       const session::Options& options,
                                                       std::optional<std::string> identity);

/// The same of a model that is there.
Result<std::shared_ptr<session::Session>> open_session(
    std::shared_ptr<const onnx::Model> model, const session::Options& options,
    std::optional<std::string> identity = std::nullopt);

/// Errors: kUnsupported for a session of a compiled file, which does not hold the model.
Result<const ModelCompiler*> compiler_of(const session::Session& session);

}  // namespace corf::api
