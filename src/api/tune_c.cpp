#include <algorithm>
#include <cstring>

#include "api/model_compiler.h"

using corf::ErrorCode;
using corf::make_error;
using corf::Status;
using corf::session::guarded;
using corf::session::needed_array;

extern "C" {

corf_error* corf_session_tune(corf_session* session, const corf_shape* shapes, size_t num_shapes,
                              double time_limit_s,
                              void (*progress)(const corf_tuning_progress* progress, void* context),
                              void* context, corf_tuning* tuning, size_t tuning_size_bytes) {
  return guarded(
      {{session, "session"}, {tuning, "tuning"}, needed_array(shapes, num_shapes, "shapes")},
      [&]() -> Status {
        if (!(time_limit_s > 0)) {
          return make_error(ErrorCode::kInvalidArgument, "the time limit {} s is not positive",
                            time_limit_s);
        }
        corf::session::Session& opened = *session->session;
        CORF_ASSIGN(const auto bindings, corf::session::to_bindings(shapes, num_shapes));
        CORF_ASSIGN(const auto* compiler, corf::api::compiler_of(opened));
        CORF_ASSIGN(const auto resolved, corf::session::resolve(opened.inputs(), bindings));
        corf::driver::TuneOptions options;
        options.time_limit_s = time_limit_s;
        options.measure_anew = compiler->tunes_anew();
        if (progress) {
          options.progress = [&](const corf::driver::TuneProgress& now) {
            const corf_tuning_progress told{now.share, now.group.c_str(),
                                            static_cast<size_t>(now.num_measured),
                                            static_cast<size_t>(now.num_known)};
            progress(&told, context);
          };
        }
        CORF_ASSIGN(const auto model, compiler->model());
        CORF_ASSIGN(
            const corf::driver::Tuned tuned,
            corf::driver::tune(*model, compiler->options(resolved, opened.threads()), options));
        opened.forget_compiled();
        const corf_tuning result{static_cast<size_t>(tuned.num_measured), tuned.out_of_time ? 1 : 0,
                                 static_cast<size_t>(tuned.num_known)};
        std::memcpy(tuning, &result, std::min(sizeof result, tuning_size_bytes));
        return {};
      });
}

}  // extern "C"
