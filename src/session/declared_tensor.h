#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/executable.h"
#include "session/error.h"

namespace corf::session {

static_assert(CORF_BOOL == static_cast<int>(DType::kBool));
static_assert(CORF_U8 == static_cast<int>(DType::kU8));
static_assert(CORF_I64 == static_cast<int>(DType::kI64));
static_assert(CORF_F16 == static_cast<int>(DType::kF16));
static_assert(CORF_F64 == static_cast<int>(DType::kF64));

inline corf_dtype to_c(DType dtype) { return static_cast<corf_dtype>(dtype); }
inline bool is_dtype(corf_dtype dtype) { return dtype >= CORF_BOOL && dtype <= CORF_F64; }

struct DeclaredShape {
  Shape extents;                     // -1 where symbolic
  std::vector<std::string> symbols;  // by dimension; "" where the extent is a number
};

/// A tensor's declaration in the form in which the C interface hands it out. Stays where it is
/// made, because `info` points into it.
class DeclaredTensor {
 public:
  /// Without a shape: the model declares none, and any fits.
  DeclaredTensor(std::string name, DType dtype, std::optional<DeclaredShape> shape);
  explicit DeclaredTensor(const runtime::TensorInfo& tensor);
  DeclaredTensor(const DeclaredTensor&) = delete;
  DeclaredTensor& operator=(const DeclaredTensor&) = delete;

  const std::string& name() const { return name_; }
  DType dtype() const { return dtype_; }
  /// -1 where symbolic.
  const Shape& extents() const { return extents_; }
  /// By dimension; "" where the extent is a number.
  const std::vector<std::string>& symbols() const { return symbols_; }
  /// False: the model declares no shape, and any fits.
  bool has_shape() const { return has_shape_; }
  /// What the model declares in a tensor's place ("a sequence"); "" for a tensor.
  const std::string& other_kind() const { return other_kind_; }
  void set_other_kind(std::string words) { other_kind_ = std::move(words); }
  corf_tensor_info info() const;
  /// Whether an array of `shape` can stand here: symbolic dimensions take any extent.
  bool admits(const Shape& shape) const;
  /// "input 'x' (f32 1x3xheightxwidth)", for messages; `kind` is "input" or "output".
  std::string described(std::string_view kind) const;

 private:
  void point_at_symbols();
  std::string name_;
  DType dtype_;
  Shape extents_;
  std::vector<std::string> symbols_;
  std::vector<const char*> symbol_pointers_;
  bool has_shape_ = true;
  std::string other_kind_;
};

using DeclaredTensors = std::vector<std::unique_ptr<DeclaredTensor>>;

DeclaredTensors declare(const std::vector<runtime::TensorInfo>& tensors);

/// `*info` of tensor `position`. Errors: kInvalidArgument if there is no such position.
Status describe(const DeclaredTensors& tensors, size_t position, std::string_view kind,
                corf_tensor_info* info);

/// The caller's arrays put in the order of `declared`: one for each, matched by name or position.
/// Errors: kInvalidArgument naming what is missing, unknown or given twice, and for an array
/// without data or with an unknown element type.
Result<std::vector<const corf_tensor*>> match(const DeclaredTensors& declared,
                                              std::string_view kind, const corf_tensor* tensors,
                                              size_t num_tensors);

/// The array's element type and shape against the declaration; symbolic dimensions take any extent.
Status check_type_and_shape(const DeclaredTensor& declared, std::string_view kind,
                            const corf_tensor& tensor);

/// Errors: kInvalidArgument if the caller's array of extents is null or longer than any tensor's.
Status check_rank(size_t rank, const int64_t* extents);

/// Of a tensor that check_rank admits, as `match` has made sure.
Shape shape_of(const corf_tensor& tensor);

}  // namespace corf::session
