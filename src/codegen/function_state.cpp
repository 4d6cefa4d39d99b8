#include "codegen/function_state.h"

#include <algorithm>
#include <llvm/IR/Constants.h>
#include <llvm/IR/MDBuilder.h>

#include "codegen/value_types.h"
#include "support/checked.h"

namespace corf::codegen {

using llvm::BasicBlock;
using llvm::Type;
using llvm::Value;

bool MatrixLoad::operator==(const MatrixLoad& other) const {
  return buffer == other.buffer && offset.coefficients == other.offset.coefficients &&
         offset.constant == other.offset.constant &&
         index::structurally_equal(offset.rest, other.offset.rest) && row_step == other.row_step &&
         lane_step == other.lane_step && pair_step == other.pair_step;
}

FunctionState::FunctionState(llvm::Module& module, const loop::Kernel& kernel, const IsaTraits& isa,
                             const std::string& symbol)
    : kernel(kernel),
      isa(isa),
      module(module),
      builder(module.getContext()),
      index(builder, static_cast<int>(kernel.var_names.size())) {
  Type* pointer = builder.getPtrTy();
  Type* i64 = builder.getInt64Ty();
  auto* type = llvm::FunctionType::get(builder.getVoidTy(),
                                       {pointer, pointer, pointer, i64, pointer}, false);
  function_ = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, symbol, module);
  for (unsigned i : {0u, 1u, 2u}) {
    function_->addParamAttr(i, llvm::Attribute::NoUndef);
    function_->addParamAttr(i, llvm::Attribute::ReadOnly);
  }
  BasicBlock* prologue = BasicBlock::Create(context(), "entry", function_);
  BasicBlock* main = BasicBlock::Create(context(), "main", function_);
  builder.SetInsertPoint(prologue);
  llvm::Instruction* prologue_end = builder.CreateBr(main);
  index.open_scope(prologue_end);
  builder.SetInsertPoint(prologue_end);
  bind_arguments();
  make_alias_scopes();
  builder.SetInsertPoint(main);
}

void FunctionState::finish() {
  builder.CreateRetVoid();
  index.close_scope();
}

void FunctionState::bind_arguments() {
  llvm::MDNode* empty = llvm::MDNode::get(context(), {});
  auto load_argument = [&](Type* type, Value* array, int64_t number) {
    Value* address = builder.CreateConstGEP1_64(type, array, number);
    auto* load = builder.CreateAlignedLoad(type, address, llvm::Align(8));
    load->setMetadata(llvm::LLVMContext::MD_invariant_load, empty);
    return load;
  };
  routines_ = function_->getArg(0);
  index.bind(0, function_->getArg(3), 0, {0, INT64_MAX});
  for (int i = 0; i < kernel.num_params; ++i) {
    Value* param = load_argument(builder.getInt64Ty(), function_->getArg(2), i);
    param->setName(kernel.var_names[1 + i]);
    index.bind(1 + i, param, 0);
  }
  for (size_t i = 0; i < kernel.buffers.size(); ++i) {
    Value* pointer =
        load_argument(builder.getPtrTy(), function_->getArg(1), static_cast<int64_t>(i));
    pointer->setName(kernel.buffers[i].name);
    buffers_.push_back(pointer);
  }
  int64_t offset_bytes = 0;
  for (const loop::Scratch& scratch : kernel.scratch) {
    buffers_.push_back(
        builder.CreateConstGEP1_64(builder.getInt8Ty(), function_->getArg(4), offset_bytes));
    offset_bytes = round_up(offset_bytes + scratch.size_elems * size_bytes(scratch.dtype), 64);
  }
}

void FunctionState::make_alias_scopes() {
  llvm::MDBuilder metadata(context());
  llvm::MDNode* domain = metadata.createAnonymousAliasScopeDomain(kernel.name);
  std::vector<llvm::Metadata*> scopes;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    scopes.push_back(metadata.createAnonymousAliasScope(domain));
  }
  for (size_t i = 0; i < buffers_.size(); ++i) {
    scope_lists_.push_back(llvm::MDNode::get(context(), {scopes[i]}));
    std::vector<llvm::Metadata*> others = scopes;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    noalias_lists_.push_back(llvm::MDNode::get(context(), others));
  }
}

void FunctionState::annotate(llvm::Instruction* access, int buffer) {
  access->setMetadata(llvm::LLVMContext::MD_alias_scope, scope_lists_[buffer]);
  access->setMetadata(llvm::LLVMContext::MD_noalias, noalias_lists_[buffer]);
  const bool is_written = buffer >= static_cast<int>(kernel.buffers.size()) ||
                          kernel.buffers[static_cast<size_t>(buffer)].written;
  if (!is_written && llvm::isa<llvm::LoadInst>(access)) {
    access->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(context(), {}));
  }
}

llvm::Constant* FunctionState::padding_vector(DType dtype, llvm::Constant* padding) {
  auto [entry, inserted] = padding_vectors_.try_emplace({dtype, padding}, nullptr);
  if (inserted) {
    auto* data = llvm::ConstantDataVector::getSplat(64, padding);
    auto* global = new llvm::GlobalVariable(module, data->getType(), true,
                                            llvm::GlobalValue::PrivateLinkage, data, "padding");
    global->setAlignment(llvm::Align(64));
    entry->second = global;
  }
  return entry->second;
}

Values FunctionState::emit_loop(int var, const Expr& lo, const Expr& hi, int64_t step, int copies,
                                Values carried, const std::function<Values(Values)>& body) {
  const Interval lo_range = index.range(lo), hi_range = index.range(hi);
  const Interval range{lo_range.lo, hi_range.hi == INT64_MIN ? hi_range.hi : hi_range.hi - 1};
  auto bind_and_run = [&](Value* value, int64_t add) {
    index.bind(var, value, add, value ? range : Interval{add, add});
    carried = body(std::move(carried));
  };
  if (lo.is_constant() && hi.is_constant()) {
    const int64_t first = lo.constant();
    const int64_t trips = hi.constant() <= first ? 0 : ceil_div(hi.constant() - first, step);
    if (trips <= std::max(copies, 1)) {
      for (int64_t i = 0; i < trips; ++i) bind_and_run(nullptr, first + i * step);
      return carried;
    }
    const int64_t main_trips = trips / copies * copies;
    carried =
        emit_counted(var, builder.getInt64(first), builder.getInt64(first + main_trips * step),
                     true, step, copies, range, std::move(carried), body);
    for (int64_t i = main_trips; i < trips; ++i) bind_and_run(nullptr, first + i * step);
    return carried;
  }
  Value* first = index.emit(lo);
  Value* last = index.emit(hi);
  const bool runs = lo_range.hi < hi_range.lo;
  if (copies <= 1) {
    return emit_counted(var, first, last, runs, step, 1, range, std::move(carried), body);
  }
  // As many iterations as fill the copies, then one by one.
  Value* distance = builder.CreateNSWSub(last, first);
  distance = builder.CreateBinaryIntrinsic(llvm::Intrinsic::smax, distance, builder.getInt64(0));
  Value* trips = builder.CreateUDiv(builder.CreateNSWAdd(distance, builder.getInt64(step - 1)),
                                    builder.getInt64(step));
  Value* rounds = builder.CreateUDiv(trips, builder.getInt64(copies));
  Value* split =
      builder.CreateNSWAdd(first, builder.CreateNSWMul(rounds, builder.getInt64(copies * step)));
  carried = emit_counted(var, first, split, false, step, copies, range, std::move(carried), body);
  return emit_counted(var, split, last, false, step, 1, range, std::move(carried), body);
}

Values FunctionState::emit_counted(int var, Value* lo, Value* hi, bool runs_once_at_least,
                                   int64_t step, int copies, Interval range, Values carried,
                                   const std::function<Values(Values)>& body) {
  const std::string& name = kernel.var_names[static_cast<size_t>(var)];
  auto block = [&](const char* suffix) {
    return BasicBlock::Create(context(), name + suffix, function_);
  };
  BasicBlock* before = builder.GetInsertBlock();
  BasicBlock* preheader = block(".preheader");
  BasicBlock* header = block(".loop");
  BasicBlock* main = block(".body");
  BasicBlock* exit = block(".exit");
  if (runs_once_at_least) {
    builder.CreateBr(preheader);
  } else {
    builder.CreateCondBr(builder.CreateICmpSLT(lo, hi), preheader, exit);
  }
  builder.SetInsertPoint(preheader);
  builder.CreateBr(header);

  builder.SetInsertPoint(header);
  llvm::PHINode* counter = builder.CreatePHI(builder.getInt64Ty(), 2, name);
  counter->addIncoming(lo, preheader);
  std::vector<llvm::PHINode*> phis;
  for (Value* value : carried) {
    phis.push_back(builder.CreatePHI(value->getType(), 2));
    phis.back()->addIncoming(value, preheader);
  }
  llvm::Instruction* prologue_end = builder.CreateBr(main);
  index.open_scope(prologue_end);
  builder.SetInsertPoint(main);

  Values values(phis.begin(), phis.end());
  for (int copy = 0; copy < copies; ++copy) {
    index.bind(var, counter, copy * step, range);
    values = body(std::move(values));
  }
  Value* next = builder.CreateNSWAdd(counter, builder.getInt64(step * copies));
  BasicBlock* latch = builder.GetInsertBlock();
  builder.CreateCondBr(builder.CreateICmpSLT(next, hi), header, exit);
  counter->addIncoming(next, latch);
  for (size_t i = 0; i < phis.size(); ++i) phis[i]->addIncoming(values[i], latch);
  index.close_scope();

  builder.SetInsertPoint(exit);
  if (runs_once_at_least) return values;
  for (size_t i = 0; i < values.size(); ++i) {
    llvm::PHINode* merged = builder.CreatePHI(values[i]->getType(), 2);
    merged->addIncoming(carried[i], before);
    merged->addIncoming(values[i], latch);
    values[i] = merged;
  }
  return values;
}

}  // namespace corf::codegen
