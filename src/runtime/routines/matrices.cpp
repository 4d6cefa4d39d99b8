#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/routines/operands.h"

namespace corf::runtime {
namespace {

/// Brings a matrix of n rows to the identity by elimination with pivots from the largest of each
/// column, and does the same to `other` beside it (nullptr: nothing beside it, and the rows above
/// the pivot stay). Returns the determinant; 0 ends it early.
double eliminate(std::vector<double>& matrix, std::vector<double>* other, int64_t n) {
  double determinant = 1;
  const auto swap_rows = [n](std::vector<double>& m, int64_t a, int64_t b) {
    std::swap_ranges(m.begin() + a * n, m.begin() + (a + 1) * n, m.begin() + b * n);
  };
  const auto add_row = [n](std::vector<double>& m, int64_t from, int64_t to, double factor) {
    for (int64_t j = 0; j < n; ++j) m[to * n + j] += factor * m[from * n + j];
  };
  for (int64_t column = 0; column < n; ++column) {
    int64_t pivot = column;
    for (int64_t row = column + 1; row < n; ++row) {
      if (std::fabs(matrix[row * n + column]) > std::fabs(matrix[pivot * n + column])) pivot = row;
    }
    if (pivot != column) {
      swap_rows(matrix, pivot, column);
      if (other != nullptr) swap_rows(*other, pivot, column);
      determinant = -determinant;
    }
    const double head = matrix[column * n + column];
    determinant *= head;
    if (other == nullptr && head == 0) return 0;
    for (int64_t row = other == nullptr ? column + 1 : 0; row < n; ++row) {
      const double factor = -matrix[row * n + column] / head;
      if (row == column || factor == 0) continue;
      add_row(matrix, column, row, factor);
      if (other != nullptr) add_row(*other, column, row, factor);
    }
    if (other == nullptr) continue;
    for (int64_t j = 0; j < n; ++j) {
      matrix[column * n + j] /= head;
      (*other)[column * n + j] /= head;
    }
  }
  return determinant;
}

/// Calls `use(values, i)` with each of the matrices in doubles.
template <typename T, typename Use>
void for_each_matrix(const T* x, int64_t count, int64_t n, const Use& use) {
  std::vector<double> values(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(x + i * n * n, n * n, values.begin());
    use(values, i);
  }
}

/// Checks input x [..., n, n] of floats and the output of `expected` shape.
Status check_matrices(const RoutineCall& call, bool is_inverse) {
  CORF_RETURN_IF_ERROR(check_operand_counts(call, 1, 1, 1, 1));
  const RoutineOperand& x = call.inputs[0];
  if (x.dtype != DType::kF32 && x.dtype != DType::kF64) {
    return make_error(ErrorCode::kUnsupported, "x has element type {}", to_string(x.dtype));
  }
  const size_t rank = x.shape.size();
  if (rank < 2 || x.shape[rank - 1] != x.shape[rank - 2]) {
    return make_error(ErrorCode::kInvalidModel, "x {} holds no square matrices",
                      to_string(x.shape));
  }
  Shape expected = x.shape;
  if (!is_inverse) expected.resize(rank - 2);
  CORF_RETURN_IF_ERROR(check_shape(call.outputs[0], expected, "the output"));
  return check_dtype(call.outputs[0], x.dtype, "the output");
}

Result<PreparedRoutine> prepare_matrices(const RoutineCall& call, bool is_inverse) {
  CORF_RETURN_IF_ERROR(check_matrices(call, is_inverse));
  const Shape& shape = call.inputs[0].shape;
  const int64_t n = shape.back();
  const bool is_empty = num_elems(call.outputs[0].shape) == 0;
  const int64_t count = is_empty ? 0 : num_elems(Shape(shape.begin(), shape.end() - 2));
  return PreparedRoutine(
      [=, dtype = call.inputs[0].dtype](std::span<const void* const> inputs,
                                        std::span<void* const> outputs) -> Status {
        const auto run = [&]<typename T>(std::type_identity<T>) {
          auto* y = static_cast<T*>(outputs[0]);
          for_each_matrix(static_cast<const T*>(inputs[0]), count, n,
                          [&](std::vector<double>& matrix, int64_t i) {
                            if (!is_inverse) {
                              y[i] = static_cast<T>(eliminate(matrix, nullptr, n));
                              return;
                            }
                            std::vector<double> inverse(matrix.size(), 0);
                            for (int64_t d = 0; d < n; ++d) inverse[d * n + d] = 1;
                            eliminate(matrix, &inverse, n);
                            std::transform(inverse.begin(), inverse.end(), y + i * n * n,
                                           [](double value) { return static_cast<T>(value); });
                          });
        };
        dtype == DType::kF32 ? run(std::type_identity<float>()) : run(std::type_identity<double>());
        return {};
      });
}

}  // namespace

/// Input: x [..., n, n], f32 or f64. Output: the determinants [...], computed in f64.
Result<PreparedRoutine> prepare_det(RoutineCall call) { return prepare_matrices(call, false); }

/// Input: x [..., n, n], f32 or f64. Output: the inverse matrices, computed in f64; infinities and
/// NaN where there is none.
Result<PreparedRoutine> prepare_inverse(RoutineCall call) { return prepare_matrices(call, true); }

}  // namespace corf::runtime
