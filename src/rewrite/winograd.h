#pragma once
#include <compare>
#include <functional>
#include <optional>

#include "graph/graph.h"
#include "support/result.h"

namespace corf::rewrite {

/// What the output tile is chosen by: a dense 3x3 convolution of stride 1, or one of
/// a volume, whose window is 3x3 in each of its planes.
struct WinogradShape {
  int64_t batch = 1;  // images; of volumes, planes of all results
  int64_t channels = 1, outputs = 1;
  int64_t height = 1, width = 1;  // of the result
  int64_t planes = 1;             // of the window
  auto operator<=>(const WinogradShape&) const = default;
};

struct WinogradOptions {
  /// Rows and columns of a tile of the result, m in F(m x m, 3x3): 2, 4 or 6; 0 leaves the
  /// convolution as it is.
  std::function<int(const WinogradShape&)> output_tile = [](const auto&) { return 4; };
  /// Not where the graph is only looked at: zeros then.
  bool transforms_weights = true;
  int threads = 1;  // that may transform weights
};

/// A graph with one such convolution, its weights zeros, between two activations, so that the
/// layout of what it reads and makes is free.
graph::Graph lone_convolution(const WinogradShape& shape);

/// The matrices of F(m, 3) over the points 0, 1, -1, 2, -2, 1/2, -1/2 (as many as it takes) and
/// infinity: y = A ((G g) * (B d)), for t = m + 2 elements d and the 3 taps g. All of B and A is
/// exact in float32. Row-major.
struct WinogradMatrices {
  int64_t m = 0, t = 0;
  std::vector<double> a;  // m x t
  std::vector<double> b;  // t x t
  std::vector<double> g;  // t x 3
};
WinogradMatrices winograd_matrices(int m);

/// |y - exact| <= winograd_error_bound(m, C) * C * max|x| * max|w| for each element of a result
/// that is computed in float32 from C channels: the roundings of the two transforms on either side,
/// of the weights and of the sum, gamma_n with n = C + 4 (m + 2) + 2, times how much the matrices
/// enlarge magnitudes: (max over i of sum_t |A[i,t]| sum_k |G[t,k]| sum_j |B[t,j]|)^2, which is 64
/// for m = 2, 2304 for m = 4 and 4579 for m = 6 (9 for a direct convolution).
double winograd_error_bound(int m, int64_t channels);

/// Relative L2 error to expect of random data, at most: 1e-6 for m = 2, 5e-6 for m = 4, 5e-5 for
/// m = 6.
double typical_error(int m);

/// Dense 3x3 convolutions (stride, dilation and groups 1, any padding by zeros, float32, constant
/// weights) as three operators with channels innermost, so that a strip of tile rows can stream
/// through all of them. With t = m + 2, tile (ty, tx), U = G g G^T in float64, rounded once:
///   tiles[a,b,n,ty,tx,c]    = sum_ij B[a,i] B[b,j] X[n, c, m ty + i - top, m tx + j - left]
///   products[a,b,n,ty,tx,o] = sum_c U[a,b,c,o] tiles[a,b,n,ty,tx,c]
///   Y[n,o,y,x] = sum_ab A[y mod m, a] A[x mod m, b]
///                       products[a, b, n, y floordiv m, x floordiv m, o]
/// Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015; the
/// matrices are those of Toom and Cook. Test: tests/rewrite/winograd_test.cpp
Result<graph::Graph> winograd(const graph::Graph& graph, const WinogradOptions& options = {});

}  // namespace corf::rewrite
