#include "loop/passes/factor_by_pairs.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace corf::loop {
namespace {

class Matrix {
 public:
  Matrix(int64_t rows, int64_t columns)
      : columns_(columns), values_(static_cast<size_t>(rows * columns), 0) {}
  Matrix(std::vector<double> values, int64_t columns)
      : columns_(columns), values_(std::move(values)) {}

  int64_t rows() const { return static_cast<int64_t>(values_.size()) / columns_; }
  int64_t columns() const { return columns_; }
  double& at(int64_t row, int64_t column) { return values_[index(row, column)]; }
  double at(int64_t row, int64_t column) const { return values_[index(row, column)]; }
  const std::vector<double>& values() const { return values_; }

  Matrix transposed() const { return {loop::transposed(values_, columns_), rows()}; }

 private:
  size_t index(int64_t row, int64_t column) const {
    return static_cast<size_t>(row * columns_ + column);
  }

  int64_t columns_;
  std::vector<double> values_;
};

/// How many entries of two rows are the same, and how many each other's negative; zeros are
/// neither.
struct Likeness {
  int64_t same = 0, opposite = 0;
};

std::optional<Likeness> likeness(const Matrix& matrix, int64_t row, int64_t other) {
  Likeness found;
  for (int64_t c = 0; c < matrix.columns(); ++c) {
    const double a = matrix.at(row, c), b = matrix.at(other, c);
    if (std::abs(a) != std::abs(b)) return std::nullopt;
    if (a != 0) ++(a == b ? found.same : found.opposite);
  }
  return found;
}

/// By row: the one that it pairs with, -1 if there is none. A pair saves what `saves` says.
template <typename Saves>
std::vector<int64_t> pairs_of_rows(const Matrix& matrix, const Saves& saves) {
  std::vector<int64_t> partner(static_cast<size_t>(matrix.rows()), -1);
  for (int64_t row = 0; row < matrix.rows(); ++row) {
    for (int64_t other = row + 1; other < matrix.rows() && partner[row] < 0; ++other) {
      if (partner[other] >= 0) continue;
      const auto found = likeness(matrix, row, other);
      if (!found || !saves(*found)) continue;
      partner[row] = other;
      partner[other] = row;
    }
  }
  return partner;
}

bool is_exact(double value) { return double(float(value)) == value; }

/// Divides row `term` of the sums by its first entry; the factor that makes up for it.
double begin_with_one(Matrix& sums, int64_t term) {
  double first = 0;
  for (int64_t c = 0; c < sums.columns() && first == 0; ++c) first = sums.at(term, c);
  for (int64_t c = 0; c < sums.columns(); ++c) {
    const double scaled = sums.at(term, c) / first;
    if (!is_exact(scaled) || scaled * first != sums.at(term, c)) return 1;
  }
  for (int64_t c = 0; c < sums.columns(); ++c) sums.at(term, c) /= first;
  return first;
}

bool has_pairs(const std::vector<int64_t>& partner) {
  return std::any_of(partner.begin(), partner.end(), [](int64_t other) { return other >= 0; });
}

PairFactors product(const Matrix& results, const Matrix& sums) {
  return {sums.rows(), results.values(), sums.values()};
}

/// Rows that are sums and differences of two sums.
std::optional<PairFactors> by_rows(const Matrix& matrix) {
  const std::vector<int64_t> partner = pairs_of_rows(matrix, [](const Likeness& found) {
    return found.same > 0 && found.opposite > 0 && found.same + found.opposite > 2;
  });
  if (!has_pairs(partner)) return std::nullopt;
  Matrix results(matrix.rows(), matrix.rows()), sums(matrix.rows(), matrix.columns());
  for (int64_t row = 0; row < matrix.rows(); ++row) {
    const int64_t other = partner[row];
    if (other < 0) {
      for (int64_t c = 0; c < matrix.columns(); ++c) sums.at(row, c) = matrix.at(row, c);
      results.at(row, row) = 1;
      continue;
    }
    if (other < row) continue;
    // The sum with the row's first entry comes first: its factor is the likelier to be one.
    int64_t c = 0;
    while (matrix.at(row, c) == 0) ++c;
    const bool first_is_same = matrix.at(row, c) == matrix.at(other, c);
    for (; c < matrix.columns(); ++c) {
      const bool same = matrix.at(row, c) == matrix.at(other, c);
      sums.at(same == first_is_same ? row : other, c) = matrix.at(row, c);
    }
    for (const int64_t term : {row, other}) {
      const double factor = begin_with_one(sums, term);
      const bool shared = (term == row) == first_is_same;
      results.at(row, term) = factor;
      results.at(other, term) = shared ? factor : -factor;
    }
  }
  return product(results, sums);
}

/// Columns of which the results need the sum or the difference.
std::optional<PairFactors> by_columns(const Matrix& matrix) {
  const Matrix columns = matrix.transposed();
  const std::vector<int64_t> partner = pairs_of_rows(columns, [](const Likeness& found) {
    const int64_t additions = (found.same > 0) + (found.opposite > 0);
    return found.same + found.opposite > additions;
  });
  if (!has_pairs(partner)) return std::nullopt;
  Matrix results(matrix.rows(), matrix.columns()), sums(matrix.columns(), matrix.columns());
  for (int64_t column = 0; column < matrix.columns(); ++column) {
    const int64_t other = partner[column];
    if (other >= 0 && other < column) continue;
    sums.at(column, column) = 1;
    if (other >= 0) {
      sums.at(column, other) = sums.at(other, column) = 1;
      sums.at(other, other) = -1;
    }
    for (int64_t row = 0; row < matrix.rows(); ++row) {
      const bool same = other < 0 || matrix.at(row, column) == matrix.at(row, other);
      results.at(row, same ? column : other) = matrix.at(row, column);
    }
  }
  return product(results, sums);
}

/// Operations to take the sums: each term but the first, and the first if it is scaled.
int64_t operations(const std::vector<double>& matrix, int64_t columns) {
  int64_t count = 0;
  for (size_t begin = 0; begin < matrix.size(); begin += static_cast<size_t>(columns)) {
    bool first = true;
    for (size_t i = begin; i < begin + static_cast<size_t>(columns); ++i) {
      if (matrix[i] == 0) continue;
      count += !first || std::abs(matrix[i]) != 1;
      first = false;
    }
  }
  return count;
}

}  // namespace

std::vector<double> transposed(const std::vector<double>& matrix, int64_t columns) {
  std::vector<double> result;
  for (int64_t column = 0; column < columns; ++column) {
    for (auto i = static_cast<size_t>(column); i < matrix.size();
         i += static_cast<size_t>(columns)) {
      result.push_back(matrix[i]);
    }
  }
  return result;
}

std::optional<PairFactors> factor_by_pairs(const std::vector<double>& matrix, int64_t columns) {
  std::optional<PairFactors> best;
  int64_t fewest = operations(matrix, columns);
  for (auto& candidate : {by_rows(Matrix(matrix, columns)), by_columns(Matrix(matrix, columns))}) {
    if (!candidate) continue;
    const int64_t count =
        operations(candidate->sums, columns) + operations(candidate->results, candidate->terms);
    if (count >= fewest) continue;
    fewest = count;
    best = candidate;
  }
  return best;
}

}  // namespace corf::loop
