#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fusion/plan.h"
#include "loop/program.h"
#include "lower/known_constants.h"

namespace corf::lower {

/// The program's buffers, made as kernels ask for them.
class ProgramBuffers {
 public:
  /// `threads`: that may pack constants. `known`: null, or constants that need not be made.
  ProgramBuffers(const graph::Graph& graph, const fusion::StoragePlan& storage,
                 loop::Program& program, int threads, KnownConstants* known)
      : graph_(graph), storage_(storage), program_(program), threads_(threads), known_(known) {}

  /// The buffer of a storage root.
  int of_root(int root);
  /// What the storage of a constant holds, margins included.
  const Tensor& constant(int root);
  /// A constant whose data `pack` makes of those of the constant `root`, in the order that `order`
  /// stands for: the same root in the same order is the same constant.
  int packed(int root, const std::string& order, const std::string& name,
             const std::function<Tensor(const Tensor&)>& pack);
  const graph::Graph& graph() const { return graph_; }
  int threads() const { return threads_; }
  const loop::Buffer& operator[](int buffer) const { return program_.buffers[buffer]; }

 private:
  int add(loop::Buffer buffer);
  /// Fills a constant made of `source`, or finds one that is there.
  void set_data(loop::Buffer& buffer, const Tensor& source, const std::string& order,
                const std::function<Tensor(const Tensor&)>& pack);

  const graph::Graph& graph_;
  const fusion::StoragePlan& storage_;
  loop::Program& program_;
  const int threads_;
  KnownConstants* const known_;

  std::map<int, int> roots_;
  std::map<int, Tensor> with_margins_;
  std::map<std::pair<int, std::string>, int> packed_;
  std::map<std::string, int> names_;
};

/// One kernel under construction and the call that binds it.
class KernelBuilder {
 public:
  /// `storage`: as the kernel's group sees it.
  KernelBuilder(ProgramBuffers& buffers, const fusion::StorageView& storage, std::string name);

  static constexpr int kPartition = 0;
  int new_variable(const std::string& name);
  loop::Register new_register() { return next_register_++; }
  /// The kernel's number for a program buffer.
  int bind(int program_buffer, bool written);

  /// Where the elements of a storage root lie for this kernel: at their addresses less `shift`.
  struct Place {
    int buffer = 0;
    index::Expr shift;
  };
  Place place(int root, bool written);
  /// Puts a ring into scratch memory; `shift` is the address of what lies at its front.
  void place_ring(int root, DType dtype, int64_t size_elems, const index::Expr& shift);
  /// The same for a ring that only the matrix unit reads, line by line: in parts of bfloat16
  /// (fusion/matrix.h), element i of the ring in line i / pitch.
  struct Lines {
    int buffer = -1;
    int64_t pitch = 1, channels = 0;
    /// Elements between the parts of a line, between lines, between blocks of kMatrixChannels.
    int64_t part_step = 0, line_step = 0, block_step = 0;
  };
  /// `in_blocks`: whoever makes it writes no more than a block of channels at a time, so that
  /// blocks can lie apart and the lines of one close together.
  void place_lines(int root, int64_t pitch, int64_t channels, int64_t num_lines, bool in_blocks,
                   const index::Expr& shift);
  const Lines* lines_of(int root) const;
  /// Memory of the worker's own.
  int new_scratch(const std::string& name, DType dtype, int64_t size_elems);
  void resize_scratch(int scratch, int64_t size_elems);
  /// To be called once, when everything is bound: numbers the scratch behind the buffers.
  void finish();

  ProgramBuffers& buffers() { return buffers_; }
  const fusion::StorageView& storage() const { return storage_; }
  loop::Kernel& kernel() { return kernel_; }
  loop::KernelCall& call() { return call_; }

 private:
  ProgramBuffers& buffers_;
  const fusion::StorageView storage_;
  loop::Kernel kernel_;
  loop::KernelCall call_;
  std::map<int, int> bound_;
  std::map<int, Place> rings_;  // by root
  std::map<int, Lines> lines_;  // by root
  std::map<std::string, int> names_;
  loop::Register next_register_ = 0;
};

/// A loop without a body, in steps of one.
loop::For new_loop(int var, index::Expr lo, index::Expr hi);

/// The body inside of all the loops, the outermost first.
std::vector<loop::Stmt> inside(std::vector<loop::For> loops, std::vector<loop::Stmt> body);

}  // namespace corf::lower
