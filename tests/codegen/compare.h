#pragma once
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

#include "codegen/emit.h"
#include "loop/interpret.h"
#include "loop/text.h"
#include "runtime/image.h"
#include "runtime/math_routines.h"
#include "support/checked.h"
#include "tests/codegen/guarded_buffer.h"

namespace corf::codegen {

/// A kernel with what it is called with. Buffers that the kernel does not write take `inputs` in
/// order; the others start as NaN.
struct KernelRun {
  loop::Kernel kernel;
  std::vector<Tensor> inputs;
  std::vector<int64_t> params;
  int64_t partitions = 1;
};

inline std::vector<Isa> isas_to_test() {
  std::vector<Isa> isas;
  for (Isa isa : kIsas) {
    if (has_isa(isa)) {
      isas.push_back(isa);
    } else {
      std::printf("this machine lacks %s: not tested\n", std::string(to_string(isa)).c_str());
    }
  }
  return isas;
}

inline loop::Kernel parse(const std::string& text) {
  auto kernel = loop::parse_kernel(text);
  EXPECT_TRUE(kernel.ok()) << kernel.error().message << "\n" << text;
  return kernel.ok() ? kernel.take() : loop::Kernel{};
}

/// Small integers, for which sums and products of floats are exact.
inline Tensor small_integers(DType dtype, int64_t size_elems, uint32_t seed, int magnitude = 2) {
  std::mt19937 random(seed);
  Tensor tensor(dtype, {size_elems});
  for (int64_t i = 0; i < size_elems; ++i) {
    const auto value = static_cast<int64_t>(random() % (2 * magnitude + 1)) - magnitude;
    if (is_float(dtype)) {
      tensor.set_f64(i, static_cast<double>(value));
    } else {
      tensor.set_i64(i, dtype == DType::kBool ? value & 1 : value);
    }
  }
  return tensor;
}

inline std::shared_ptr<runtime::LoadedImage> generate(const loop::Kernel& kernel, Isa isa) {
  EmitOptions options;
  options.isa = isa;
  auto image = emit({kernel}, options);
  EXPECT_TRUE(image.ok()) << image.error().message << loop::to_string(kernel);
  if (!image) return nullptr;
  auto loaded = runtime::load_image(*image);
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  return loaded.ok() ? *loaded : nullptr;
}

/// The written buffers after the kernel's code ran on memory between guard pages.
inline std::vector<Tensor> run_generated(const KernelRun& run, const runtime::LoadedImage& image,
                                         GuardedBuffer::Side side) {
  std::vector<GuardedBuffer> memory;
  std::vector<void*> pointers;
  size_t next_input = 0;
  for (const loop::KernelBuffer& buffer : run.kernel.buffers) {
    memory.emplace_back(static_cast<size_t>(buffer.size_elems * size_bytes(buffer.dtype)), side);
    pointers.push_back(memory.back().data());
    if (!buffer.written) {
      const Tensor& input = run.inputs.at(next_input++);
      std::memcpy(memory.back().data(), input.bytes(), memory.back().size_bytes());
    }
  }
  int64_t scratch_bytes = 0;
  for (const loop::Scratch& scratch : run.kernel.scratch) {
    scratch_bytes = round_up(scratch_bytes + scratch.size_elems * size_bytes(scratch.dtype), 64);
  }
  // Room to put the first scratch buffer at a multiple of 64 bytes with its end at the guard.
  GuardedBuffer scratch(static_cast<size_t>(scratch_bytes), GuardedBuffer::Side::kEnd);
  for (int64_t partition = 0; partition < run.partitions; ++partition) {
    if (scratch_bytes > 0) std::memset(scratch.data(), 0xFF, scratch.size_bytes());
    image.kernels()[0](&runtime::kernel_context(), pointers.data(), run.params.data(), partition,
                       scratch.data());
  }
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < memory.size(); ++i) {
    const loop::KernelBuffer& buffer = run.kernel.buffers[i];
    if (!buffer.written) continue;
    Tensor output(buffer.dtype, {buffer.size_elems});
    std::memcpy(output.bytes(), memory[i].data(), memory[i].size_bytes());
    outputs.push_back(std::move(output));
  }
  return outputs;
}

inline std::vector<Tensor> run_interpreted(const KernelRun& run) {
  loop::Program program;
  loop::KernelCall call;
  int inputs = 0, outputs = 0;
  for (const loop::KernelBuffer& buffer : run.kernel.buffers) {
    loop::Buffer bound{buffer.name, buffer.dtype, buffer.size_elems};
    bound.kind = buffer.written ? loop::BufferKind::kOutput : loop::BufferKind::kInput;
    bound.position = buffer.written ? outputs++ : inputs++;
    call.buffers.push_back(static_cast<int>(program.buffers.size()));
    program.buffers.push_back(std::move(bound));
  }
  call.params = run.params;
  call.partitions = run.partitions;
  program.kernels.push_back(run.kernel);
  program.steps.push_back(call);
  auto result = loop::interpret(program, run.inputs);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return result.ok() ? result.take() : std::vector<Tensor>{};
}

/// Equal values; -0 equals 0 and any NaN equals any other. Elements that the interpreter left
/// alone are not compared.
inline void expect_equal(const Tensor& expected, const Tensor& actual, const std::string& what) {
  ASSERT_EQ(expected.num_elems(), actual.num_elems());
  for (int64_t i = 0; i < expected.num_elems(); ++i) {
    if (is_float(expected.dtype())) {
      const double e = expected.at_f64(i), a = actual.at_f64(i);
      ASSERT_TRUE(e == a || (std::isnan(e) && std::isnan(a)))
          << what << " element " << i << ": " << a << ", expected " << e;
    } else {
      ASSERT_EQ(expected.at_i64(i), actual.at_i64(i)) << what << " element " << i;
    }
  }
}

/// Runs the kernel's code on every ISA of the machine, with memory that ends and memory that
/// begins at a guard page, and compares with the interpreter.
inline void expect_as_interpreted(const KernelRun& run) {
  const std::vector<Tensor> expected = run_interpreted(run);
  ASSERT_FALSE(expected.empty());
  for (Isa isa : isas_to_test()) {
    const auto image = generate(run.kernel, isa);
    ASSERT_TRUE(image);
    for (auto side : {GuardedBuffer::Side::kEnd, GuardedBuffer::Side::kBegin}) {
      const std::vector<Tensor> actual = run_generated(run, *image, side);
      ASSERT_EQ(expected.size(), actual.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        expect_equal(expected[i], actual[i],
                     run.kernel.name + " on " + std::string(to_string(isa)));
        if (testing::Test::HasFatalFailure()) {
          std::printf("%s\n", loop::to_string(run.kernel).c_str());
          return;
        }
      }
    }
  }
}

}  // namespace corf::codegen
