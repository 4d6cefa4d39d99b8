#include "runtime/file.h"
#include "session/session.h"

using corf::Status;
using corf::session::guarded;

extern "C" {

corf_error* corf_session_load(const char* path, const corf_options* options,
                              corf_session** session) {
  return guarded({{path, "path"}, {session, "session"}}, [&]() -> Status {
    CORF_ASSIGN(auto spec, corf::runtime::read_executable_file(path));
    CORF_ASSIGN(auto opened, corf::session::Session::create(std::move(spec),
                                                            corf::session::to_options(options)));
    *session = new corf_session{std::move(opened)};
    return {};
  });
}

}  // extern "C"
