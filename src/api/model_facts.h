#pragma once
#include <optional>
#include <string>

#include "session/session.h"
#include "support/read_file.h"

namespace corf::api {

/// What a session needs to know of a model whose executables are there: it is kept beside them, so
/// that the model itself need not be read.
struct ModelFacts {
  std::string identity;  // of its bytes, as driver::identity_of gives it
  session::Description description;
};

/// What facts are kept under: they hold as long as the file is the same one, of the same length,
/// that nobody has written to or given other names or rights since (its times, in nanoseconds, of
/// which the second cannot be set). nullopt for a file that was changed within the last seconds,
/// for another change would then leave its times as they are on some file systems.
std::optional<std::string> facts_key(const InputFile& model, const session::Options& options);

std::string to_bytes(const ModelFacts& facts);
/// nullopt if the bytes make no sense.
std::optional<ModelFacts> facts_from(std::string_view bytes);

}  // namespace corf::api
