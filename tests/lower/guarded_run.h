#pragma once
#include <cstring>
#include <vector>

#include "driver/pipeline.h"
#include "fusion/prepare.h"
#include "rewrite/fold_empty_values.h"
#include "runtime/executable.h"
#include "tests/codegen/guarded_buffer.h"

namespace corf::test {

/// The graph as what runs, every stage verified.
inline Result<runtime::ExecutableSpec> compile(const graph::Graph& graph, Isa isa, int threads) {
  driver::Pipeline pipeline;
  pipeline.machine = detect_machine(threads, isa);
  CORF_ASSIGN(const graph::Graph folded, rewrite::fold_empty_values(graph));
  pipeline.graph = fusion::prepare(folded);
  driver::CompileOptions options;
  options.verify_each = true;
  CORF_RETURN_IF_ERROR(driver::plan_and_lower(pipeline, options, driver::Stage::kLlvm));
  return driver::generate(pipeline);
}

/// Copies of the inputs and room for the outputs, all ending at pages that fault.
class GuardedRun {
 public:
  GuardedRun(runtime::Executable& executable, const std::vector<Tensor>& inputs) {
    for (const Tensor& input : inputs) {
      buffers_.emplace_back(input.size_bytes());
      std::memcpy(buffers_.back().data(), input.bytes(), input.size_bytes());
      in_.push_back(buffers_.back().data());
    }
    for (const runtime::TensorInfo& info : executable.outputs()) {
      buffers_.emplace_back(num_elems(info.shape) * size_bytes(info.dtype));
      out_.push_back(buffers_.back().data());
      outputs_.emplace_back(info.dtype, info.shape, nullptr, buffers_.back().data());
    }
  }
  Status run(runtime::Executable& executable) {
    for (const Tensor& output : outputs_) {
      std::memset(const_cast<std::byte*>(output.bytes()), 0xFF, output.size_bytes());
    }
    return executable.run(in_, out_);
  }
  const std::vector<Tensor>& outputs() const { return outputs_; }

 private:
  std::vector<GuardedBuffer> buffers_;
  std::vector<const void*> in_;
  std::vector<void*> out_;
  std::vector<Tensor> outputs_;
};

}  // namespace corf::test
