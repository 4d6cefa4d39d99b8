#include "api/model_compiler.h"

#include <chrono>
#include <malloc.h>

#include "driver/executable_cache.h"
#include "host/program.h"

namespace corf::api {
namespace {

session::DeclaredTensors declare(const std::vector<onnx::ModelTensor>& tensors) {
  session::DeclaredTensors declared;
  for (const onnx::ModelTensor& tensor : tensors) {
    std::optional<session::DeclaredShape> shape;
    if (tensor.has_rank) {
      shape.emplace();
      for (const onnx::SymbolicDim& dim : tensor.dims) {
        const std::string symbol = dim.symbol.empty() ? "?" : dim.symbol;
        shape->extents.push_back(dim.extent);
        shape->symbols.push_back(dim.extent >= 0 ? "" : symbol);
      }
    }
    declared.push_back(
        std::make_unique<session::DeclaredTensor>(tensor.name, tensor.dtype, std::move(shape)));
    if (tensor.kind != onnx::ValueKind::kTensor) {
      declared.back()->set_other_kind(std::string(onnx::in_words(tensor.kind)));
    }
  }
  return declared;
}

}  // namespace

std::string cache_folder(const session::Options& options) {
  return options.executable_cache == session::Options::kDefaultFolder
             ? driver::ExecutableCache::default_folder()
             : options.executable_cache;
}

driver::CompileOptions ModelCompiler::options(const session::ShapeBindings& shapes, int threads,
                                              const session::ValueBindings& values) const {
  driver::CompileOptions options;
  options.isa = options_.isa;
  options.threads = threads;
  options.shapes = shapes;
  options.values = values;
  if (options_.plan == "unfused") options.plan = driver::PlanMode::kUnfused;
  if (options_.plan == "fused") options.plan = driver::PlanMode::kFused;
  options.limits = options_.limits;
  options.cancellation = options_.cancellation;
  options.verify_each = options_.verify_each;
  options.time_passes = options_.time_passes;
  options.plan_text = options_.force_plan;
  options.plan_cache_dir = options_.plan_cache_dir;
  options.winograd = options_.winograd;
  options.bf16 = options_.bf16;
  options.random_seed = options_.random_seed;
  options.dump_dir = options_.dump_dir;
  return options;
}

Result<session::CompiledSpec> ModelCompiler::compile(const session::ShapeBindings& shapes,
                                                     const session::ValueBindings& values,
                                                     int threads) const {
  driver::CompileOptions chosen = options(shapes, threads, values);
  // Only here: explanations look into all that could have been fused.
  chosen.known_shapes = known_shapes_;
  const bool is_cancelled = chosen.cancellation && chosen.cancellation->cancelled();
  const bool is_looked_into = chosen.verify_each || chosen.time_passes || !chosen.dump_dir.empty();
  if (!identity_ || is_cancelled || is_looked_into) return compile_anew(chosen);
  const auto start = std::chrono::steady_clock::now();
  const driver::ExecutableCache cache(cache_folder(options_), options_.executable_cache_bytes);
  const std::string key = driver::executable_key(*identity_, chosen);
  if (std::optional<runtime::ExecutableSpec> found = cache.find(key)) {
    const std::chrono::duration<double, std::milli> elapsed =
        std::chrono::steady_clock::now() - start;
    known_shapes_->keep_constants(*found);
    return session::CompiledSpec{std::move(*found), elapsed.count()};
  }
  Result<session::CompiledSpec> compiled = compile_anew(chosen);
  if (compiled.ok()) cache.insert(key, compiled->spec);
  return compiled;
}

Result<session::CompiledSpec> ModelCompiler::compile_anew(
    const driver::CompileOptions& options) const {
  CORF_ASSIGN(const auto model, model_->get());
  CORF_ASSIGN(driver::Compiled compiled, driver::compile(*model, options));
  malloc_trim(0);  // what the compiler has freed, tens of megabytes, goes back to the system
  compiled.spec.metadata = model->metadata();
  return session::CompiledSpec{std::move(compiled.spec), compiled.compile_ms};
}

std::vector<std::string> ModelCompiler::deciding_inputs(
    const session::ShapeBindings& shapes, const session::ValueBindings& values) const {
  const auto model = model_->get();
  if (!model.ok()) return {};
  return driver::find_deciding_inputs(**model, options(shapes, 0, values));
}

Result<session::CompiledSpec> ModelCompiler::compile_unfused(const session::ShapeBindings& shapes,
                                                             const session::ValueBindings& values,
                                                             int threads) const {
  driver::CompileOptions unfused = options(shapes, threads, values);
  unfused.plan = driver::PlanMode::kUnfused;
  return compile_anew(unfused);
}

namespace {

std::vector<corf_kind> kinds_of(const std::vector<onnx::ModelTensor>& tensors) {
  std::vector<corf_kind> kinds;
  for (const onnx::ModelTensor& tensor : tensors) {
    switch (tensor.kind) {
      case onnx::ValueKind::kTensor:
        kinds.push_back(CORF_TENSOR);
        break;
      case onnx::ValueKind::kStrings:
        kinds.push_back(CORF_STRINGS);
        break;
      case onnx::ValueKind::kSequence:
        kinds.push_back(CORF_SEQUENCE);
        break;
      case onnx::ValueKind::kOptional:
        kinds.push_back(CORF_OPTIONAL);
        break;
      case onnx::ValueKind::kNarrow:
        kinds.push_back(CORF_NARROW);
        break;
    }
  }
  return kinds;
}

}  // namespace

session::Description describe(const onnx::Model& model) {
  session::Description description;
  description.inputs = declare(model.inputs());
  description.outputs = declare(model.outputs());
  description.input_kinds = kinds_of(model.inputs());
  description.output_kinds = kinds_of(model.outputs());
  description.metadata = model.metadata();
  description.opset = model.opset();
  for (const auto& entry : model.operator_counts()) description.operators.push_back(entry);
  return description;
}

Result<std::shared_ptr<session::Session>> open_session(std::shared_ptr<LazyModel> model,
                                                       session::Description description,
                                                       const session::Options& options,
                                                       std::optional<std::string> identity) {
  auto compiler = std::make_shared<ModelCompiler>(model, options, std::move(identity));
  CORF_ASSIGN(auto session, session::Session::create(std::move(compiler), std::move(description),
                                                     options, /*team=*/nullptr));
  const auto open_segment = [options,
                             team = session->team()](std::shared_ptr<const onnx::Model> segment) {
    session::Description parts = describe(*segment);
    auto held = std::make_shared<LazyModel>(std::move(segment));
    auto compiles = std::make_shared<ModelCompiler>(std::move(held), options, std::nullopt);
    return session::Session::create(std::move(compiles), std::move(parts), options, team);
  };
  session->set_piece_runner(host::make_program([model] { return model->get(); }, open_segment));
  return session;
}

Result<std::shared_ptr<session::Session>> open_session(std::shared_ptr<const onnx::Model> model,
                                                       const session::Options& options,
                                                       std::optional<std::string> identity) {
  session::Description description = describe(*model);
  return open_session(std::make_shared<LazyModel>(std::move(model)), std::move(description),
                      options, std::move(identity));
}

Result<const ModelCompiler*> compiler_of(const session::Session& session) {
  const auto* compiler = dynamic_cast<const ModelCompiler*>(session.compiler());
  if (compiler != nullptr) return compiler;
  return make_error(ErrorCode::kUnsupported,
                    "a compiled file can only be run and measured; this needs the .onnx model");
}

}  // namespace corf::api
