#include <algorithm>

#include "session/session.h"

#define CORF_STRINGIFY_INNER(text) #text
#define CORF_STRINGIFY(text) CORF_STRINGIFY_INNER(text)

using corf::ErrorCode;
using corf::make_error;
using corf::Status;
using corf::session::answered;
using corf::session::guarded;
using corf::session::needed_array;

extern "C" {

int corf_api_version(void) { return CORF_API_VERSION; }
const char* corf_version(void) { return CORF_STRINGIFY(CORF_VERSION); }

void corf_session_free(corf_session* session) { delete session; }

size_t corf_session_num_inputs(const corf_session* session) {
  return answered(size_t{0}, {session}, [&] { return session->session->inputs().size(); });
}

size_t corf_session_num_outputs(const corf_session* session) {
  return answered(size_t{0}, {session}, [&] { return session->session->outputs().size(); });
}

corf_error* corf_session_input(const corf_session* session, size_t position,
                               corf_tensor_info* info) {
  return guarded({{session, "session"}, {info, "info"}}, [&] {
    return corf::session::describe(session->session->inputs(), position, "input", info);
  });
}

corf_error* corf_session_output(const corf_session* session, size_t position,
                                corf_tensor_info* info) {
  return guarded({{session, "session"}, {info, "info"}}, [&] {
    return corf::session::describe(session->session->outputs(), position, "output", info);
  });
}

size_t corf_session_num_metadata(const corf_session* session) {
  return answered(size_t{0}, {session},
                  [&] { return session->session->description().metadata.size(); });
}

corf_error* corf_session_metadata_at(const corf_session* session, size_t position, const char** key,
                                     const char** value) {
  return guarded({{session, "session"}, {key, "key"}, {value, "value"}}, [&]() -> Status {
    const auto& metadata = session->session->description().metadata;
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
  return answered(static_cast<const char*>(nullptr), {session, key}, [&]() -> const char* {
    const auto& metadata = session->session->description().metadata;
    const auto entry = metadata.find(key);
    return entry == metadata.end() ? nullptr : entry->second.c_str();
  });
}

int64_t corf_session_opset(const corf_session* session) {
  return answered(int64_t{0}, {session}, [&] { return session->session->description().opset; });
}

size_t corf_session_num_operators(const corf_session* session) {
  return answered(size_t{0}, {session},
                  [&] { return session->session->description().operators.size(); });
}

corf_error* corf_session_operator_at(const corf_session* session, size_t position,
                                     const char** name, int64_t* count) {
  return guarded({{session, "session"}, {name, "name"}, {count, "count"}}, [&]() -> Status {
    const auto& operators = session->session->description().operators;
    if (position >= operators.size()) {
      return make_error(ErrorCode::kInvalidArgument, "there is no operator number {}; there are {}",
                        position, operators.size());
    }
    *name = operators[position].first.c_str();
    *count = operators[position].second;
    return {};
  });
}

int corf_session_threads(const corf_session* session) {
  return answered(0, {session}, [&] { return session->session->threads(); });
}

corf_error* corf_session_input_extents(const corf_session* session, const corf_shape* shapes,
                                       size_t num_shapes, size_t position, int64_t* extents,
                                       size_t most_extents, size_t* rank) {
  return guarded(
      {{session, "session"},
       {rank, "rank"},
       needed_array(shapes, num_shapes, "shapes"),
       {extents, "extents"}},
      [&]() -> Status {
        const auto& inputs = session->session->inputs();
        if (position >= inputs.size()) {
          return make_error(ErrorCode::kInvalidArgument,
                            "there is no input number {}; there are {}", position, inputs.size());
        }
        CORF_ASSIGN(const auto given, corf::session::to_bindings(shapes, num_shapes));
        CORF_ASSIGN(const auto shapes_of_all, corf::session::resolve_tensors(inputs, given));
        const auto found = shapes_of_all.find(inputs[position]->name());
        if (found == shapes_of_all.end()) {
          return make_error(ErrorCode::kInvalidArgument, "input '{}' is {}, no tensor",
                            inputs[position]->name(), inputs[position]->other_kind());
        }
        const corf::Shape& shape = found->second;
        *rank = shape.size();
        std::copy_n(shape.begin(), std::min(shape.size(), most_extents), extents);
        return {};
      });
}

corf_error* corf_session_compile(corf_session* session, const corf_shape* shapes, size_t num_shapes,
                                 corf_executable** executable) {
  return guarded({{session, "session"},
                  {executable, "executable"},
                  needed_array(shapes, num_shapes, "shapes")},
                 [&]() -> Status {
                   CORF_ASSIGN(const auto bindings, corf::session::to_bindings(shapes, num_shapes));
                   CORF_ASSIGN(auto compiled, session->session->compile(bindings));
                   *executable = new corf_executable{std::move(compiled)};
                   return {};
                 });
}

corf_error* corf_session_compile_for(corf_session* session, const corf_tensor* inputs,
                                     size_t num_inputs, corf_executable** executable) {
  return guarded(
      {{session, "session"},
       {executable, "executable"},
       needed_array(inputs, num_inputs, "inputs")},
      [&]() -> Status {
        CORF_ASSIGN(const auto matched,
                    corf::session::match(session->session->inputs(), "input", inputs, num_inputs));
        CORF_ASSIGN(auto compiled, session->session->compile(matched));
        *executable = new corf_executable{std::move(compiled)};
        return {};
      });
}

corf_error* corf_session_run(corf_session* session, const corf_tensor* inputs, size_t num_inputs,
                             const corf_tensor* outputs, size_t num_outputs) {
  return guarded({{session, "session"},
                  needed_array(inputs, num_inputs, "inputs"),
                  needed_array(outputs, num_outputs, "outputs")},
                 [&]() -> Status {
                   corf::session::Session& opened = *session->session;
                   CORF_ASSIGN(const auto matched,
                               corf::session::match(opened.inputs(), "input", inputs, num_inputs));
                   CORF_ASSIGN(const auto compiled, opened.compile(matched));
                   CORF_ASSIGN(
                       const auto given_outputs,
                       corf::session::match(compiled->outputs, "output", outputs, num_outputs));
                   return corf::session::run(*compiled, opened.taken_by(compiled->values, matched),
                                             given_outputs);
                 });
}

}  // extern "C"
