#include "api/model_compiler.h"
#include "runtime/file.h"

using corf::Status;
using corf::session::guarded;
using corf::session::needed_array;
using corf::session::Session;
using corf::session::to_options;

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
    CORF_ASSIGN(auto model, corf::onnx::load_model(path, chosen.constants, chosen.limits));
    CORF_ASSIGN(auto opened, corf::api::open_session(std::move(model), chosen));
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
    CORF_ASSIGN(auto opened, corf::api::open_session(std::move(model), chosen));
    *session = new corf_session{std::move(opened)};
    return {};
  });
}

}  // extern "C"
