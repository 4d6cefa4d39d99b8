#include <optional>

#include "api/model_compiler.h"
#include "driver/executable_cache.h"
#include "runtime/file.h"

using corf::InputFile;
using corf::Status;
using corf::session::guarded;
using corf::session::needed_array;
using corf::session::Session;
using corf::session::to_options;

namespace {

/// The inputs' values that are compiled in are a part of the model, too.
std::optional<std::string> with_constants(std::string identity,
                                          const corf::session::Options& options) {
  for (const auto& [name, values] : options.constants) {
    identity += fmt::format("\n{}:{}={}:{}", name.size(), name, values.size(), values);
  }
  return identity;
}

}  // namespace

extern "C" {

corf_error* corf_session_load(const char* path, const corf_options* options,
                              corf_session** session) {
  return guarded({{path, "path"}, {session, "session"}}, [&]() -> Status {
    if (corf::runtime::is_executable_file(path)) {
      CORF_ASSIGN(auto spec, corf::runtime::read_executable_file(path));
      CORF_ASSIGN(auto opened, Session::create(std::move(spec), to_options(options)));
      *session = new corf_session{std::move(opened)};
      return {};
    }
    const corf::session::Options chosen = to_options(options);
    std::optional<std::string> identity;
    std::optional<InputFile> before;
    if (!chosen.executable_cache.empty()) {
      CORF_ASSIGN(before, InputFile::open(path));
      identity = corf::driver::identity_of(*before);
    }
    CORF_ASSIGN(auto model, corf::onnx::load_model(path, chosen.constants, chosen.limits));
    if (identity) {
      // What was loaded is what was hashed.
      CORF_ASSIGN(const InputFile after, InputFile::open(path));
      identity =
          after.is_unchanged_since(*before) ? with_constants(*identity, chosen) : std::nullopt;
    }
    CORF_ASSIGN(auto opened,
                corf::api::open_session(std::move(model), chosen, std::move(identity)));
    *session = new corf_session{std::move(opened)};
    return {};
  });
}

corf_error* corf_session_load_bytes(const void* bytes, size_t size_bytes, const char* directory,
                                    const corf_options* options, corf_session** session) {
  return guarded({needed_array(bytes, size_bytes, "bytes"), {session, "session"}}, [&]() -> Status {
    const corf::session::Options chosen = to_options(options);
    CORF_ASSIGN(auto model, corf::onnx::parse_model(bytes, size_bytes, directory ? directory : ".",
                                                    chosen.constants, chosen.limits));
    std::optional<std::string> identity;
    if (!chosen.executable_cache.empty()) {
      identity = corf::driver::identity_of({static_cast<const std::byte*>(bytes), size_bytes});
      if (identity) identity = with_constants(*identity, chosen);
    }
    CORF_ASSIGN(auto opened,
                corf::api::open_session(std::move(model), chosen, std::move(identity)));
    *session = new corf_session{std::move(opened)};
    return {};
  });
}

}  // extern "C"
