#pragma once
#include <corf/corf.hpp>
#include <optional>
#include <vector>

#include "settings.h"

namespace corf::command {

/// A model with inputs to run it on.
struct ReadyModel {
  /// None: it is run in pieces, because shapes depend on data or some values are no tensors.
  std::optional<Executable> executable;
  std::vector<Array> inputs;       // the model's that are tensors
  std::vector<corf_tensor> taken;  // by the executable, out of `inputs`: some may be compiled in
  std::vector<Value> values;       // of the model's inputs, in order, where it is run in pieces
};

/// Inputs from the --input files or random, and the executable for them; on a terminal it is said
/// how long compiling takes. Throws Exception as compiling does.
ReadyModel make_ready(Session& session, const Settings& settings);

}  // namespace corf::command
