#pragma once
#include "tests/fuzz/choices.h"
#include "tests/fuzz/random_model.h"

namespace corf::fuzz {

/// Values of the model become the same values by ways that are known when it runs only: selections
/// of all elements, branches and loops over inputs, sequences, optionals. The host has to carry
/// these out, between pieces of the model. What this adds to the model's inputs, behind those that
/// it has.
/// `values`: of the model's, by name, with types and shapes.
std::vector<Tensor> split_model(onnx_proto::ModelProto& model,
                                const std::vector<ModelValue>& values, Choices& choices);

}  // namespace corf::fuzz
