#include <cstring>

#include "api/session.h"
#include "api/shapes.h"
#include "runtime/file.h"

#define CORF_STRINGIFY_INNER(text) #text
#define CORF_STRINGIFY(text) CORF_STRINGIFY_INNER(text)

using corf::ErrorCode;
using corf::make_error;
using corf::Status;
using corf::api::guarded;

namespace {

corf::api::Options to_options(const corf_options* options) {
  return options ? options->options : corf::api::Options::from_environment();
}

corf::Result<std::shared_ptr<corf::api::Session>> open_session(
    corf::Result<std::shared_ptr<const corf::onnx::Model>> model, const corf_options* options) {
  if (!model.ok()) return model.error();
  return corf::api::Session::create(*model, to_options(options));
}

char* copy_text(const std::string& text) {
  char* copy = new char[text.size() + 1];
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

}  // namespace

extern "C" {

int corf_api_version(void) { return CORF_API_VERSION; }
const char* corf_version(void) { return CORF_STRINGIFY(CORF_VERSION); }

void corf_string_free(char* text) { delete[] text; }

corf_error* corf_session_load(const char* path, const corf_options* options,
                              corf_session** session) {
  return guarded([&]() -> Status {
    if (path == nullptr) return make_error(ErrorCode::kInvalidArgument, "the path is null");
    if (corf::runtime::is_executable_file(path)) {
      CORF_ASSIGN(auto spec, corf::runtime::read_executable_file(path));
      CORF_ASSIGN(auto opened, corf::api::Session::create(std::move(spec), to_options(options)));
      *session = new corf_session{std::move(opened)};
      return {};
    }
    CORF_ASSIGN(auto opened, open_session(corf::onnx::load_model(path), options));
    *session = new corf_session{std::move(opened)};
    return {};
  });
}

corf_error* corf_session_load_bytes(const void* bytes, size_t size_bytes, const char* directory,
                                    const corf_options* options, corf_session** session) {
  return guarded([&]() -> Status {
    CORF_ASSIGN(auto opened, open_session(corf::onnx::parse_model(bytes, size_bytes,
                                                                  directory ? directory : "."),
                                          options));
    *session = new corf_session{std::move(opened)};
    return {};
  });
}

void corf_session_free(corf_session* session) { delete session; }

size_t corf_session_num_inputs(const corf_session* session) {
  return session->session->inputs().size();
}

size_t corf_session_num_outputs(const corf_session* session) {
  return session->session->outputs().size();
}

corf_error* corf_session_input(const corf_session* session, size_t position,
                               corf_tensor_info* info) {
  return guarded(
      [&] { return corf::api::describe(session->session->inputs(), position, "input", info); });
}

corf_error* corf_session_output(const corf_session* session, size_t position,
                                corf_tensor_info* info) {
  return guarded(
      [&] { return corf::api::describe(session->session->outputs(), position, "output", info); });
}

size_t corf_session_num_metadata(const corf_session* session) {
  return session->session->metadata().size();
}

corf_error* corf_session_metadata_at(const corf_session* session, size_t position, const char** key,
                                     const char** value) {
  return guarded([&]() -> Status {
    const auto& metadata = session->session->metadata();
    if (position >= metadata.size()) {
      return make_error(ErrorCode::kInvalidArgument, "there is no metadata number {}; there are {}",
                        position, metadata.size());
    }
    const auto entry = std::next(metadata.begin(), static_cast<std::ptrdiff_t>(position));
    *key = entry->first.c_str();
    *value = entry->second.c_str();
    return {};
  });
}

const char* corf_session_metadata(const corf_session* session, const char* key) {
  for (const auto& [name, value] : session->session->metadata()) {
    if (name == key) return value.c_str();
  }
  return nullptr;
}

int64_t corf_session_opset(const corf_session* session) { return session->session->opset(); }

size_t corf_session_num_operators(const corf_session* session) {
  return session->session->operators().size();
}

corf_error* corf_session_operator_at(const corf_session* session, size_t position,
                                     const char** name, int64_t* count) {
  return guarded([&]() -> Status {
    const auto& operators = session->session->operators();
    if (position >= operators.size()) {
      return make_error(ErrorCode::kInvalidArgument, "there is no operator number {}; there are {}",
                        position, operators.size());
    }
    *name = operators[position].first.c_str();
    *count = operators[position].second;
    return {};
  });
}

int corf_session_threads(const corf_session* session) { return session->session->threads(); }

corf_error* corf_session_compile(corf_session* session, const corf_shape* shapes, size_t num_shapes,
                                 corf_executable** executable) {
  return guarded([&]() -> Status {
    CORF_ASSIGN(const auto bindings, corf::api::to_bindings(shapes, num_shapes));
    CORF_ASSIGN(auto compiled, session->session->compile(bindings));
    *executable = new corf_executable{std::move(compiled)};
    return {};
  });
}

corf_error* corf_session_run(corf_session* session, const corf_tensor* inputs, size_t num_inputs,
                             const corf_tensor* outputs, size_t num_outputs) {
  return guarded([&]() -> Status {
    CORF_ASSIGN(const auto matched,
                corf::api::match(session->session->inputs(), "input", inputs, num_inputs));
    CORF_ASSIGN(const auto shapes, session->session->shapes_of(matched));
    CORF_ASSIGN(const auto compiled, session->session->compile(shapes));
    return corf::api::run(*compiled, inputs, num_inputs, outputs, num_outputs);
  });
}

corf_error* corf_session_inspect(corf_session* session, const char* stage, const corf_shape* shapes,
                                 size_t num_shapes, char** text) {
  return guarded([&]() -> Status {
    const auto parsed = corf::driver::parse_stage(stage);
    if (!parsed) {
      return make_error(ErrorCode::kInvalidArgument,
                        "unknown stage '{}'; there are graph, mapping, plan, loop, llvm, asm",
                        stage);
    }
    CORF_ASSIGN(const auto bindings, corf::api::to_bindings(shapes, num_shapes));
    CORF_ASSIGN(auto resolved, corf::api::resolve(session->session->inputs(), bindings));
    CORF_ASSIGN(const auto model, session->session->model());
    CORF_ASSIGN(const std::string printed,
                corf::driver::inspect(*model, *parsed,
                                      session->session->compile_options(std::move(resolved))));
    *text = copy_text(printed);
    return {};
  });
}

}  // extern "C"
