#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace corf::loop {

/// The row-major matrix of so many columns, column by column.
std::vector<double> transposed(const std::vector<double>& matrix, int64_t columns);

/// A matrix as the product of two sparser ones: `results` (rows x terms) times `sums`
/// (terms x columns), row-major.
struct PairFactors {
  int64_t terms = 0;
  std::vector<double> results, sums;
};

/// Takes a matrix apart by its pairs of rows, or of columns, that differ in signs alone: two rows
/// are the sum and the difference of what they share and what they do not; of two columns the
/// results need the sum or the difference. Nothing if that saves no arithmetic. Sums begin with a
/// coefficient of one where that is exact in f32, so that each further term is one multiply-add.
/// Source: the usual evaluation of minimal filtering's transforms (Lavin and Gray, 2015, section
/// 4.3), found in the matrix instead of written down for each tile.
std::optional<PairFactors> factor_by_pairs(const std::vector<double>& matrix, int64_t columns);

}  // namespace corf::loop
