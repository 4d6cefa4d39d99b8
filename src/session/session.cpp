#include "session/session.h"

#include <algorithm>
#include <cstring>
#include <fmt/ranges.h>

#include "runtime/share_constants.h"

namespace corf::session {

Session::Session(Description description, const Options& options,
                 std::shared_ptr<runtime::Team> team)
    : description_(std::move(description)), team_(std::move(team)), cache_(options.cache_size) {}

Result<std::shared_ptr<Session>> Session::create(std::shared_ptr<const Compiler> compiler,
                                                 Description description, const Options& options,
                                                 std::shared_ptr<runtime::Team> team) {
  if (team == nullptr) {
    CORF_ASSIGN(team, runtime::Team::create(options.workers));
  }
  std::shared_ptr<Session> session(new Session(std::move(description), options, std::move(team)));
  session->compiler_ = std::move(compiler);
  return session;
}

Result<std::shared_ptr<Session>> Session::create(runtime::ExecutableSpec spec,
                                                 const Options& options) {
  CORF_ASSIGN(auto team, runtime::Team::create(options.workers));
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
  return compile(shapes, ValueBindings());
}

Result<std::shared_ptr<CompiledModel>> Session::compile(
    const std::vector<const corf_tensor*>& arrays) {
  CORF_ASSIGN(const ShapeBindings given, shapes_of(arrays));
  CORF_ASSIGN(const ShapeBindings shapes, resolve(inputs(), given));
  if (precompiled_) return precompiled_;
  while (true) {
    const ValueBindings values = deciding_values(arrays);
    auto compiled = compile(shapes, values);
    if (compiled.ok()) return compiled;
    const ErrorCode code = compiled.error().code;
    const bool may_lack_values =
        code == ErrorCode::kUnsupported || code == ErrorCode::kInvalidModel;
    if (may_lack_values && learn_deciding_inputs(shapes, values)) continue;
    if (code != ErrorCode::kInvalidModel || values.empty()) return compiled;
    std::vector<std::string> names;
    for (const auto& [name, value] : values) names.push_back(fmt::format("'{}'", name));
    return make_error(ErrorCode::kInvalidArgument, "with the values given for {}: {}",
                      fmt::join(names, ", "), compiled.error().message);
  }
}

ValueBindings Session::deciding_values(const std::vector<const corf_tensor*>& arrays) {
  ValueBindings values;
  std::scoped_lock lock(cache_mutex_);
  if (deciding_inputs_.empty()) return values;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const std::string& name = description_.inputs[i]->name();
    if (!deciding_inputs_.contains(name)) continue;
    Tensor value(static_cast<DType>(arrays[i]->dtype), shape_of(*arrays[i]));
    if (value.num_elems() > 0) std::memcpy(value.bytes(), arrays[i]->data, value.size_bytes());
    values.emplace(name, std::move(value));
  }
  return values;
}

ValueBindings Session::decide(const ShapeBindings& shapes,
                              const std::vector<const corf_tensor*>& arrays) {
  ValueBindings values = deciding_values(arrays);
  while (learn_deciding_inputs(shapes, values)) values = deciding_values(arrays);
  return values;
}

bool Session::learn_deciding_inputs(const ShapeBindings& shapes, const ValueBindings& values) {
  const std::vector<std::string> names = compiler_->deciding_inputs(shapes, values);
  std::scoped_lock lock(cache_mutex_);
  // Another thread may have learned them since.
  const bool any_new = std::any_of(names.begin(), names.end(),
                                   [&](const auto& name) { return !values.contains(name); });
  deciding_inputs_.insert(names.begin(), names.end());
  return any_new;
}

Result<std::shared_ptr<CompiledModel>> Session::compile(const ShapeBindings& shapes,
                                                        const ValueBindings& values) {
  const std::string key = to_key(shapes, values);
  const auto find = [&] {
    std::scoped_lock lock(cache_mutex_);
    return cache_.find(key);
  };
  if (auto held = find()) return held;
  std::scoped_lock compiling(compile_mutex_);
  if (auto held = find()) return held;
  CORF_ASSIGN(CompiledSpec spec, compiler_->compile(shapes, values, team_->size()));
  CORF_ASSIGN(auto compiled, load(std::move(spec)));
  compiled->values = values;
  std::scoped_lock lock(cache_mutex_);
  cache_.insert(key, compiled);
  return compiled;
}

std::vector<const corf_tensor*> Session::taken_by(
    const ValueBindings& compiled_in, const std::vector<const corf_tensor*>& arrays) const {
  std::vector<const corf_tensor*> taken;
  for (size_t i = 0; i < arrays.size(); ++i) {
    if (!compiled_in.contains(description_.inputs[i]->name())) taken.push_back(arrays[i]);
  }
  return taken;
}

void Session::forget_compiled() {
  std::scoped_lock lock(compile_mutex_, cache_mutex_);
  cache_.clear();
}

Result<std::shared_ptr<CompiledModel>> Session::load(CompiledSpec compiled) const {
  auto result = std::make_shared<CompiledModel>();
  result->compile_ms = compiled.compile_ms;
  result->threads = team_->size();
  runtime::share_constants(compiled.spec);
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
  return run(compiled, in, out, profile);
}

Status run(CompiledModel& compiled, const std::vector<const corf_tensor*>& in,
           const std::vector<const corf_tensor*>& out, std::vector<runtime::StepProfile>* profile) {
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
