#include <fmt/format.h>
#include <set>

#include "loop/check_addresses.h"
#include "loop/text.h"

namespace corf::loop {
namespace {

Status check_buffers(const Program& program) {
  std::set<std::string_view> names;
  std::set<std::pair<BufferKind, int>> positions;
  for (const Buffer& b : program.buffers) {
    const auto fail = [&](std::string_view what) {
      return make_error(ErrorCode::kInternal, "buffer '{}': {}", b.name, what);
    };
    if (!names.insert(b.name).second) return fail("the name is used twice");
    if (b.size_elems < 0) return fail("the size is negative");
    if (b.kind == BufferKind::kInput || b.kind == BufferKind::kOutput) {
      if (b.position < 0 || b.position >= static_cast<int>(program.buffers.size())) {
        return fail("the position is out of range");
      }
      if (!positions.insert({b.kind, b.position}).second) return fail("the position is used twice");
    }
    if (b.kind == BufferKind::kConstant &&
        (b.data.dtype() != b.dtype || b.data.num_elems() != b.size_elems || b.data.empty())) {
      return fail("the data differ from the declaration");
    }
  }
  return {};
}

/// Marks what a step reads and writes; an error if it reads what nobody has written.
Status check_order(const Program& program, std::string_view label, const std::vector<int>& read,
                   const std::vector<int>& written, std::vector<bool>& filled) {
  for (int b : written) {
    const BufferKind kind = program.buffers[b].kind;
    if (kind == BufferKind::kInput || kind == BufferKind::kConstant) {
      return make_error(ErrorCode::kInternal, "call '{}' writes '{}', which is not to be written",
                        label, program.buffers[b].name);
    }
    filled[b] = true;
  }
  for (int b : read) {
    if (!filled[b]) {
      return make_error(ErrorCode::kInternal, "call '{}' reads '{}' before it is written", label,
                        program.buffers[b].name);
    }
  }
  return {};
}

Status check_call(const Program& program, const KernelCall& call, std::vector<bool>& filled) {
  const auto fail = [&](std::string_view what) {
    return make_error(ErrorCode::kInternal, "call '{}': {}", call.label, what);
  };
  if (call.kernel < 0 || call.kernel >= static_cast<int>(program.kernels.size())) {
    return fail("no such kernel");
  }
  const Kernel& kernel = program.kernels[call.kernel];
  if (call.buffers.size() != kernel.buffers.size()) return fail("wrong number of buffers");
  if (call.partitions < 1) return fail("less than one partition");
  const int64_t num_params = std::ssize(call.params);
  if (num_params != kernel.num_params && num_params != kernel.num_params * call.partitions) {
    return fail("wrong number of parameters");
  }
  std::vector<int> read, written;
  for (size_t i = 0; i < call.buffers.size(); ++i) {
    const int number = call.buffers[i];
    if (number < 0 || number >= static_cast<int>(program.buffers.size())) {
      return fail("no such buffer");
    }
    const Buffer& buffer = program.buffers[number];
    const KernelBuffer& declared = kernel.buffers[i];
    if (buffer.dtype != declared.dtype) {
      return fail(fmt::format("'{}' has not the type of '{}'", buffer.name, declared.name));
    }
    if (buffer.size_elems < declared.size_elems) {
      return fail(fmt::format("'{}' is smaller than '{}'", buffer.name, declared.name));
    }
    (declared.written ? written : read).push_back(number);
  }
  CORF_RETURN_IF_ERROR(check_order(program, call.label, read, written, filled));
  return check_addresses(program, call);
}

Status check_routine(const Program& program, const RoutineCall& call, std::vector<bool>& filled) {
  std::vector<int> read, written;
  const auto check = [&](const std::vector<RoutineOperand>& operands,
                         std::vector<int>& numbers) -> Status {
    for (const RoutineOperand& o : operands) {
      const bool known = o.buffer >= 0 && o.buffer < static_cast<int>(program.buffers.size());
      Result<int64_t> size = checked_num_elems(o.shape);
      if (!known || !size.ok() || *size > program.buffers[o.buffer].size_elems) {
        return make_error(ErrorCode::kInternal,
                          "routine '{}': no such buffer, or it is smaller than the operand",
                          call.label);
      }
      numbers.push_back(o.buffer);
    }
    return {};
  };
  CORF_RETURN_IF_ERROR(check(call.inputs, read));
  CORF_RETURN_IF_ERROR(check(call.outputs, written));
  return check_order(program, call.label, read, written, filled);
}

}  // namespace

Status verify(const Program& program) {
  CORF_RETURN_IF_ERROR(check_buffers(program));
  std::set<std::string_view> names;
  for (const Kernel& kernel : program.kernels) {
    if (!names.insert(kernel.name).second) {
      return make_error(ErrorCode::kInternal, "two kernels are called '{}'", kernel.name);
    }
    CORF_RETURN_IF_ERROR(verify(kernel));
  }
  std::vector<bool> filled;
  for (const Buffer& b : program.buffers) {
    filled.push_back(b.kind == BufferKind::kInput || b.kind == BufferKind::kConstant);
  }
  for (const Step& step : program.steps) {
    if (const auto* call = std::get_if<KernelCall>(&step)) {
      CORF_RETURN_IF_ERROR(check_call(program, *call, filled));
    } else {
      CORF_RETURN_IF_ERROR(check_routine(program, std::get<RoutineCall>(step), filled));
    }
  }
  return {};
}

}  // namespace corf::loop
