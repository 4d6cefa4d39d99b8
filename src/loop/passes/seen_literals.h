#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "loop/passes/lift_literals.h"

namespace corf::loop {

/// Of a literal: one for each partition, or a single one that is the same in all.
using Row = std::vector<int64_t>;
using Values = std::vector<Row>;  // of a kernel's literals

/// What the literals were of kernels, of all programs, that are equal but for the extents of their
/// tiles.
class Literals {
 public:
  void add(const Values& values);
  /// The last ones of one literal.
  Values of(size_t literal) const;
  /// Whether it has differed.
  bool vary(size_t literal) const;

 private:
  std::vector<Values> seen_;  // no two equal
};

/// What literals the kernels of the programs so far have had.
class SeenLiterals {
 public:
  /// With those as parameters that have differed, in kernels of the same nodes. `nodes`: their
  /// names. `lanes`: of a vector that may be masked; 0: none may.
  Lifted lift(const Kernel& kernel, const std::string& nodes, int64_t lanes);

  /// Of kernels that are equal to this one but for the extents of their tiles.
  const Literals* add(const Kernel& lifted, const Values& values);

  void forget_where_many();

 private:
  struct Dear {
    std::vector<int64_t> first;
    DearLiterals literals;
  };
  std::unordered_map<std::string, Dear> dear_;
  std::unordered_map<std::string, Literals> literals_;
};

/// Leaves the last ones of a list that has become too long.
template <typename T>
void drop_first(std::vector<T>& list, size_t most) {
  if (list.size() > most) list.erase(list.begin(), list.end() - std::ssize(list) / 2);
}

}  // namespace corf::loop
