#include "ready_model.h"

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

}  // namespace

ReadyModel make_ready(Session& session, const Settings& settings) {
  Inputs inputs = read_all_inputs(session, settings);
  ReadyModel ready;
  if (inputs.are_all_tensors) {
    try {
      const Waiting waiting("compiling " + printable(settings.model));
      ready.executable.emplace(session.compile_for(inputs.arrays));
      ready.inputs = std::move(inputs.arrays);
      ready.taken = taken_by(*ready.executable, ready.inputs);
      return ready;
    } catch (const Exception& exception) {
      const bool may_run_in_pieces =
          exception.code() == CORF_UNSUPPORTED || exception.code() == CORF_INVALID_MODEL;
      if (!may_run_in_pieces || !can_run_in_pieces(session, settings, inputs.arrays)) throw;
    }
  }
  ready.values = inputs.values(session);
  ready.inputs = std::move(inputs.arrays);
  return ready;
}

}  // namespace corf::command
