#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "onnx/import.h"
#include "tensor/tensor.h"

namespace corf::onnx {

/// A value that is known to a part of a model from outside of it.
struct KnownValue {
  Tensor tensor;             // of the type that it has in the model
  bool is_constant = false;  // part of the model rather than an input of it
};
using KnownValues = std::map<std::string, KnownValue>;

/// A node of a model, calls of functions replaced with their bodies, as a part sees it.
struct NodeNames {
  std::string name;
  std::vector<std::string> reads, writes;
};
/// In topological order; positions in it name nodes below.
std::vector<NodeNames> nodes_of(const Model& model);
/// Whether the model's file has the value itself.
bool is_initializer(const Model& model, const std::string& value);

/// The bytes of a model (an ONNX ModelProto) of these nodes, which computes `outputs`. What they
/// read and none of them writes is an initialiser, a constant or an input, in the order of its
/// name. Errors: kInvalidArgument if a value is neither known nor computed; kUnsupported if the
/// nodes are of functions with another opset than the model's.
Result<std::string> extract(const Model& model, const std::set<size_t>& nodes,
                            const KnownValues& known, const std::vector<std::string>& outputs);

/// The bytes of a TensorProto.
std::string tensor_to_onnx(const std::string& name, const Tensor& tensor);

}  // namespace corf::onnx
