#include <cstring>
#include <fmt/format.h>
#include <memory>

#include "corf/corf.h"
#include "tests/api/tiny_model.h"
#include "tests/fuzz/own_caches.h"
#include "tests/fuzz/targets.h"

namespace corf::fuzz {
namespace {

/// Models of the public interface's kinds: symbolic and fixed shapes, none at all.
const std::vector<std::string>& models() {
  using namespace tiny_model;
  static const std::vector<std::string> all = {
      linear(),
      number(1, 8) +
          bytes(7, bytes(1, node("Relu", "r", {"x"}, "y")) + bytes(2, "g") +
                       bytes(11, value("x", {"2", "3"})) + bytes(12, value("y", {"2", "3"}))) +
          bytes(8, bytes(1, "") + number(2, 17)),
      number(1, 8) +
          bytes(7, bytes(1, node("Add", "a", {"x", "z"}, "y")) + bytes(2, "g") +
                       bytes(11, value("x", {"n", "m"})) + bytes(11, value("z", {"m"})) +
                       bytes(12, value("y", {"n", "m"}))) +
          bytes(8, bytes(1, "") + number(2, 17)),
      number(1, 8) +
          bytes(7, bytes(1, node("Nothing", "a", {"x"}, "y")) + bytes(2, "g") +
                       bytes(11, value("x", {"1"})) + bytes(12, value("y", {"1"}))) +
          bytes(8, bytes(1, "") + number(2, 17)),
      shaped_by_values(),
      "",
      "no model"};
  return all;
}

template <typename T, void (*release)(T*)>
struct Release {
  void operator()(T* object) const { release(object); }
};
template <typename T, void (*release)(T*)>
using Owned = std::unique_ptr<T, Release<T, release>>;

/// Calls of the interface in any order, on whatever earlier calls have made, or on null.
class Caller {
 public:
  Caller(Choices& choices, const std::filesystem::path& folder)
      : choices_(choices), folder_(folder) {}

  Finding run() {
    for (int i = 0; i < 16 && !choices_.at_end() && finding_.empty(); ++i) call();
    return finding_;
  }

 private:
  bool null() { return choices_.chance(12); }

  /// One of those that were made, or null.
  template <typename Object>
  auto* any(const std::vector<Object>& objects) {
    return objects.empty() || null() ? nullptr : objects[choices_.below(objects.size())].get();
  }
  /// Where a result goes.
  template <typename T>
  T* out(T& to) {
    return null() ? nullptr : &to;
  }
  template <typename Object, typename T>
  void keep(std::vector<Object>& objects, T* made) {
    if (made == nullptr) return;
    if (objects.size() < 4)
      objects.emplace_back(made);
    else
      objects[choices_.below(objects.size())].reset(made);
  }

  /// Every error has words and a code.
  bool succeeded(corf_error* error) {
    if (error == nullptr) return true;
    const char* message = corf_error_message(error);
    const corf_code code = corf_error_code(error);
    if (message == nullptr || *message == '\0') finding_ = "an error without words";
    if (code == CORF_INTERNAL) finding_ = fmt::format("an internal error: {}", message);
    corf_error_free(error);
    return false;
  }

  const char* text(std::initializer_list<const char*> of) {
    return null() ? nullptr : std::data(of)[choices_.below(of.size())];
  }
  size_t position() { return choices_.chance(24) ? SIZE_MAX : choices_.below(4); }
  /// Of a struct that may be an older or newer version's.
  size_t struct_size(size_t size) { return choices_.chance(32) ? choices_.below(size + 1) : size; }

  struct Tensors {
    std::vector<std::vector<int64_t>> extents;
    std::vector<std::unique_ptr<float[]>> data;
    std::vector<corf_tensor> tensors;
  };

  Tensors tensors() {
    Tensors result;
    for (size_t i = choices_.below(4); i > 0; --i) {
      std::vector<int64_t>& extents = result.extents.emplace_back();
      int64_t size = 1;
      for (size_t d = choices_.chance(200) ? 2 : choices_.below(4); d > 0; --d) {
        extents.push_back(choices_.chance(16)    ? -1
                          : choices_.chance(200) ? 2 + int64_t(d == 1)
                                                 : choices_.pick(0, 4));
        size *= std::max<int64_t>(extents.back(), 0);
      }
      result.data.push_back(std::make_unique<float[]>(static_cast<size_t>(size)));
      corf_tensor tensor;
      tensor.name = choices_.chance(128) ? nullptr : text({"x", "y", "z", "", "none"});
      tensor.dtype = choices_.chance(24) ? static_cast<corf_dtype>(choices_.below(40)) : CORF_F32;
      tensor.rank = extents.size();
      tensor.extents = null() ? nullptr : extents.data();
      tensor.data = null() ? nullptr : result.data.back().get();
      // Wider elements than the array has room for would be the caller's fault.
      if (corf_dtype_size_bytes(tensor.dtype) > sizeof(float)) tensor.dtype = CORF_F32;
      if (tensor.extents == nullptr && tensor.rank > 0 && choices_.chance(128)) tensor.rank = 0;
      result.tensors.push_back(tensor);
    }
    return result;
  }

  struct Shapes {
    std::vector<std::vector<int64_t>> extents;
    std::vector<corf_shape> shapes;
  };
  Shapes shapes() {
    Shapes result;
    for (size_t i = choices_.below(4); i > 0; --i) {
      std::vector<int64_t>& extents = result.extents.emplace_back();
      for (size_t d = choices_.chance(170) ? 1 : choices_.below(4); d > 0; --d) {
        extents.push_back(choices_.chance(24) ? choices_.word() : choices_.pick(-1, 4));
      }
      result.shapes.push_back(
          {text({"batch", "n", "m", "x", "z", "", "none"}), extents.size(), extents.data()});
    }
    for (size_t i = 0; i < result.shapes.size(); ++i) {
      result.shapes[i].extents = null() ? nullptr : result.extents[i].data();
    }
    return result;
  }

  void describe_session();
  void call();
  void call_session();
  void call_executable();
  void call_results();
  void load();
  void set_option();

  Choices& choices_;
  const std::filesystem::path& folder_;
  Finding finding_;
  int compiled_ = 0;  // calls that may compile; they take most of the time
  std::vector<Owned<corf_options, corf_options_free>> options_;
  std::vector<Owned<corf_session, corf_session_free>> sessions_;
  std::vector<Owned<corf_executable, corf_executable_free>> executables_;
  std::vector<Owned<corf_array, corf_array_free>> arrays_;
  std::vector<Owned<corf_explanation, corf_explanation_free>> explanations_;
  std::vector<Owned<corf_profile, corf_profile_free>> profiles_;
  std::vector<Owned<corf_comparison, corf_comparison_free>> comparisons_;
};

void Caller::set_option() {
  const char* key = text({"threads", "isa", "plan", "plan_cache", "force_plan", "constant",
                          "winograd", "cache_size", "verify_each", "time_passes", "nothing", ""});
  const char* value = text({"0",
                            "1",
                            "2",
                            "3",
                            "avx2",
                            "sse2",
                            "avx512",
                            "amx",
                            "auto",
                            "unfused",
                            "",
                            "-1",
                            "99999999999999999999",
                            "x=1",
                            "z=1,2,3",
                            "=",
                            "x",
                            "plan\n",
                            "plan\ngroup compute {",
                            "0.5"});
  succeeded(corf_options_set(any(options_), key, value));
}

void Caller::load() {
  const std::string& model = choices_.any(models());
  std::string bytes = model;
  if (choices_.chance(24) && !bytes.empty()) {
    bytes[choices_.below(bytes.size())] = static_cast<char>(choices_.below(256));
  }
  corf_session* session = nullptr;
  corf_session** to = out(session);
  if (choices_.chance(32)) {
    const std::string file = (folder_ / "executable.corf").string();
    succeeded(corf_session_load(choices_.chance(128) ? file.c_str() : text({"", "/", "nothing"}),
                                any(options_), to));
  } else {
    const void* data = null() ? nullptr : bytes.data();
    succeeded(corf_session_load_bytes(data, bytes.size(), text({"", ".", "/nonexistent"}),
                                      any(options_), to));
  }
  keep(sessions_, session);
}

void Caller::describe_session() {
  corf_session* session = any(sessions_);
  corf_tensor_info info;
  const char *key = nullptr, *value = nullptr;
  int64_t count = 0;
  switch (choices_.below(8)) {
    case 0:
      succeeded(corf_session_input(session, position(), out(info)));
      break;
    case 1:
      succeeded(corf_session_output(session, position(), out(info)));
      break;
    case 2:
      succeeded(corf_session_metadata_at(session, position(), out(key), out(value)));
      break;
    case 3:
      corf_session_metadata(session, text({"about", "", "x"}));
      break;
    case 4:
      succeeded(corf_session_operator_at(session, position(), out(key), out(count)));
      break;
    case 5:
      corf_session_num_inputs(session);
      corf_session_num_outputs(session);
      break;
    case 6:
      corf_session_num_metadata(session);
      corf_session_num_operators(session);
      break;
    default:
      corf_session_opset(session);
      corf_session_threads(session);
      break;
  }
}

void Caller::call_session() {
  constexpr int kMostCompilations = 2;
  if (compiled_++ >= kMostCompilations) return describe_session();
  corf_session* session = any(sessions_);
  const Shapes given = shapes();
  const corf_shape* bound = null() ? nullptr : given.shapes.data();
  switch (choices_.below(8)) {
    case 0:
    case 1: {
      const Tensors in = tensors(), results = tensors();
      succeeded(corf_session_run(session, null() ? nullptr : in.tensors.data(), in.tensors.size(),
                                 null() ? nullptr : results.tensors.data(),
                                 results.tensors.size()));
      break;
    }
    case 2: {
      char* printed = nullptr;
      if (succeeded(corf_session_inspect(
              session, text({"graph", "mapping", "plan", "loop", "llvm", "asm", "", "nothing"}),
              bound, given.shapes.size(), out(printed)))) {
        corf_string_free(printed);
      }
      break;
    }
    case 3: {
      corf_explanation* explanation = nullptr;
      succeeded(corf_session_explain(session, bound, given.shapes.size(), out(explanation)));
      keep(explanations_, explanation);
      break;
    }
    case 4: {
      const Tensors in = tensors();
      corf_comparison* comparison = nullptr;
      succeeded(corf_session_compare(session, static_cast<corf_reference>(choices_.below(3)),
                                     null() ? nullptr : in.tensors.data(), in.tensors.size(),
                                     out(comparison)));
      keep(comparisons_, comparison);
      break;
    }
    default: {
      corf_executable* executable = nullptr;
      succeeded(corf_session_compile(session, bound, given.shapes.size(), out(executable)));
      keep(executables_, executable);
      break;
    }
  }
}

void Caller::call_executable() {
  corf_executable* executable = any(executables_);
  corf_tensor_info info;
  switch (choices_.below(8)) {
    case 0:
      succeeded(corf_executable_input(executable, position(), out(info)));
      break;
    case 1:
      succeeded(corf_executable_output(executable, position(), out(info)));
      break;
    case 2: {
      corf_executable_info all = {};
      succeeded(corf_executable_describe(executable, out(all), struct_size(sizeof(all))));
      break;
    }
    case 3: {
      double limit = 0;
      succeeded(corf_executable_limit_ms(executable, out(limit)));
      break;
    }
    case 4: {
      const std::string file = (folder_ / "executable.corf").string();
      succeeded(corf_executable_write(
          executable, choices_.chance(128) ? file.c_str() : text({"", "/", "/no/such"})));
      break;
    }
    case 5: {
      const Tensors in = tensors(), results = tensors();
      corf_profile* profile = nullptr;
      succeeded(corf_executable_run_profiled(
          executable, null() ? nullptr : in.tensors.data(), in.tensors.size(),
          null() ? nullptr : results.tensors.data(), results.tensors.size(), out(profile)));
      keep(profiles_, profile);
      break;
    }
    case 6:
      corf_executable_num_inputs(executable);
      corf_executable_num_outputs(executable);
      break;
    default: {
      const Tensors in = tensors(), results = tensors();
      succeeded(corf_executable_run(executable, null() ? nullptr : in.tensors.data(),
                                    in.tensors.size(), null() ? nullptr : results.tensors.data(),
                                    results.tensors.size()));
      break;
    }
  }
}

void Caller::call_results() {
  corf_explanation* explanation = any(explanations_);
  corf_profile* profile = any(profiles_);
  corf_comparison* comparison = any(comparisons_);
  corf_compared_value value = {};
  switch (choices_.below(8)) {
    case 0:
      corf_explanation_num_groups(explanation);
      break;
    case 1: {
      corf_explained_group group = {};
      succeeded(
          corf_explanation_group(explanation, position(), out(group), struct_size(sizeof(group))));
      break;
    }
    case 2: {
      corf_explained_link link = {};
      succeeded(corf_explanation_link(explanation, position(), position(), out(link),
                                      struct_size(sizeof(link))));
      break;
    }
    case 3: {
      corf_step_profile step = {};
      succeeded(corf_profile_step(profile, position(), out(step), struct_size(sizeof(step))));
      break;
    }
    case 4:
      corf_profile_num_steps(profile);
      corf_comparison_num_outputs(comparison);
      break;
    case 5:
      succeeded(
          corf_comparison_output(comparison, position(), out(value), struct_size(sizeof(value))));
      break;
    case 6: {
      int found = 0;
      succeeded(corf_comparison_first_wrong_group(comparison, out(found), out(value),
                                                  struct_size(sizeof(value))));
      break;
    }
    default: {
      std::string proto = tiny_model::tensor("t", {2, 2}, {1, 2, 3, 4});
      if (choices_.chance(128)) {
        proto[choices_.below(proto.size())] = static_cast<char>(choices_.below(256));
      }
      corf_array* array = nullptr;
      succeeded(corf_array_parse_onnx(null() ? nullptr : proto.data(), proto.size(), out(array)));
      keep(arrays_, array);
      if (corf_array* made = any(arrays_)) corf_array_tensor(made);
      break;
    }
  }
}

void Caller::call() {
  switch (choices_.below(16)) {
    case 0: {
      corf_options* made = nullptr;
      succeeded(corf_options_create(out(made)));
      keep(options_, made);
      break;
    }
    case 1:
    case 2:
      set_option();
      break;
    case 3:
    case 4:
    case 5:
      load();
      break;
    case 6:
    case 7:
    case 8:
      call_session();
      break;
    case 9:
      describe_session();
      break;
    case 10:
      if (!sessions_.empty()) sessions_.pop_back();
      break;
    case 11:
    case 12:
    case 13:
      call_executable();
      break;
    default:
      call_results();
      break;
  }
}

}  // namespace

Finding api_target(Choices choices) { return Caller(choices, own_caches()).run(); }

}  // namespace corf::fuzz
