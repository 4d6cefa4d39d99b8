#include <optional>

#include "api/model_compiler.h"
#include "api/model_facts.h"
#include "driver/executable_cache.h"
#include "runtime/file.h"

using corf::InputFile;
using corf::Result;
using corf::Status;
using corf::api::LazyModel;
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

/// A session of a model that is read, if its facts are known, only when it has to be.
Result<std::shared_ptr<Session>> open_file(InputFile file, const std::string& path,
                                           const corf::session::Options& options) {
  const corf::driver::ExecutableCache cache(corf::api::cache_folder(options),
                                            options.executable_cache_bytes);
  std::optional<std::string> key, identity;
  if (!options.executable_cache.empty()) {
    key = corf::api::facts_key(file, options);
    const std::optional<std::string> note = key ? cache.find_note(*key) : std::nullopt;
    if (auto facts = note ? corf::api::facts_from(*note) : std::nullopt) {
      auto model =
          std::make_shared<LazyModel>(std::move(file), path, options.constants, options.limits);
      return corf::api::open_session(std::move(model), std::move(facts->description), options,
                                     with_constants(facts->identity, options));
    }
    identity = corf::driver::identity_of(file);
  }
  CORF_ASSIGN(auto model, corf::onnx::load_model(file, path, options.constants, options.limits));
  // What was loaded is what was hashed.
  if (!file.is_still_unchanged()) identity.reset();
  if (identity && key) {
    cache.insert_note(*key, corf::api::to_bytes({*identity, corf::api::describe(*model)}));
  }
  if (identity) identity = with_constants(*identity, options);
  return corf::api::open_session(std::move(model), options, std::move(identity));
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
    CORF_ASSIGN(InputFile file, InputFile::open(path));
    CORF_ASSIGN(auto opened, open_file(std::move(file), path, chosen));
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
