#include "lower/kernel_builder.h"

#include <cstring>

#include "fusion/matrix.h"
#include "loop/visit.h"
#include "support/assert.h"
#include "support/checked.h"

namespace corf::lower {
namespace {

/// Scratch is numbered from here on until the number of buffers is known.
constexpr int kFirstScratch = 1 << 20;

}  // namespace

int ProgramBuffers::of_root(int root_number) {
  auto [it, fresh] = roots_.try_emplace(root_number, -1);
  if (!fresh) return it->second;
  const fusion::Root& root = storage_.roots[root_number];
  loop::Buffer buffer;
  buffer.name = graph_.values[root.value].name;
  buffer.dtype = root.dtype;
  buffer.size_elems = root.size_elems;
  buffer.position = root.position;
  switch (root.kind) {
    case fusion::Root::Kind::kInput:
      buffer.kind = loop::BufferKind::kInput;
      break;
    case fusion::Root::Kind::kOutput:
      buffer.kind = loop::BufferKind::kOutput;
      break;
    case fusion::Root::Kind::kRing:
      CORF_ASSERT(false, "a ring is read by a kernel that does not hold it");
      break;
    case fusion::Root::Kind::kArena:
      buffer.kind = loop::BufferKind::kArena;
      break;
    case fusion::Root::Kind::kConstant:
      buffer.kind = loop::BufferKind::kConstant;
      set_data(buffer, constant(root_number), "as it is", [](const Tensor& data) { return data; });
      break;
  }
  return it->second = add(std::move(buffer));
}

const Tensor& ProgramBuffers::constant(int root) {
  const graph::ValueId value = storage_.roots[root].value;
  const Tensor& tensor = std::get<graph::Constant>(graph_.producer(value).op).tensor;
  const fusion::Storage& place = storage_.values[value];
  if (!place.has_margins()) return tensor;
  auto [it, fresh] = with_margins_.try_emplace(root);
  if (!fresh) return it->second;
  Tensor whole(tensor.dtype(), {storage_.roots[root].size_elems});
  const int64_t elem = size_bytes(tensor.dtype());
  for (int64_t number = 0; number < tensor.num_elems(); ++number) {
    int64_t rest = number, at = place.offset;
    for (size_t d = tensor.shape().size(); d-- > 0;) {
      at += rest % tensor.shape()[d] * place.strides[d];
      rest /= tensor.shape()[d];
    }
    std::memcpy(whole.bytes() + at * elem, tensor.bytes() + number * elem, elem);
  }
  return it->second = std::move(whole);
}

int ProgramBuffers::packed(int root, const std::string& order, const std::string& name,
                           const std::function<Tensor(const Tensor&)>& pack) {
  auto [it, fresh] = packed_.try_emplace({root, order}, -1);
  if (!fresh) return it->second;
  loop::Buffer buffer;
  buffer.name = name;
  buffer.kind = loop::BufferKind::kConstant;
  set_data(buffer, constant(root), order, pack);
  buffer.dtype = buffer.data.dtype();
  buffer.size_elems = buffer.data.num_elems();
  return it->second = add(std::move(buffer));
}

void ProgramBuffers::set_data(loop::Buffer& buffer, const Tensor& source, const std::string& order,
                              const std::function<Tensor(const Tensor&)>& pack) {
  if (known_ != nullptr && source.size_bytes() >= KnownConstants::kLeastBytes) {
    buffer.origin =
        std::string(to_string(source.dtype())) + " " + known_->identity_of(source) + " " + order;
    buffer.data = known_->find(buffer.origin);
    buffer.is_held = !buffer.data.empty();
  }
  if (!buffer.is_held) buffer.data = pack(source);
}

int ProgramBuffers::add(loop::Buffer buffer) {
  const int count = names_[buffer.name]++;
  if (count > 0) {
    buffer.name += "." + std::to_string(count);
    ++names_[buffer.name];
  }
  program_.buffers.push_back(std::move(buffer));
  return static_cast<int>(program_.buffers.size()) - 1;
}

KernelBuilder::KernelBuilder(ProgramBuffers& buffers, const fusion::StorageView& storage,
                             std::string name)
    : buffers_(buffers), storage_(storage) {
  kernel_.name = std::move(name);
  CORF_ASSERT(new_variable("part") == kPartition, "the partition is variable 0");
}

int KernelBuilder::new_variable(const std::string& name) {
  int count = names_[name]++;
  std::string unique = count == 0 ? name : name + "_" + std::to_string(count);
  while (count > 0 && names_.count(unique)) unique += "_";
  if (count > 0) names_[unique] = 1;
  kernel_.var_names.push_back(unique);
  return static_cast<int>(kernel_.var_names.size()) - 1;
}

int KernelBuilder::bind(int program_buffer, bool written) {
  auto [it, fresh] = bound_.try_emplace(program_buffer, -1);
  if (fresh) {
    const loop::Buffer& buffer = buffers_[program_buffer];
    it->second = static_cast<int>(kernel_.buffers.size());
    kernel_.buffers.push_back(
        {"b" + std::to_string(it->second), buffer.dtype, buffer.size_elems, false});
    call_.buffers.push_back(program_buffer);
  }
  kernel_.buffers[it->second].written |= written;
  return it->second;
}

KernelBuilder::Place KernelBuilder::place(int root, bool written) {
  if (auto it = rings_.find(root); it != rings_.end()) return it->second;
  return {bind(buffers_.of_root(root), written), index::Expr(0)};
}

void KernelBuilder::place_ring(int root, DType dtype, int64_t size_elems,
                               const index::Expr& shift) {
  rings_[root] = {new_scratch("ring", dtype, size_elems), shift};
}

void KernelBuilder::place_lines(int root, int64_t pitch, int64_t channels, int64_t num_lines,
                                bool in_blocks, const index::Expr& shift) {
  constexpr int64_t kCacheLineElems = 32;
  Lines lines{-1, pitch, channels};
  lines.part_step = in_blocks ? fusion::kMatrixChannels : channels;
  // Lines of a product spread over the cache's sets.
  lines.line_step = fusion::kParts * lines.part_step + (in_blocks ? 0 : kCacheLineElems);
  lines.block_step = in_blocks ? num_lines * lines.line_step : fusion::kMatrixChannels;
  const int64_t size = in_blocks ? ceil_div(channels, fusion::kMatrixChannels) * lines.block_step
                                 : num_lines * lines.line_step;
  lines.buffer = new_scratch("ring", DType::kBF16, size);
  lines_[root] = lines;
  rings_[root] = {lines.buffer, shift};
}

const KernelBuilder::Lines* KernelBuilder::lines_of(int root) const {
  const auto it = lines_.find(root);
  return it == lines_.end() ? nullptr : &it->second;
}

int KernelBuilder::new_scratch(const std::string& name, DType dtype, int64_t size_elems) {
  const auto number = static_cast<int>(kernel_.scratch.size());
  kernel_.scratch.push_back({name + std::to_string(number), dtype, size_elems});
  return kFirstScratch + number;
}

void KernelBuilder::resize_scratch(int scratch, int64_t size_elems) {
  kernel_.scratch[scratch - kFirstScratch].size_elems = size_elems;
}

void KernelBuilder::finish() {
  const auto first = static_cast<int>(kernel_.buffers.size());
  loop::KernelVisitor visitor;
  visitor.buffer = [&](int& buffer) {
    if (buffer >= kFirstScratch) buffer += first - kFirstScratch;
  };
  loop::visit(kernel_, visitor);
}

loop::For new_loop(int var, index::Expr lo, index::Expr hi) {
  loop::For loop;
  loop.var = var;
  loop.lo = std::move(lo);
  loop.hi = std::move(hi);
  return loop;
}

std::vector<loop::Stmt> inside(std::vector<loop::For> loops, std::vector<loop::Stmt> body) {
  for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop) {
    loop->body = std::move(body);
    body.clear();
    body.emplace_back(std::move(*loop));
  }
  return body;
}

}  // namespace corf::lower
