#pragma once
#include "graph/compute_plan.h"
#include "graph/evaluate.h"

namespace corf::graph {

/// Computes the operator's output into `output`, which is zero-filled. With `absolute` the sum of
/// the absolute values of the terms instead (combiner kSum on floats only).
void evaluate_compute(const Compute& compute, const std::vector<Tensor>& inputs, bool absolute,
                      const EvaluateOptions& options, Tensor& output);

/// Whether the operator is a plain sum of products of two float operands with affine coordinates,
/// which evaluate_contraction computes in tight loops.
bool is_contraction(const Compute& compute, const ComputePlan& plan);
void evaluate_contraction(const ComputePlan& plan, bool absolute, int threads, Tensor& output);

/// Writes `count` results to elements offset, offset + stride, ... of `output`, rounded or wrapped
/// to its type.
void store_floats(Tensor& output, int64_t offset, int64_t stride, const double* values,
                  int64_t count);
void store_integers(Tensor& output, int64_t offset, int64_t stride, const int64_t* values,
                    int64_t count);

}  // namespace corf::graph
