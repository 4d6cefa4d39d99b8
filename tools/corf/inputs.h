#pragma once
#include <corf/corf.hpp>
#include <map>
#include <vector>

#include "settings.h"

namespace corf::command {

/// What a model is run on.
struct Inputs {
  std::vector<Array> arrays;               // the tensors, named
  std::map<std::string, Value> of_others;  // strings, sequences and the like, by name
  bool are_all_tensors = true;

  /// One for each of the model's inputs, in order.
  std::vector<Value> values(const Session& session) const;
};

/// Read from the --input files; tensors that are not given are drawn (complete_inputs). Throws
/// Exception for another input that is not given.
Inputs read_all_inputs(const Session& session, const Settings& settings);

/// Arrays read from the --input files, named; inputs that are no tensors are left out.
std::vector<Array> read_inputs(const Session& session, const Settings& settings);

/// --shape's shapes and those of the arrays that were read.
Shapes shapes_with(const Settings& settings, const std::vector<Array>& given);

/// The session's executable for these shapes; on a terminal it is said how long compiling takes.
Executable compile_watched(Session& session, const Settings& settings, const Shapes& shapes);

/// One array for each declared input: the given one, else random from `seed`. Floats are in
/// [-1, 1), integers 0 or 1, which are valid as token ids, masks and indices alike.
/// A given array with an unknown name is kept, for the library to complain about.
std::vector<Array> complete_inputs(std::vector<Array> given,
                                   const std::vector<Declaration>& declared, uint64_t seed);

}  // namespace corf::command
