#pragma once
#include <memory>
#include <optional>
#include <string>

#include "onnx/external_data.h"
#include "onnx/model.pb.h"
#include "support/result.h"
#include "tensor/tensor.h"

namespace corf::onnx {

/// corf's element type for TensorProto.data_type; nullopt for strings, complex numbers and the
/// types below 16 bits that are not integers of 8 bits.
std::optional<DType> dtype_from_onnx(int data_type);
/// Types of 8 bits and less that are read and written but not computed in: 8- and 4-bit floats, 4-
/// and 2-bit integers.
bool is_stored_type(int data_type);
/// Of an element of the 4- and 2-bit integers, of which bytes hold several; 0 of any other type.
int digit_bits(int data_type);
/// "float", "int64", ... as ONNX names them; "type 99" if unknown.
std::string onnx_type_name(int data_type);

/// The tensor of a proto that `owner` keeps alive; the bytes are shared where their alignment
/// allows it. `what` names it in messages, e.g. "initializer 'w'". Errors: kInvalidModel if
/// dimensions and data disagree; kUnsupported for an element type that corf does not have.
Result<Tensor> read_tensor(const onnx_proto::TensorProto& proto,
                           const std::shared_ptr<const void>& owner, ExternalData& external,
                           const std::string& what);
/// The numbers of a tensor of 4- or 2-bit integers, as i8 or u8. Errors: as above.
Result<Tensor> read_digits(const onnx_proto::TensorProto& proto, ExternalData& external,
                           const std::string& what);

}  // namespace corf::onnx
