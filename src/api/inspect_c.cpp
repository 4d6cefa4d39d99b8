#include <algorithm>
#include <cstring>
#include <fmt/ranges.h>

#include "api/model_compiler.h"
#include "host/support.h"
#include "support/budget.h"

using corf::ErrorCode;
using corf::make_error;
using corf::Status;
using corf::session::guarded;
using corf::session::needed_array;

namespace {

char* copy_text(const std::string& text) {
  char* copy = new char[text.size() + 1];
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

corf_support to_c(corf::host::RunKind kind) {
  switch (kind) {
    case corf::host::RunKind::kWhole:
      return CORF_SUPPORT_WHOLE;
    case corf::host::RunKind::kForValues:
      return CORF_SUPPORT_FOR_VALUES;
    case corf::host::RunKind::kInPieces:
      return CORF_SUPPORT_IN_PIECES;
    case corf::host::RunKind::kRefused:
      break;
  }
  return CORF_SUPPORT_NONE;
}

}  // namespace

extern "C" {

void corf_string_free(char* text) { delete[] text; }

corf_error* corf_session_deciding_inputs(corf_session* session, const corf_shape* shapes,
                                         size_t num_shapes, char** names) {
  return guarded(
      {{session, "session"}, {names, "names"}, needed_array(shapes, num_shapes, "shapes")},
      [&]() -> Status {
        corf::session::Session& opened = *session->session;
        CORF_ASSIGN(const auto given, corf::session::to_bindings(shapes, num_shapes));
        CORF_ASSIGN(const auto resolved, corf::session::resolve(opened.inputs(), given));
        std::vector<std::string> found;
        if (opened.compiler() != nullptr) {
          found = opened.compiler()->deciding_inputs(resolved, {});
        }
        *names = copy_text(fmt::format("{}", fmt::join(found, "\n")));
        return {};
      });
}

corf_error* corf_session_refused_operators(corf_session* session, char** lines) {
  return guarded({{session, "session"}, {lines, "lines"}}, [&]() -> Status {
    CORF_ASSIGN(const auto* compiler, corf::api::compiler_of(*session->session));
    CORF_ASSIGN(const auto model, compiler->model());
    *lines = copy_text(corf::host::refused_operators(*model));
    return {};
  });
}

corf_error* corf_session_support(corf_session* session, const corf_shape* shapes, size_t num_shapes,
                                 corf_support* support, char** reasons) {
  return guarded({{session, "session"},
                  {support, "support"},
                  {reasons, "reasons"},
                  needed_array(shapes, num_shapes, "shapes")},
                 [&]() -> Status {
                   corf::session::Session& opened = *session->session;
                   CORF_ASSIGN(const auto given, corf::session::to_bindings(shapes, num_shapes));
                   CORF_ASSIGN(const auto* compiler, corf::api::compiler_of(opened));
                   CORF_ASSIGN(const auto held, compiler->model());
                   const corf::onnx::Model& model = *held;
                   const auto resolved = corf::session::resolve_tensors(opened.inputs(), given);
                   const auto options = compiler->options({}, opened.threads());
                   CORF_ASSIGN(
                       const corf::host::Support found,
                       corf::within_budget(
                           corf::allowed_for(model.size(), options.limits), options.cancellation,
                           [&]() -> corf::Result<corf::host::Support> {
                             if (resolved.ok()) return corf::host::find_support(model, *resolved);
                             // Shapes would not help where operators are missing.
                             const std::string refused = corf::host::refused_operators(model);
                             if (refused.empty()) return resolved.error();
                             return corf::host::Support{corf::host::RunKind::kRefused, {}, refused};
                           }));
                   *support = to_c(found.kind);
                   *reasons = copy_text(found.reasons);
                   return {};
                 });
}

corf_error* corf_session_inspect(corf_session* session, const char* stage, const corf_shape* shapes,
                                 size_t num_shapes, char** text) {
  return guarded(
      {{session, "session"},
       {stage, "stage"},
       {text, "text"},
       needed_array(shapes, num_shapes, "shapes")},
      [&]() -> Status {
        const auto parsed = corf::driver::parse_stage(stage);
        if (!parsed) {
          return make_error(
              ErrorCode::kInvalidArgument,
              "unknown stage '{}'; there are graph, mapping, plan, costs, loop, llvm, asm", stage);
        }
        corf::session::Session& opened = *session->session;
        CORF_ASSIGN(const auto bindings, corf::session::to_bindings(shapes, num_shapes));
        CORF_ASSIGN(const auto* compiler, corf::api::compiler_of(opened));
        CORF_ASSIGN(const auto model, compiler->model());
        const auto resolved = corf::session::resolve(opened.inputs(), bindings);
        if (!resolved.ok()) {
          // Shapes would not help where operators are missing.
          CORF_RETURN_IF_ERROR(corf::onnx::check_operators(*model));
          return resolved.error();
        }
        CORF_ASSIGN(
            const std::string printed,
            corf::driver::inspect(*model, *parsed, compiler->options(*resolved, opened.threads())));
        *text = copy_text(printed);
        return {};
      });
}

size_t corf_num_operators(void) {
  return corf::session::answered(size_t{0}, {},
                                 [] { return corf::onnx::supported_operators().size(); });
}

corf_error* corf_operator_at(size_t position, corf_operator_info* info, size_t info_size_bytes) {
  return guarded({{info, "info"}}, [&]() -> Status {
    const auto& operators = corf::onnx::supported_operators();
    if (position >= operators.size()) {
      return make_error(ErrorCode::kInvalidArgument, "there is no operator number {}; there are {}",
                        position, operators.size());
    }
    const corf::onnx::SupportedOperator& from = operators[position];
    const corf_operator_info result{from.name.c_str(), from.since, from.until, from.inputs.c_str()};
    std::memcpy(info, &result, std::min(sizeof result, info_size_bytes));
    return {};
  });
}

const char* corf_compiler_version(void) { return corf::driver::backend_version(); }

}  // extern "C"
