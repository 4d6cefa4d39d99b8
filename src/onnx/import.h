#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "support/budget.h"
#include "support/read_file.h"
#include "support/result.h"

namespace corf::onnx {

/// An extent that is a number or a symbol ("batch"); "?" where the model gives neither.
struct SymbolicDim {
  int64_t extent = -1;  // -1: symbolic
  std::string symbol;
};
/// What the model declares a value to be. Only tensors have an element type and dimensions here.
enum class ValueKind : uint8_t { kTensor, kStrings, kSequence, kOptional, kNarrow };
std::string_view in_words(ValueKind kind);
struct ModelTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<SymbolicDim> dims;
  bool has_rank = true;  // false: the model declares no shape
  ValueKind kind = ValueKind::kTensor;
};

/// A parsed model file: symbolic dimensions kept, weights where they were read to.
class Model {
 public:
  ~Model();
  const std::vector<ModelTensor>& inputs() const;  // initialisers and constants excluded
  const std::vector<ModelTensor>& outputs() const;
  const std::map<std::string, std::string>& metadata() const;  // metadata_props
  int64_t opset() const;                                       // of the default domain
  ModelSize size() const;
  /// How often each operator occurs, subgraphs included; "domain.Name" outside of ONNX's domain.
  std::map<std::string, int64_t> operator_counts() const;

  struct State;
  explicit Model(std::unique_ptr<State> state);
  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

/// Values of inputs, by name, that are compiled in: one number for all elements, or as many as
/// there are, separated by commas.
using InputConstants = std::map<std::string, std::string>;

/// Errors: kIo if unreadable; kInvalidModel if damaged, truncated, empty, cyclic or of inconsistent
/// types, naming what is wrong; kInvalidArgument if a constant does not fit; kOverLimit if
/// functions unfold to more nodes or bytes than `limits`, or else the file's size, allow.
Result<std::shared_ptr<const Model>> load_model(const std::string& path,
                                                const InputConstants& constants = {},
                                                const Limits& limits = {});
/// Of a file that is open, and was found under `path`.
Result<std::shared_ptr<const Model>> load_model(const InputFile& file, const std::string& path,
                                                const InputConstants& constants = {},
                                                const Limits& limits = {});
Result<std::shared_ptr<const Model>> parse_model(const void* bytes, size_t size_bytes,
                                                 const std::string& directory = ".",
                                                 const InputConstants& constants = {},
                                                 const Limits& limits = {});

/// Shapes of inputs by name, for those with symbolic dimensions; symbols may also be bound by name
/// (a shape of one extent under the symbol's name).
using ShapeBindings = std::map<std::string, Shape>;

/// Values of inputs by name, for those that shapes or branches depend on. Such inputs are constants
/// of the graph and none of its inputs.
using ValueBindings = std::map<std::string, Tensor>;

/// The model as a graph of core nodes with concrete shapes.
/// Errors: kUnsupported listing every unsupported node at once (name, operator, opset, element
/// types, what is supported); kInvalidArgument if a symbolic dimension is unbound or a binding
/// contradicts the model; kInvalidModel naming the node and shapes; kOutOfMemory.
Result<graph::Graph> import(const Model& model, const ShapeBindings& shapes,
                            const ValueBindings& values = {});

/// Names of the inputs whose values would let nodes be imported that are refused without them: a
/// shape, an axis, a number of steps or a branch follows from them. Only scalars and short lists
/// are named: larger inputs are data. What these values decide may make others matter.
std::vector<std::string> find_deciding_inputs(const Model& model, const ShapeBindings& shapes,
                                              const ValueBindings& values = {});

/// What can be said without shapes: errors as import's for the nodes that no shapes would make
/// importable, for their operator or its opset.
Status check_operators(const Model& model);

/// An operator as models name it, in the opsets of its domain in which it is one and the same.
struct SupportedOperator {
  std::string name;  // "domain.Name" outside of ONNX's domain
  int since = 0, until = 0;
  std::string inputs;  // their element types: "float", or "T:float T" where they agree
};
/// All that import takes, by name and opset.
const std::vector<SupportedOperator>& supported_operators();

}  // namespace corf::onnx
