#pragma once
#include <vector>

#include "corf/corf.h"
#include "tensor/tensor.h"

namespace corf::session {

/// Tensors as the C interface has them; they must outlive it.
class TensorViews {
 public:
  explicit TensorViews(const std::vector<Tensor>& tensors);
  const std::vector<const corf_tensor*>& pointers() const { return pointers_; }

 private:
  std::vector<corf_tensor> views_;
  std::vector<const corf_tensor*> pointers_;
};

}  // namespace corf::session
