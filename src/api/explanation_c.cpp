#include <algorithm>
#include <cstring>

#include "api/model_compiler.h"
#include "driver/explain.h"
#include "session/limits.h"

using corf::ErrorCode;
using corf::make_error;
using corf::Status;
using corf::session::answered;
using corf::session::guarded;
using corf::session::needed_array;

struct corf_explanation {
  struct Group {
    corf::driver::ExplainedGroup group;
    std::vector<const char*> nodes;
    double predicted_ms = 0;
  };
  std::vector<Group> groups;
};

namespace {

template <typename T>
void copy_struct(const T& from, T* to, size_t to_size_bytes) {
  std::memcpy(to, &from, std::min(sizeof from, to_size_bytes));
}

Status check_group(const corf_explanation* explanation, size_t position) {
  if (position < explanation->groups.size()) return {};
  return make_error(ErrorCode::kInvalidArgument, "there is no group number {}; there are {}",
                    position, explanation->groups.size());
}

}  // namespace

extern "C" {

corf_error* corf_session_explain(corf_session* session, const corf_shape* shapes, size_t num_shapes,
                                 corf_explanation** explanation) {
  return guarded(
      {{session, "session"},
       {explanation, "explanation"},
       needed_array(shapes, num_shapes, "shapes")},
      [&]() -> Status {
        corf::session::Session& opened = *session->session;
        CORF_ASSIGN(const auto bindings, corf::session::to_bindings(shapes, num_shapes));
        CORF_ASSIGN(const auto* compiler, corf::api::compiler_of(opened));
        CORF_ASSIGN(const auto resolved, corf::session::resolve(opened.inputs(), bindings));
        const corf::driver::CompileOptions options = compiler->options(resolved, opened.threads());
        CORF_ASSIGN(const auto model, compiler->model());
        CORF_ASSIGN(auto groups, corf::driver::explain(*model, options));
        auto result = std::make_unique<corf_explanation>();
        for (corf::driver::ExplainedGroup& group : groups) {
          result->groups.push_back({std::move(group), {}, 0});
        }
        for (corf_explanation::Group& entry : result->groups) {
          for (const std::string& node : entry.group.nodes) entry.nodes.push_back(node.c_str());
          if (entry.group.predicted_cycles == 0) continue;
          entry.predicted_ms =
              corf::session::cycles_ms(entry.group.predicted_cycles, opened.threads(),
                                       options.isa.value_or(corf::best_isa()));
        }
        *explanation = result.release();
        return {};
      });
}

void corf_explanation_free(corf_explanation* explanation) { delete explanation; }

size_t corf_explanation_num_groups(const corf_explanation* explanation) {
  return answered(size_t{0}, {explanation}, [&] { return explanation->groups.size(); });
}

corf_error* corf_explanation_group(const corf_explanation* explanation, size_t position,
                                   corf_explained_group* group, size_t group_size_bytes) {
  return guarded({{explanation, "explanation"}, {group, "group"}}, [&]() -> Status {
    CORF_RETURN_IF_ERROR(check_group(explanation, position));
    const corf_explanation::Group& entry = explanation->groups[position];
    const corf_explained_group numbers{entry.nodes.size(), entry.nodes.data(), entry.predicted_ms,
                                       static_cast<size_t>(entry.group.num_steps),
                                       entry.group.links.size()};
    copy_struct(numbers, group, group_size_bytes);
    return {};
  });
}

corf_error* corf_explanation_link(const corf_explanation* explanation, size_t group,
                                  size_t position, corf_explained_link* link,
                                  size_t link_size_bytes) {
  return guarded({{explanation, "explanation"}, {link, "link"}}, [&]() -> Status {
    CORF_RETURN_IF_ERROR(check_group(explanation, group));
    const auto& links = explanation->groups[group].group.links;
    if (position >= links.size()) {
      return make_error(ErrorCode::kInvalidArgument, "there is no link number {}; there are {}",
                        position, links.size());
    }
    const corf::driver::ExplainedLink& from = links[position];
    const corf_explained_link texts{from.producer.c_str(), from.consumer.c_str(),
                                    from.mapping.c_str(), from.strategy.c_str(), from.why.c_str()};
    copy_struct(texts, link, link_size_bytes);
    return {};
  });
}

}  // extern "C"
