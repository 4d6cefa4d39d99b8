#include "loop/interpret.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "loop/interpret_kernel.h"
#include "loop/text.h"

namespace corf::loop {
namespace {

class ProgramRun {
 public:
  ProgramRun(const Program& program, InterpretReport* report, const Routine& routine)
      : program_(program), report_(report), routine_(routine) {}

  Result<std::vector<Tensor>> run(const std::vector<Tensor>& inputs) {
    CORF_RETURN_IF_ERROR(verify(program_));
    CORF_RETURN_IF_ERROR(make_buffers(inputs));
    kernels_.resize(program_.kernels.size());
    for (const Step& step : program_.steps) {
      CORF_RETURN_IF_ERROR(std::visit([this](const auto& call) { return run(call); }, step));
    }
    if (report_) fill_report();
    return outputs();
  }

 private:
  Status make_buffers(const std::vector<Tensor>& inputs) {
    for (const Buffer& b : program_.buffers) {
      if (b.kind == BufferKind::kConstant) {
        memory_.push_back(b.data);
      } else if (b.kind == BufferKind::kInput) {
        if (b.position >= static_cast<int>(inputs.size())) {
          return make_error(ErrorCode::kInvalidArgument, "input {} ('{}') is missing", b.position,
                            b.name);
        }
        const Tensor& input = inputs[b.position];
        if (input.dtype() != b.dtype || input.num_elems() != b.size_elems) {
          return make_error(ErrorCode::kInvalidArgument,
                            "input {} ('{}') has {} elements of type {}, expected {} of type {}",
                            b.position, b.name, input.num_elems(), to_string(input.dtype()),
                            b.size_elems, to_string(b.dtype));
        }
        memory_.push_back(input);
      } else {
        memory_.emplace_back(b.dtype, Shape{b.size_elems});
        poison(memory_.back().bytes(), b.dtype, b.size_elems);
      }
      store_counts_.emplace_back(report_ ? b.size_elems : 0, 0);
    }
    return {};
  }

  Status run(const KernelCall& call) {
    const Kernel& kernel = program_.kernels[call.kernel];
    if (!kernels_[call.kernel].kernel) kernels_[call.kernel] = prepare(kernel);

    std::vector<BufferView> views;
    std::vector<AccessLog> logs(call.buffers.size());
    for (size_t i = 0; i < call.buffers.size(); ++i) {
      const int number = call.buffers[i];
      const Buffer& buffer = program_.buffers[number];
      const bool writable = kernel.buffers[i].written;
      views.push_back({memory_[number].bytes(), buffer.dtype, buffer.size_elems, writable,
                       report_ ? &store_counts_[number] : nullptr, nullptr});
    }
    if (call.partitions > 1) attach_logs(call, kernel, logs, views);

    std::vector<Tensor> scratch;
    int64_t scratch_bytes = 0;
    for (const Scratch& s : kernel.scratch) {
      scratch.emplace_back(s.dtype, Shape{s.size_elems});
      views.push_back({scratch.back().bytes(), s.dtype, s.size_elems, true, nullptr, nullptr});
      scratch_bytes += scratch.back().size_bytes();
    }
    if (report_) report_->scratch_bytes = std::max(report_->scratch_bytes, scratch_bytes);

    for (int64_t partition = 0; partition < call.partitions; ++partition) {
      for (Tensor& s : scratch) poison(s.bytes(), s.dtype(), s.num_elems());
      Status status = run_partition(kernels_[call.kernel], views,
                                    call.params_of(partition, kernel.num_params), partition);
      if (!status.ok()) {
        return make_error(status.error().code, "call '{}': {}", call.label, status.error().message);
      }
    }
    return {};
  }

  /// Logs the accesses to what the call writes, one log for each program buffer however often it
  /// is bound.
  void attach_logs(const KernelCall& call, const Kernel& kernel, std::vector<AccessLog>& logs,
                   std::vector<BufferView>& views) {
    for (size_t i = 0; i < call.buffers.size(); ++i) {
      if (!kernel.buffers[i].written) continue;
      const size_t first = std::find(call.buffers.begin(), call.buffers.end(), call.buffers[i]) -
                           call.buffers.begin();
      if (!views[first].log) {
        logs[first].writer.assign(views[first].size_elems, AccessLog::kNobody);
        logs[first].reader.assign(views[first].size_elems, AccessLog::kNobody);
        for (size_t k = first; k < call.buffers.size(); ++k) {
          if (call.buffers[k] == call.buffers[i]) views[k].log = &logs[first];
        }
      }
    }
  }

  Status run(const RoutineCall& call) {
    if (!routine_) {
      return make_error(ErrorCode::kUnsupported, "the interpreter was given no routine '{}' ('{}')",
                        call.routine, call.label);
    }
    std::vector<Tensor> inputs, outputs;
    for (const RoutineOperand& o : call.inputs) inputs.push_back(operand(o));
    for (const RoutineOperand& o : call.outputs) outputs.push_back(operand(o));
    CORF_RETURN_IF_ERROR(routine_(call, inputs, outputs));
    for (const RoutineOperand& o : call.outputs) {
      if (!report_) break;
      for (int64_t i = 0; i < num_elems(o.shape); ++i) ++store_counts_[o.buffer][i];
    }
    return {};
  }
  Tensor operand(const RoutineOperand& o) {
    // A view: what the routine writes lands in the buffer.
    auto owner = std::make_shared<Tensor>(memory_[o.buffer]);
    void* data = owner->bytes();
    return Tensor(program_.buffers[o.buffer].dtype, o.shape, owner, data);
  }

  void fill_report() {
    for (const std::vector<int32_t>& counts : store_counts_) {
      const auto most = std::max_element(counts.begin(), counts.end());
      report_->max_stores_per_element.push_back(most == counts.end() ? 0 : *most);
      report_->elements_stored.push_back(
          std::count_if(counts.begin(), counts.end(), [](int32_t n) { return n > 0; }));
    }
  }

  std::vector<Tensor> outputs() const {
    std::vector<Tensor> result;
    for (size_t i = 0; i < program_.buffers.size(); ++i) {
      const Buffer& b = program_.buffers[i];
      if (b.kind != BufferKind::kOutput) continue;
      if (b.position >= static_cast<int>(result.size())) result.resize(b.position + 1);
      result[b.position] = memory_[i];
    }
    return result;
  }

  const Program& program_;
  InterpretReport* report_;
  const Routine& routine_;
  std::vector<Tensor> memory_;  // by program buffer
  std::vector<std::vector<int32_t>> store_counts_;
  std::vector<KernelCode> kernels_;
};

}  // namespace

Result<std::vector<Tensor>> interpret(const Program& program, const std::vector<Tensor>& inputs,
                                      InterpretReport* report, const Routine& routine) {
  if (report) *report = {};
  return ProgramRun(program, report, routine).run(inputs);
}

}  // namespace corf::loop
