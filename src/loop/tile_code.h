#pragma once
#include <memory>
#include <variant>
#include <vector>

#include "loop/address.h"
#include "loop/program.h"

/// A kernel prepared for the interpreter: expressions in linear form, and for each statement the
/// tables that tell which element of each register belongs to which point of its box.
namespace corf::loop {

/// For each point of a statement's box, the number of the register's element.
struct RegisterUse {
  Register reg = -1;
  DType dtype = DType::kF32;
  std::vector<int32_t> elements;
};

struct GuardCode {
  Address expr;
  int64_t lo = 0, hi = 0;
};
/// Where a load or store goes, for all points of its box.
struct AccessCode {
  int buffer = 0;
  Address offset;
  std::vector<GuardCode> guards;
};

struct ConstantCode {
  double f64 = 0;
  int64_t i64 = 0;
};
struct TableCode {
  const std::vector<double>* values = nullptr;
};
struct LoadCode {
  AccessCode access;
  double padding = 0;
};
struct IndexCode {
  Address expr;
};
struct ApplyCode {
  graph::ScalarOp op = graph::ScalarOp::kAdd;
  std::vector<RegisterUse> args;
};
struct ReduceCode {
  Reduction reduction = Reduction::kSum;
  RegisterUse arg;
  std::vector<uint8_t> starts;  // whether the point is the first of its sum
};
/// Also TileAccumulator and TileAssign, which copy one argument.
struct CopyCode {
  RegisterUse arg;
};
struct UpdateCode {
  Reduction reduction = Reduction::kSum;
  RegisterUse a, b;  // b.reg < 0: none
  bool a_is_table = false, b_is_table = false;
};
struct StoreCode {
  AccessCode access;
  RegisterUse value;
};
struct BindCode {
  int var = 0;
  Register reg = 0;
  bool varies = false;
};
struct LoopCode;
struct TileStmtCode {
  const TileStmt* source = nullptr;
  AxisSet box = 0;
  int64_t points = 1;
  RegisterUse target;  // where the statement has one
  std::variant<ConstantCode, TableCode, LoadCode, IndexCode, ApplyCode, ReduceCode, CopyCode,
               UpdateCode, StoreCode, BindCode, std::unique_ptr<LoopCode>>
      code;
};
struct LoopCode {
  int var = 0;
  Address lo, hi;
  int64_t step = 1;
  std::vector<TileStmtCode> body;
};
struct BoundVariable {
  int var = 0;
  Register reg = 0;
  AxisSet axes = 0;
};
struct TileCode {
  TileInfo info;
  std::vector<BoundVariable> bound;  // those that vary over axes
  std::vector<TileStmtCode> body;
};

struct ForCode;
using StmtCode = std::variant<std::unique_ptr<ForCode>, std::unique_ptr<TileCode>>;
struct ForCode {
  int var = 0;
  Address lo, hi;
  int64_t step = 1;
  std::vector<StmtCode> body;
};
struct KernelCode {
  const Kernel* kernel = nullptr;
  std::vector<StmtCode> body;
};

/// The kernel must have passed verify and outlive the result.
KernelCode prepare(const Kernel& kernel);

}  // namespace corf::loop
