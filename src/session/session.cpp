#include "session/session.h"

namespace corf::session {

Session::Session(Description description, const Options& options,
                 std::shared_ptr<runtime::Team> team)
    : description_(std::move(description)), team_(std::move(team)), cache_(options.cache_size) {}

Result<std::shared_ptr<Session>> Session::create(std::shared_ptr<const Compiler> compiler,
                                                 Description description, const Options& options) {
  CORF_ASSIGN(auto team, runtime::Team::create(options.threads));
  std::shared_ptr<Session> session(new Session(std::move(description), options, std::move(team)));
  session->compiler_ = std::move(compiler);
  return session;
}

Result<std::shared_ptr<Session>> Session::create(runtime::ExecutableSpec spec,
                                                 const Options& options) {
  CORF_ASSIGN(auto team, runtime::Team::create(options.threads));
  Description description;
  description.inputs = declare(spec.inputs);
  description.outputs = declare(spec.outputs);
  description.metadata = spec.metadata;
  std::shared_ptr<Session> session(new Session(std::move(description), options, std::move(team)));
  CORF_ASSIGN(session->precompiled_, session->load({std::move(spec), 0}));
  return session;
}

Result<std::shared_ptr<CompiledModel>> Session::compile(const ShapeBindings& bindings) {
  CORF_ASSIGN(const ShapeBindings shapes, resolve(inputs(), bindings));
  if (precompiled_) return precompiled_;
  const std::string key = to_key(shapes);
  const auto find = [&] {
    std::scoped_lock lock(cache_mutex_);
    return cache_.find(key);
  };
  if (auto held = find()) return held;
  std::scoped_lock compiling(compile_mutex_);
  if (auto held = find()) return held;
  CORF_ASSIGN(CompiledSpec spec, compiler_->compile(shapes, team_->size()));
  CORF_ASSIGN(auto compiled, load(std::move(spec)));
  std::scoped_lock lock(cache_mutex_);
  cache_.insert(key, compiled);
  return compiled;
}

void Session::forget_compiled() {
  std::scoped_lock lock(compile_mutex_, cache_mutex_);
  cache_.clear();
}

Result<std::shared_ptr<CompiledModel>> Session::load(CompiledSpec compiled) const {
  auto result = std::make_shared<CompiledModel>();
  result->compile_ms = compiled.compile_ms;
  result->threads = team_->size();
  CORF_ASSIGN(result->executable, runtime::Executable::load(std::move(compiled.spec), team_));
  result->inputs = declare(result->executable->inputs());
  result->outputs = declare(result->executable->outputs());
  return result;
}

Result<ShapeBindings> Session::shapes_of(const std::vector<const corf_tensor*>& inputs) const {
  ShapeBindings shapes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    CORF_RETURN_IF_ERROR(check_type_and_shape(*description_.inputs[i], "input", *inputs[i]));
    shapes.emplace(description_.inputs[i]->name(), shape_of(*inputs[i]));
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

Options to_options(const corf_options* options) {
  return options ? options->options : Options::from_environment();
}

}  // namespace corf::session
