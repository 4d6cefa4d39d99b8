#include "ready_model.h"

#include <algorithm>

#include "inputs.h"
#include "progress.h"
#include "support/printable.h"

namespace corf::command {
namespace {

/// Whether the session runs in pieces what it could not compile.
bool can_run_in_pieces(Session& session, const Settings& settings,
                       const std::vector<Array>& inputs) {
  try {
    return session.support(shapes_with(settings, inputs)).first != CORF_SUPPORT_NONE;
  } catch (const Exception&) {
    return false;  // a compiled file, or an invalid model
  }
}

/// Those of the arrays that the executable takes.
std::vector<corf_tensor> taken_by(const Executable& executable, const std::vector<Array>& arrays) {
  std::vector<corf_tensor> taken;
  for (const Declaration& input : executable.inputs()) {
    for (const Array& array : arrays) {
      if (array.name() == input.name) taken.push_back(array.view());
    }
  }
  return taken;
}

/// Whether a value that decides shapes has been drawn at random.
bool draws_a_deciding_value(const Settings& settings, const Session& session,
                            const Executable& executable) {
  const auto is_taken = [taken = executable.inputs()](const Declaration& input) {
    return std::any_of(taken.begin(), taken.end(),
                       [&](const Declaration& candidate) { return candidate.name == input.name; });
  };
  const auto is_given = [&](const Declaration& input) {
    return std::any_of(settings.input_arguments.begin(), settings.input_arguments.end(),
                       [&](const std::string& argument) {
                         return split_at_first_equals(argument).first == input.name;
                       });
  };
  const std::vector<Declaration> inputs = session.inputs();
  return std::any_of(inputs.begin(), inputs.end(), [&](const Declaration& input) {
    return !is_taken(input) && !is_given(input);
  });
}

/// Throws for the values that would have to be known, if there are any.
void refuse_unknown_values(Session& session, const Shapes& shapes) {
  if (!session.deciding_inputs(shapes).empty()) session.compile(shapes);
}

}  // namespace

ReadyModel make_ready(Session& session, const Settings& settings) {
  Inputs inputs = read_all_inputs(session, settings);
  ReadyModel ready;
  if (inputs.are_all_tensors) {
    try {
      const Waiting waiting("compiling " + printable(settings.model));
      ready.executable.emplace(session.compile_for(inputs.arrays));
    } catch (const Exception& exception) {
      if (exception.code() == CORF_INVALID_ARGUMENT) {
        refuse_unknown_values(session, shapes_with(settings, inputs.arrays));
      }
      const bool may_run_in_pieces =
          exception.code() == CORF_UNSUPPORTED || exception.code() == CORF_INVALID_MODEL;
      if (!may_run_in_pieces || !can_run_in_pieces(session, settings, inputs.arrays)) throw;
    }
  }
  if (ready.executable) {
    if (draws_a_deciding_value(settings, session, *ready.executable)) {
      refuse_unknown_values(session, shapes_with(settings, inputs.arrays));
    }
    ready.inputs = std::move(inputs.arrays);
    ready.taken = taken_by(*ready.executable, ready.inputs);
    return ready;
  }
  ready.values = inputs.values(session);
  ready.inputs = std::move(inputs.arrays);
  return ready;
}

}  // namespace corf::command
