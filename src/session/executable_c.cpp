#include <algorithm>
#include <cstring>

#include "runtime/file.h"
#include "runtime/share_constants.h"
#include "session/limits.h"
#include "session/session.h"

using corf::ErrorCode;
using corf::make_error;
using corf::Status;
using corf::runtime::KernelStep;
using corf::runtime::RoutineStep;
using corf::session::answered;
using corf::session::CompiledModel;
using corf::session::guarded;
using corf::session::needed_array;

struct corf_profile {
  struct Step {
    std::string label;
    corf_step_profile numbers;    // its label is set when it is handed out
    std::vector<double> busy_ns;  // of each worker
  };
  std::vector<Step> steps;
};

namespace {

/// Copies as much of a struct as the caller's version of it has room for.
template <typename T>
void copy_struct(const T& from, void* to, size_t to_size_bytes) {
  std::memcpy(to, &from, std::min(sizeof(T), to_size_bytes));
}

corf_executable_info describe(const CompiledModel& compiled) {
  const corf::runtime::ExecutableSpec& spec = compiled.executable->spec();
  corf_executable_info info = {};
  info.plan_hash = spec.plan_hash.c_str();
  info.isa = spec.image.isa.c_str();
  info.threads = compiled.threads;
  info.compile_ms = compiled.compile_ms;
  for (const auto& step : spec.steps) {
    if (const auto* kernel = std::get_if<KernelStep>(&step)) {
      info.work_flops += kernel->work_flops;
      info.executed_flops += kernel->executed_flops;
    }
  }
  const auto add_bytes = [&](const std::vector<corf::runtime::TensorInfo>& tensors) {
    for (const auto& tensor : tensors) {
      info.compulsory_bytes += corf::num_elems(tensor.shape) * corf::size_bytes(tensor.dtype);
    }
  };
  add_bytes(spec.inputs);
  add_bytes(spec.outputs);
  info.constant_bytes = corf::runtime::constant_bytes(spec);
  info.compulsory_bytes += info.constant_bytes;
  info.arena_bytes = spec.arena_bytes;
  info.code_bytes = static_cast<int64_t>(spec.image.bytes.size());
  return info;
}

Status check_step(const corf_profile* profile, size_t position) {
  if (position < profile->steps.size()) return {};
  return make_error(ErrorCode::kInvalidArgument, "there is no step number {}; there are {}",
                    position, profile->steps.size());
}

corf_profile to_profile(const CompiledModel& compiled,
                        const std::vector<corf::runtime::StepProfile>& steps) {
  const corf::runtime::ExecutableSpec& spec = compiled.executable->spec();
  corf_profile profile;
  for (size_t i = 0; i < steps.size(); ++i) {
    corf_step_profile numbers = {};
    numbers.start_ms = steps[i].start_ns * 1e-6;
    numbers.time_ms = steps[i].time_ns * 1e-6;
    if (const auto* kernel =
            i < spec.steps.size() ? std::get_if<KernelStep>(&spec.steps[i]) : nullptr) {
      numbers.work_flops = kernel->work_flops;
      numbers.executed_flops = kernel->executed_flops;
      numbers.compulsory_bytes = kernel->compulsory_bytes;
      numbers.limit_ms = corf::session::limit_ms(kernel->executed_flops, kernel->compulsory_bytes,
                                                 compiled.threads, spec.image.isa);
    }
    profile.steps.push_back({steps[i].label, numbers, steps[i].busy_ns});
  }
  return profile;
}

}  // namespace

extern "C" {

void corf_executable_free(corf_executable* executable) { delete executable; }

size_t corf_executable_num_inputs(const corf_executable* executable) {
  return answered(size_t{0}, {executable}, [&] { return executable->compiled->inputs.size(); });
}

size_t corf_executable_num_outputs(const corf_executable* executable) {
  return answered(size_t{0}, {executable}, [&] { return executable->compiled->outputs.size(); });
}

corf_error* corf_executable_input(const corf_executable* executable, size_t position,
                                  corf_tensor_info* info) {
  return guarded({{executable, "executable"}, {info, "info"}}, [&] {
    return corf::session::describe(executable->compiled->inputs, position, "input", info);
  });
}

corf_error* corf_executable_output(const corf_executable* executable, size_t position,
                                   corf_tensor_info* info) {
  return guarded({{executable, "executable"}, {info, "info"}}, [&] {
    return corf::session::describe(executable->compiled->outputs, position, "output", info);
  });
}

corf_error* corf_executable_run(corf_executable* executable, const corf_tensor* inputs,
                                size_t num_inputs, const corf_tensor* outputs, size_t num_outputs) {
  return guarded({{executable, "executable"},
                  needed_array(inputs, num_inputs, "inputs"),
                  needed_array(outputs, num_outputs, "outputs")},
                 [&] {
                   return corf::session::run(*executable->compiled, inputs, num_inputs, outputs,
                                             num_outputs);
                 });
}

corf_error* corf_executable_describe(const corf_executable* executable, corf_executable_info* info,
                                     size_t info_size_bytes) {
  return guarded({{executable, "executable"}, {info, "info"}}, [&]() -> Status {
    copy_struct(describe(*executable->compiled), info, info_size_bytes);
    return {};
  });
}

corf_error* corf_executable_limit_ms(const corf_executable* executable, double* limit_ms) {
  return guarded({{executable, "executable"}, {limit_ms, "limit_ms"}}, [&]() -> Status {
    const corf_executable_info info = describe(*executable->compiled);
    *limit_ms = corf::session::limit_ms(info.executed_flops, info.compulsory_bytes,
                                        executable->compiled->threads,
                                        executable->compiled->executable->spec().image.isa);
    return {};
  });
}

corf_error* corf_executable_run_profiled(corf_executable* executable, const corf_tensor* inputs,
                                         size_t num_inputs, const corf_tensor* outputs,
                                         size_t num_outputs, corf_profile** profile) {
  return guarded({{executable, "executable"},
                  {profile, "profile"},
                  needed_array(inputs, num_inputs, "inputs"),
                  needed_array(outputs, num_outputs, "outputs")},
                 [&]() -> Status {
                   std::vector<corf::runtime::StepProfile> steps;
                   CORF_RETURN_IF_ERROR(corf::session::run(
                       *executable->compiled, inputs, num_inputs, outputs, num_outputs, &steps));
                   *profile = new corf_profile(to_profile(*executable->compiled, steps));
                   return {};
                 });
}

corf_error* corf_executable_write(const corf_executable* executable, const char* path) {
  return guarded({{executable, "executable"}, {path, "path"}}, [&] {
    return corf::runtime::write_executable_file(executable->compiled->executable->spec(), path);
  });
}

void corf_profile_free(corf_profile* profile) { delete profile; }

size_t corf_profile_num_steps(const corf_profile* profile) {
  return answered(size_t{0}, {profile}, [&] { return profile->steps.size(); });
}

corf_error* corf_profile_step(const corf_profile* profile, size_t position, corf_step_profile* step,
                              size_t step_size_bytes) {
  return guarded({{profile, "profile"}, {step, "step"}}, [&]() -> Status {
    CORF_RETURN_IF_ERROR(check_step(profile, position));
    corf_step_profile numbers = profile->steps[position].numbers;
    numbers.label = profile->steps[position].label.c_str();
    copy_struct(numbers, step, step_size_bytes);
    return {};
  });
}

size_t corf_profile_num_workers(const corf_profile* profile) {
  return answered(size_t{0}, {profile}, [&] {
    return profile->steps.empty() ? size_t{0} : profile->steps.front().busy_ns.size();
  });
}

corf_error* corf_profile_busy_ms(const corf_profile* profile, size_t step, size_t worker,
                                 double* busy_ms) {
  return guarded({{profile, "profile"}, {busy_ms, "busy_ms"}}, [&]() -> Status {
    CORF_RETURN_IF_ERROR(check_step(profile, step));
    const std::vector<double>& busy_ns = profile->steps[step].busy_ns;
    if (worker >= busy_ns.size()) {
      return make_error(ErrorCode::kInvalidArgument, "there is no worker number {}; there are {}",
                        worker, busy_ns.size());
    }
    *busy_ms = busy_ns[worker] * 1e-6;
    return {};
  });
}

}  // extern "C"
