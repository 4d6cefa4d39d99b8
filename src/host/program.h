#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "onnx/import.h"
#include "session/session.h"
#include "session/value.h"

namespace corf::host {

/// A session of a segment: it compiles with the whole model's options, on its workers.
using OpenSegment = std::function<Result<std::shared_ptr<session::Session>>(
    std::shared_ptr<const onnx::Model> segment)>;

/// The model, when it is needed.
using GetModel = std::function<Result<std::shared_ptr<const onnx::Model>>()>;

/// A model that is run piece by piece. Nodes whose shapes follow from those of their inputs make up
/// segments, each a session of its own; between them stand nodes that the host carries out: those
/// whose results' shapes depend on data, loops and branches, whose bodies are run in the same way,
/// and whatever handles sequences, optionals and strings.
///
/// Where a model has to be cut shows when it is run: a segment that cannot be compiled is cut at
/// the node that is in the way, once and for all. A node that needs a value of the pieces before it
/// (the shape of a Reshape) begins a segment, which is compiled for each such value. Test:
/// tests/host/program_test.cpp
std::shared_ptr<session::PieceRunner> make_program(GetModel model, OpenSegment open_segment);

}  // namespace corf::host
