#pragma once
#include "graph/graph.h"
#include "tests/fuzz/random_model.h"
#include "tests/fuzz/targets.h"

namespace corf::fuzz {

/// Of models that are small, and mostly sound: they are to be run.
ModelChoices choices_of_runs();
/// Whether the reference computes the graph in a millisecond.
bool is_small(const graph::Graph& graph);

/// Small integers of the inputs' types.
std::vector<Tensor> inputs_of(const graph::Graph& graph, Choices& choices);

/// Which element of the outputs is not what the graph computes of the inputs, or "". What the
/// reference refuses, or cannot bound, is not compared.
Finding difference(const graph::Graph& graph, const std::vector<Tensor>& inputs,
                   const std::vector<Tensor>& outputs);

}  // namespace corf::fuzz
