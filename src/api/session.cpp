#include "api/session.h"

#include "api/shapes.h"

namespace corf::api {

Session::Session(Options options, std::shared_ptr<runtime::Team> team)
    : options_(std::move(options)), team_(std::move(team)), cache_(options_.cache_size) {}

Result<std::shared_ptr<Session>> Session::create(std::shared_ptr<const onnx::Model> model,
                                                 Options options) {
  CORF_ASSIGN(auto team, runtime::Team::create(options.compile.threads));
  std::shared_ptr<Session> session(new Session(std::move(options), std::move(team)));
  session->inputs_ = declare(model->inputs());
  session->outputs_ = declare(model->outputs());
  session->metadata_ = model->metadata();
  for (const auto& entry : model->operator_counts()) session->operators_.push_back(entry);
  session->model_ = std::move(model);
  return session;
}

Result<std::shared_ptr<Session>> Session::create(runtime::ExecutableSpec spec, Options options) {
  CORF_ASSIGN(auto team, runtime::Team::create(options.compile.threads));
  std::shared_ptr<Session> session(new Session(std::move(options), std::move(team)));
  session->inputs_ = declare(spec.inputs);
  session->outputs_ = declare(spec.outputs);
  session->metadata_ = spec.metadata;
  CORF_ASSIGN(session->precompiled_, session->load({std::move(spec), 0}));
  return session;
}

Result<std::shared_ptr<const onnx::Model>> Session::model() const {
  if (model_) return model_;
  return make_error(ErrorCode::kUnsupported,
                    "a compiled file can only be run and measured; this needs the .onnx model");
}

driver::CompileOptions Session::compile_options(onnx::ShapeBindings shapes) const {
  driver::CompileOptions options = options_.compile;
  options.threads = team_->size();
  options.shapes = std::move(shapes);
  return options;
}

Result<std::shared_ptr<CompiledModel>> Session::compile(const onnx::ShapeBindings& bindings) {
  CORF_ASSIGN(const onnx::ShapeBindings shapes, resolve(inputs_, bindings));
  if (precompiled_) return precompiled_;
  const std::string key = to_key(shapes);
  const auto find = [&] {
    std::scoped_lock lock(cache_mutex_);
    return cache_.find(key);
  };
  if (auto held = find()) return held;
  std::scoped_lock compiling(compile_mutex_);
  if (auto held = find()) return held;
  CORF_ASSIGN(auto compiled, compile_uncached(compile_options(shapes)));
  std::scoped_lock lock(cache_mutex_);
  cache_.insert(key, compiled);
  return compiled;
}

Result<std::shared_ptr<CompiledModel>> Session::compile_uncached(
    const driver::CompileOptions& options) {
  CORF_ASSIGN(const auto parsed, model());
  CORF_ASSIGN(driver::Compiled compiled, driver::compile(*parsed, options));
  compiled.spec.metadata = parsed->metadata();
  return load(std::move(compiled));
}

Result<std::shared_ptr<CompiledModel>> Session::load(driver::Compiled compiled) const {
  auto result = std::make_shared<CompiledModel>();
  result->compile_ms = compiled.compile_ms;
  result->threads = team_->size();
  CORF_ASSIGN(result->executable, runtime::Executable::load(std::move(compiled.spec), team_));
  result->inputs = declare(result->executable->inputs());
  result->outputs = declare(result->executable->outputs());
  return result;
}

Result<onnx::ShapeBindings> Session::shapes_of(
    const std::vector<const corf_tensor*>& inputs) const {
  onnx::ShapeBindings shapes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    CORF_RETURN_IF_ERROR(check_type_and_shape(*inputs_[i], "input", *inputs[i]));
    shapes.emplace(inputs_[i]->name(), shape_of(*inputs[i]));
  }
  return shapes;
}

Status run(CompiledModel& compiled, const corf_tensor* inputs, size_t num_inputs,
           const corf_tensor* outputs, size_t num_outputs,
           std::vector<runtime::StepProfile>* profile) {
  CORF_ASSIGN(const auto in, match(compiled.inputs, "input", inputs, num_inputs));
  CORF_ASSIGN(const auto out, match(compiled.outputs, "output", outputs, num_outputs));
  std::vector<const void*> input_data;
  for (size_t i = 0; i < in.size(); ++i) {
    CORF_RETURN_IF_ERROR(check_type_and_shape(*compiled.inputs[i], "input", *in[i]));
    input_data.push_back(in[i]->data);
  }
  std::vector<void*> output_data;
  for (size_t i = 0; i < out.size(); ++i) {
    CORF_RETURN_IF_ERROR(check_type_and_shape(*compiled.outputs[i], "output", *out[i]));
    output_data.push_back(out[i]->data);
  }
  return compiled.executable->run(input_data, output_data, profile);
}

}  // namespace corf::api
