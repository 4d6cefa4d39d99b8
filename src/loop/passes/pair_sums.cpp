#include "loop/passes/pair_sums.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "loop/passes/factor_by_pairs.h"
#include "loop/visit.h"

namespace corf::loop {
namespace {

/// What of a tile decides about its sums.
struct Registers {
  std::map<Register, const TileTable*> tables;
  std::map<Register, double> constants;
  std::map<Register, int> uses;
  Register next = 0;
};

Registers registers_of(Tile& tile) {
  Registers found;
  for (const TileStmt& stmt : tile.body) {
    const auto* let = std::get_if<TileLet>(&stmt);
    if (!let) continue;
    if (const auto* table = std::get_if<TileTable>(&let->value)) found.tables[let->reg] = table;
    if (const auto* number = std::get_if<TileConstant>(&let->value)) {
      found.constants[let->reg] = number->f64;
    }
  }
  KernelVisitor visitor;
  visitor.reg = [&](Register& reg) {
    ++found.uses[reg];
    found.next = std::max(found.next, reg + 1);
  };
  visit(tile.body, visitor);
  return found;
}

/// The table of a sum that can be taken apart.
struct ScaledSum {
  Register table = -1;
  int made = -1;  // axis of the results
  PairFactors factors;
};

std::optional<ScaledSum> find_sum(const TileStmt& before, const TileStmt& stmt,
                                  const Registers& registers) {
  const auto* accumulator = std::get_if<TileAccumulator>(&before);
  const auto* update = std::get_if<TileUpdate>(&stmt);
  if (!accumulator || !update || update->acc != accumulator->reg) return std::nullopt;
  if (update->reduction != Reduction::kSum || update->over.size() != 1) return std::nullopt;
  const auto init = registers.constants.find(accumulator->init);
  if (init == registers.constants.end() || init->second != 0 || !std::signbit(init->second)) {
    return std::nullopt;
  }
  const auto found = registers.tables.find(update->b);
  if (found == registers.tables.end() || found->second->axes.size() != 2) return std::nullopt;
  const TileTable& table = *found->second;
  const bool summed_first = table.axes[0] == update->over[0];
  if (!summed_first && table.axes[1] != update->over[0]) return std::nullopt;
  const int made = table.axes[summed_first ? 1 : 0];
  const auto& axes = accumulator->axes;
  if (std::find(axes.begin(), axes.end(), made) == axes.end()) return std::nullopt;
  return ScaledSum{found->first, made, {}};
}

class PairSums {
 public:
  explicit PairSums(Kernel& kernel) : kernel_(kernel) {}

  void run() {
    KernelVisitor visitor;
    visitor.enter_tile = [this](Tile& tile) { take_apart(tile); };
    visit(kernel_, visitor);
  }

 private:
  static int64_t extent_of(const Tile& tile, int axis) {
    for (const TileAxis& candidate : tile.axes) {
      if (candidate.var == axis) return candidate.extent;
    }
    return 1;
  }

  std::optional<ScaledSum> sum_at(const Tile& tile, size_t position, const Registers& registers) {
    if (position == 0) return std::nullopt;
    auto sum = find_sum(tile.body[position - 1], tile.body[position], registers);
    if (!sum) return std::nullopt;
    const TileTable& table = *registers.tables.at(sum->table);
    const int64_t results = extent_of(tile, sum->made);
    const int64_t terms = static_cast<int64_t>(table.values.size()) / results;
    // The table's matrix, a row for each result.
    const auto factors = factor_by_pairs(
        table.axes[0] == sum->made ? table.values : transposed(table.values, results), terms);
    if (!factors) return std::nullopt;
    sum->factors = *factors;
    return sum;
  }

  void take_apart(Tile& tile) {
    if (tile.body.empty()) return;
    Registers registers = registers_of(tile);
    if (registers.tables.empty()) return;
    std::map<size_t, ScaledSum> sums;  // by the update's position
    for (size_t i = 0; i < tile.body.size(); ++i) {
      auto sum = sum_at(tile, i, registers);
      if (!sum) continue;
      --registers.uses[sum->table];
      sums.emplace(i, std::move(*sum));
    }
    if (sums.empty()) return;
    std::vector<TileStmt> body;
    for (size_t i = 0; i < tile.body.size(); ++i) {
      const auto* let = std::get_if<TileLet>(&tile.body[i]);
      if (let && registers.tables.count(let->reg) && registers.uses[let->reg] == 1) continue;
      const auto sum = sums.find(i);
      if (sum == sums.end()) {
        body.push_back(tile.body[i]);
        continue;
      }
      const auto accumulator = std::get<TileAccumulator>(body.back());
      body.pop_back();
      const auto& update = std::get<TileUpdate>(tile.body[i]);
      append(tile, sum->second, accumulator, update, registers.next, body);
    }
    tile.body = std::move(body);
  }

  /// Sums over an axis of pairs, then results out of these.
  void append(Tile& tile, const ScaledSum& sum, const TileAccumulator& accumulator,
              const TileUpdate& update, Register& next, std::vector<TileStmt>& body) {
    const int summed = update.over[0];
    const int pair = add_variable(kernel_, "pair_t");
    tile.axes.push_back({pair, sum.factors.terms, false});
    TileAccumulator shared = accumulator;
    shared.reg = next++;
    std::replace(shared.axes.begin(), shared.axes.end(), sum.made, pair);
    const auto table = [&](std::vector<int> axes, std::vector<double> values) {
      body.push_back(
          TileLet{next, accumulator.dtype, TileTable{std::move(axes), std::move(values)}});
      return next++;
    };
    const int64_t terms = extent_of(tile, summed);
    const Register of_terms = table({summed, pair}, transposed(sum.factors.sums, terms));
    body.push_back(shared);
    body.push_back(TileUpdate{shared.reg, Reduction::kSum, update.a, of_terms, {summed}});
    const Register of_pairs = table({sum.made, pair}, sum.factors.results);
    body.push_back(accumulator);
    body.push_back(TileUpdate{accumulator.reg, Reduction::kSum, shared.reg, of_pairs, {pair}});
  }

  Kernel& kernel_;
};

}  // namespace

Program pair_sums(Program program) {
  for (Kernel& kernel : program.kernels) PairSums(kernel).run();
  return program;
}

}  // namespace corf::loop
