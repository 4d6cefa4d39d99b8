#pragma once
#include <memory>

#include "driver/compile.h"
#include "onnx/import.h"
#include "session/session.h"

namespace corf::api {

/// The compiler of a session that holds an ONNX model.
class ModelCompiler final : public session::Compiler {
 public:
  ModelCompiler(std::shared_ptr<const onnx::Model> model, session::Options options)
      : model_(std::move(model)), options_(std::move(options)) {}

  Result<session::CompiledSpec> compile(const session::ShapeBindings& shapes,
                                        int threads) const override;
  /// As `compile`, whatever the session's options say of the plan.
  Result<session::CompiledSpec> compile_unfused(const session::ShapeBindings& shapes,
                                                int threads) const;

  const onnx::Model& model() const { return *model_; }
  driver::CompileOptions options(const session::ShapeBindings& shapes, int threads) const;

 private:
  std::shared_ptr<const onnx::Model> model_;
  session::Options options_;
};

/// A session that compiles `model`.
Result<std::shared_ptr<session::Session>> open_session(std::shared_ptr<const onnx::Model> model,
                                                       const session::Options& options);

/// Errors: kUnsupported for a session of a compiled file, which does not hold the model.
Result<const ModelCompiler*> compiler_of(const session::Session& session);

}  // namespace corf::api
