#include <cstring>

#include "driver/pipeline.h"
#include "fusion/text.h"
#include "memory/assign.h"
#include "runtime/pages.h"
#include "runtime/share_constants.h"

namespace corf::driver {
namespace {

using loop::BufferKind;
using runtime::BufferPlace;

BufferPlace::Kind kind_of(BufferKind kind) {
  switch (kind) {
    case BufferKind::kInput:
      return BufferPlace::Kind::kInput;
    case BufferKind::kOutput:
      return BufferPlace::Kind::kOutput;
    case BufferKind::kConstant:
      return BufferPlace::Kind::kConstant;
    case BufferKind::kArena:
      break;
  }
  return BufferPlace::Kind::kArena;
}

runtime::RoutineStep routine_step(const loop::Program& program, const loop::RoutineCall& call) {
  runtime::RoutineStep step;
  step.routine = call.routine;
  step.attributes = call.attributes;
  step.label = call.label;
  auto bind = [&](const std::vector<loop::RoutineOperand>& from,
                  std::vector<runtime::RoutineTensor>& to) {
    for (const loop::RoutineOperand& operand : from) {
      to.push_back({operand.buffer, program.buffers[operand.buffer].dtype, operand.shape});
    }
  };
  bind(call.inputs, step.inputs);
  bind(call.outputs, step.outputs);
  return step;
}

runtime::KernelStep kernel_step(const loop::KernelCall& call, int num_params) {
  runtime::KernelStep step;
  step.entry = call.kernel;
  step.buffers = call.buffers;
  step.params = call.params;
  if (std::ssize(call.params) > num_params) step.params_step = num_params;
  step.partitions = call.partitions;
  step.label = call.label;
  step.work_flops = call.work_flops;
  step.executed_flops = call.executed_flops;
  step.compulsory_bytes = call.compulsory_bytes;
  return step;
}

runtime::TensorInfo describe(const graph::Graph& graph, graph::ValueId value, std::string name) {
  return {std::move(name), graph.values[value].dtype, graph.values[value].shape};
}

/// Where the program's buffers lie; the data of constants move into one block, but for those that
/// are held already.
Status place_buffers(loop::Program& program, const memory::MemoryPlan& memory,
                     runtime::ExecutableSpec& spec) {
  CORF_ASSIGN(runtime::Pages pages, runtime::map_pages(memory.constants_bytes));
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    loop::Buffer& buffer = program.buffers[i];
    BufferPlace place;
    place.kind = kind_of(buffer.kind);
    place.position = buffer.position;
    place.size_bytes = buffer.size_elems * size_bytes(buffer.dtype);
    place.offset_bytes = memory.offset_bytes[i];
    place.dtype = buffer.dtype;
    place.origin = std::move(buffer.origin);
    if (buffer.is_held) {
      spec.shared_constants.push_back(std::move(buffer.data));
      place.block = static_cast<int>(spec.shared_constants.size());
    } else if (buffer.kind == BufferKind::kConstant && place.size_bytes > 0) {
      std::memcpy(pages.data() + place.offset_bytes, buffer.data.bytes(), place.size_bytes);
      buffer.data = Tensor();  // its memory can be the next one's
    }
    spec.buffers.push_back(place);
  }
  pages.forbid_writes();
  auto owner = std::make_shared<runtime::Pages>(std::move(pages));
  std::byte* constants = owner->data();
  spec.constants = Tensor(DType::kU8, {memory.constants_bytes}, std::move(owner), constants);
  spec.constants_in_place = true;
  return {};
}

}  // namespace

Result<runtime::ExecutableSpec> make_spec(Pipeline pipeline, runtime::Image image,
                                          KnownShapes* known) {
  loop::Program& program = pipeline.program;
  const memory::MemoryPlan memory = memory::assign(program);
  runtime::ExecutableSpec spec;
  spec.image = std::move(image);
  spec.arena_bytes = memory.arena_bytes;
  spec.scratch_bytes = memory.scratch_bytes;
  if (const Budget* budget = Budget::current()) {
    budget->check_constant_bytes(memory.constants_bytes);
  }
  CORF_RETURN_IF_ERROR(place_buffers(program, memory, spec));
  runtime::share_constants(spec);
  if (known != nullptr) known->keep_constants(spec);
  for (const loop::Step& step : program.steps) {
    if (const auto* call = std::get_if<loop::KernelCall>(&step)) {
      spec.steps.push_back(kernel_step(*call, program.kernels[call->kernel].num_params));
    } else {
      spec.steps.push_back(routine_step(program, std::get<loop::RoutineCall>(step)));
    }
  }
  const graph::Graph& graph = pipeline.graph;
  for (graph::ValueId value : graph.inputs) {
    spec.inputs.push_back(describe(graph, value, graph.values[value].name));
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    spec.outputs.push_back(describe(graph, graph.outputs[i], graph.output_names[i]));
  }
  spec.plan_hash = fusion::plan_hash(graph, pipeline.plan);
  return spec;
}

}  // namespace corf::driver
