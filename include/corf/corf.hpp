// Longer than 500 lines because a program includes this header and nothing else.
#pragma once
#include <corf/corf.h>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

/// C++ on top of the C interface, in this header alone. Faults are thrown as corf::Exception, so
/// that calls can be chained and constructors need no second phase; its message is the C
/// interface's.
///
///   corf::Session session("model.onnx");
///   corf::Executable executable = session.compile({{"x", {1, 3, 224, 224}}});
///   std::vector<corf::Array> outputs = executable.run({corf::Array::of<float>("x", shape, data)});
namespace corf {

class Exception : public std::runtime_error {
 public:
  Exception(corf_code code, const std::string& message)
      : std::runtime_error(message), code_(code) {}
  corf_code code() const { return code_; }

 private:
  corf_code code_;
};

namespace detail {

/// Throws what the C interface returned, if it is an error.
inline void check(corf_error* error) {
  if (error == nullptr) return;
  const Exception exception(corf_error_code(error), corf_error_message(error));
  corf_error_free(error);
  throw exception;
}

template <auto free>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
template <typename T, auto free>
using Owned = std::unique_ptr<T, Free<free>>;

}  // namespace detail

using Extents = std::vector<int64_t>;

/// Extents by the name of an input, or of a symbolic dimension (one extent).
using Shapes = std::map<std::string, Extents>;

/// What a model or executable declares of an input or output.
struct Declaration {
  std::string name;
  corf_dtype dtype = CORF_F32;
  Extents extents;                   // -1 where symbolic
  std::vector<std::string> symbols;  // by dimension; "" where the extent is a number
  bool has_shape = true;             // false: the model declares no shape, not even the rank

  explicit Declaration(const corf_tensor_info& info)
      : name(info.name),
        dtype(info.dtype),
        extents(info.extents, info.extents + info.rank),
        has_shape(info.has_shape != 0) {
    for (size_t i = 0; i < info.rank; ++i) symbols.emplace_back(info.symbols[i]);
  }
  bool is_symbolic() const {
    if (!has_shape) return true;
    for (const int64_t extent : extents) {
      if (extent < 0) return true;
    }
    return false;
  }
};

template <typename T>
constexpr corf_dtype dtype_code() {
  if constexpr (std::is_same_v<T, bool>) return CORF_BOOL;
  if constexpr (std::is_same_v<T, int8_t>) return CORF_I8;
  if constexpr (std::is_same_v<T, uint8_t>) return CORF_U8;
  if constexpr (std::is_same_v<T, int16_t>) return CORF_I16;
  if constexpr (std::is_same_v<T, uint16_t>) return CORF_U16;
  if constexpr (std::is_same_v<T, int32_t>) return CORF_I32;
  if constexpr (std::is_same_v<T, uint32_t>) return CORF_U32;
  if constexpr (std::is_same_v<T, int64_t>) return CORF_I64;
  if constexpr (std::is_same_v<T, uint64_t>) return CORF_U64;
  if constexpr (std::is_same_v<T, float>) return CORF_F32;
  if constexpr (std::is_same_v<T, double>) return CORF_F64;
}

/// A dense row-major array that owns its bytes, which start zero-filled at a cache line.
class Array {
 public:
  Array(std::string name, corf_dtype dtype, Extents extents)
      : name_(std::move(name)), dtype_(dtype), extents_(std::move(extents)) {
    lines_.resize((size_bytes() + sizeof(Line) - 1) / sizeof(Line));
  }
  template <typename T>
  static Array of(std::string name, Extents extents, const T* data) {
    Array array(std::move(name), dtype_code<T>(), std::move(extents));
    for (size_t i = 0; i < array.num_elems(); ++i) array.data<T>()[i] = data[i];
    return array;
  }

  /// From a TensorProto, as ONNX's backend tests keep inputs and outputs in .pb files.
  static Array parse_onnx(const std::string& bytes) {
    corf_array* raw = nullptr;
    detail::check(corf_array_parse_onnx(bytes.data(), bytes.size(), &raw));
    const detail::Owned<corf_array, corf_array_free> owned(raw);
    const corf_tensor tensor = corf_array_tensor(raw);
    Array array(tensor.name, tensor.dtype, Extents(tensor.extents, tensor.extents + tensor.rank));
    const size_t size_bytes = array.size_bytes();
    if (size_bytes > 0) std::memcpy(array.bytes(), tensor.data, size_bytes);
    return array;
  }

  const std::string& name() const { return name_; }
  void rename(std::string name) { name_ = std::move(name); }
  corf_dtype dtype() const { return dtype_; }
  const Extents& extents() const { return extents_; }
  size_t num_elems() const {
    size_t count = 1;
    for (const int64_t extent : extents_) count *= static_cast<size_t>(extent);
    return count;
  }
  size_t size_bytes() const { return num_elems() * corf_dtype_size_bytes(dtype_); }
  void* bytes() { return lines_.data(); }
  const void* bytes() const { return lines_.data(); }
  template <typename T>
  T* data() {
    return reinterpret_cast<T*>(lines_.data());
  }
  template <typename T>
  const T* data() const {
    return reinterpret_cast<const T*>(lines_.data());
  }

  /// The C interface's view; valid until the array is changed, moved or destroyed.
  corf_tensor view() const {
    return {name_.c_str(), dtype_, extents_.size(), extents_.data(),
            const_cast<Line*>(lines_.data())};
  }

 private:
  std::string name_;
  corf_dtype dtype_;
  Extents extents_;
  struct alignas(64) Line {
    unsigned char bytes[64];
  };
  std::vector<Line> lines_;
};

/// A tensor, strings, a sequence of values, or nothing. Copies are the same one.
class Value {
 public:
  explicit Value(corf_value* value) : value_(value, corf_value_free) {}
  explicit Value(const Array& array) {
    const corf_tensor view = array.view();
    corf_value* value = nullptr;
    detail::check(corf_value_of_tensor(&view, &value));
    value_ = {value, corf_value_free};
  }
  static Value of_strings(const Extents& extents, const std::vector<std::string>& texts) {
    std::vector<const char*> pointers;
    std::vector<size_t> sizes;
    for (const std::string& text : texts) {
      pointers.push_back(text.data());
      sizes.push_back(text.size());
    }
    corf_value* value = nullptr;
    detail::check(corf_value_of_strings(extents.size(), extents.data(), pointers.data(),
                                        sizes.data(), texts.size(), &value));
    return Value(value);
  }
  static Value of_sequence(const std::vector<Value>& items) {
    std::vector<const corf_value*> pointers;
    for (const Value& item : items) pointers.push_back(item.get());
    corf_value* value = nullptr;
    detail::check(corf_value_of_sequence(pointers.data(), pointers.size(), &value));
    return Value(value);
  }
  static Value parse_onnx(const std::string& bytes, corf_kind kind) {
    corf_value* value = nullptr;
    detail::check(corf_value_parse_onnx(bytes.data(), bytes.size(), kind, &value));
    return Value(value);
  }

  corf_kind kind() const { return corf_value_kind(value_.get()); }
  /// Of a tensor or strings.
  Extents extents() const {
    const corf_tensor view = tensor();
    return Extents(view.extents, view.extents + view.rank);
  }
  int narrow_type() const { return corf_value_narrow_type(value_.get()); }
  /// A copy of the tensor; of narrow elements a byte for each.
  Array array(std::string name = "") const {
    const corf_tensor view = tensor();
    Array array(std::move(name), view.dtype, Extents(view.extents, view.extents + view.rank));
    if (array.size_bytes() > 0) std::memcpy(array.bytes(), view.data, array.size_bytes());
    return array;
  }
  std::vector<std::string> strings() const {
    std::vector<std::string> texts;
    const char* text = nullptr;
    size_t size_bytes = 0;
    for (size_t i = 0; i < corf_value_num_items(value_.get()); ++i) {
      detail::check(corf_value_string(value_.get(), i, &text, &size_bytes));
      texts.emplace_back(text, size_bytes);
    }
    return texts;
  }
  std::vector<Value> items() const {
    std::vector<Value> result;
    corf_value* item = nullptr;
    for (size_t i = 0; i < corf_value_num_items(value_.get()); ++i) {
      detail::check(corf_value_item(value_.get(), i, &item));
      result.emplace_back(item);
    }
    return result;
  }
  const corf_value* get() const { return value_.get(); }

 private:
  corf_tensor tensor() const {
    corf_tensor view = {};
    detail::check(corf_value_tensor(value_.get(), &view));
    return view;
  }
  std::shared_ptr<corf_value> value_;
};

/// The folder that option executable_cache calls "default".
inline std::string executable_cache_folder() {
  char* folder = nullptr;
  detail::check(corf_executable_cache_folder(&folder));
  const detail::Owned<char, corf_string_free> owned(folder);
  return folder;
}
inline corf_cache_contents executable_cache_contents(const std::string& folder = "default") {
  corf_cache_contents contents = {};
  detail::check(corf_executable_cache_contents(folder.c_str(), &contents, sizeof contents));
  return contents;
}
/// What was removed.
inline corf_cache_contents clear_executable_cache(const std::string& folder = "default") {
  corf_cache_contents removed = {};
  detail::check(corf_executable_cache_clear(folder.c_str(), &removed, sizeof removed));
  return removed;
}

inline std::vector<corf_tensor> views(const std::vector<Array>& arrays) {
  std::vector<corf_tensor> result;
  for (const Array& array : arrays) result.push_back(array.view());
  return result;
}

struct StepProfile {
  std::string label;
  double start_ms = 0, time_ms = 0;
  int64_t work_flops = 0, executed_flops = 0, compulsory_bytes = 0;
  double limit_ms = 0;
  std::vector<double> busy_ms;  // of each worker, from the start of the step on
};

struct ExplainedLink {
  std::string producer, consumer, mapping, strategy, why;
};
struct ExplainedGroup {
  std::vector<std::string> nodes;
  double predicted_ms = 0;
  size_t num_steps = 0;
  std::vector<ExplainedLink> links;
};

struct ComparedValue {
  std::string name, nodes;
  double relative_l2 = 0, max_abs = 0;
  bool within_bounds = true;
  int64_t ties = 0;  // corf.h

  explicit ComparedValue(const corf_compared_value& value)
      : name(value.name),
        nodes(value.nodes),
        relative_l2(value.relative_l2),
        max_abs(value.max_abs),
        within_bounds(value.within_bounds != 0),
        ties(value.ties) {}
};
struct Comparison {
  std::vector<ComparedValue> outputs;
  std::optional<ComparedValue> first_wrong_group;
};

/// This machine, with what was measured of it (corf_machine_create in corf.h).
class Machine {
 public:
  explicit Machine(int threads = 0, const std::string& isa = "") {
    corf_machine* machine = nullptr;
    detail::check(corf_machine_create(threads, isa.c_str(), &machine));
    machine_.reset(machine);
  }
  /// Its texts live as long as this object.
  corf_machine_info info() const {
    corf_machine_info info = {};
    detail::check(corf_machine_describe(machine_.get(), &info, sizeof info));
    return info;
  }

 private:
  detail::Owned<corf_machine, corf_machine_free> machine_;
};

/// Ends compilations from another thread (corf_cancellation_create in corf.h). Copies are the same
/// one.
class Cancellation {
 public:
  Cancellation() {
    corf_cancellation* cancellation = nullptr;
    detail::check(corf_cancellation_create(&cancellation));
    cancellation_ = {cancellation, corf_cancellation_free};
  }
  void cancel() { corf_cancellation_cancel(cancellation_.get()); }
  const corf_cancellation* get() const { return cancellation_.get(); }

 private:
  std::shared_ptr<corf_cancellation> cancellation_;
};

/// Keys and values as documented at corf_options_set.
class Options {
 public:
  Options() {
    corf_options* options = nullptr;
    detail::check(corf_options_create(&options));
    options_.reset(options);
  }
  Options(std::initializer_list<std::pair<const char*, std::string>> settings) : Options() {
    for (const auto& [key, value] : settings) set(key, value);
  }
  Options& set(const std::string& key, const std::string& value) {
    detail::check(corf_options_set(options_.get(), key.c_str(), value.c_str()));
    return *this;
  }
  Options& set(const Cancellation& cancellation) {
    detail::check(corf_options_set_cancellation(options_.get(), cancellation.get()));
    return *this;
  }
  const corf_options* get() const { return options_.get(); }

 private:
  detail::Owned<corf_options, corf_options_free> options_;
};

/// A model compiled for one set of shapes.
class Executable {
 public:
  explicit Executable(corf_executable* executable) : executable_(executable) {}

  std::vector<Declaration> inputs() const {
    std::vector<Declaration> result;
    corf_tensor_info info;
    for (size_t i = 0; i < corf_executable_num_inputs(executable_.get()); ++i) {
      detail::check(corf_executable_input(executable_.get(), i, &info));
      result.emplace_back(info);
    }
    return result;
  }
  std::vector<Declaration> outputs() const {
    std::vector<Declaration> result;
    corf_tensor_info info;
    for (size_t i = 0; i < corf_executable_num_outputs(executable_.get()); ++i) {
      detail::check(corf_executable_output(executable_.get(), i, &info));
      result.emplace_back(info);
    }
    return result;
  }

  /// Zero-filled arrays for the outputs.
  std::vector<Array> make_outputs() const {
    std::vector<Array> arrays;
    for (const Declaration& output : outputs()) {
      arrays.emplace_back(output.name, output.dtype, output.extents);
    }
    return arrays;
  }

  std::vector<Array> run(const std::vector<Array>& inputs) {
    std::vector<Array> results = make_outputs();
    run(views(inputs), views(results));
    return results;
  }
  /// Into the caller's arrays.
  void run(const std::vector<corf_tensor>& inputs, const std::vector<corf_tensor>& outputs) {
    detail::check(corf_executable_run(executable_.get(), inputs.data(), inputs.size(),
                                      outputs.data(), outputs.size()));
  }

  /// Runs once and tells the time of each step.
  std::vector<StepProfile> profile(const std::vector<corf_tensor>& inputs,
                                   const std::vector<corf_tensor>& outputs) {
    corf_profile* raw = nullptr;
    detail::check(corf_executable_run_profiled(executable_.get(), inputs.data(), inputs.size(),
                                               outputs.data(), outputs.size(), &raw));
    const detail::Owned<corf_profile, corf_profile_free> profile(raw);
    std::vector<StepProfile> steps;
    for (size_t i = 0; i < corf_profile_num_steps(raw); ++i) {
      corf_step_profile step = {};
      detail::check(corf_profile_step(raw, i, &step, sizeof step));
      steps.push_back({step.label,
                       step.start_ms,
                       step.time_ms,
                       step.work_flops,
                       step.executed_flops,
                       step.compulsory_bytes,
                       step.limit_ms,
                       {}});
      for (size_t worker = 0; worker < corf_profile_num_workers(raw); ++worker) {
        detail::check(corf_profile_busy_ms(raw, i, worker, &steps.back().busy_ms.emplace_back()));
      }
    }
    return steps;
  }

  /// To a file that Session takes in the model's place.
  void write(const std::string& path) const {
    detail::check(corf_executable_write(executable_.get(), path.c_str()));
  }

  corf_executable_info info() const {
    corf_executable_info info = {};
    detail::check(corf_executable_describe(executable_.get(), &info, sizeof info));
    return info;
  }
  double limit_ms() const {
    double limit_ms = 0;
    detail::check(corf_executable_limit_ms(executable_.get(), &limit_ms));
    return limit_ms;
  }

 private:
  detail::Owned<corf_executable, corf_executable_free> executable_;
};

/// A loaded model with its options, its workers and the executables for the last few shapes.
class Session {
 public:
  explicit Session(const std::string& path, const Options& options = {}) {
    corf_session* session = nullptr;
    detail::check(corf_session_load(path.c_str(), options.get(), &session));
    session_.reset(session);
  }
  Session(const void* bytes, size_t size_bytes, const Options& options = {},
          const std::string& directory = ".") {
    corf_session* session = nullptr;
    detail::check(
        corf_session_load_bytes(bytes, size_bytes, directory.c_str(), options.get(), &session));
    session_.reset(session);
  }

  std::vector<Declaration> inputs() const {
    std::vector<Declaration> result;
    corf_tensor_info info;
    for (size_t i = 0; i < corf_session_num_inputs(session_.get()); ++i) {
      detail::check(corf_session_input(session_.get(), i, &info));
      result.emplace_back(info);
    }
    return result;
  }
  std::vector<Declaration> outputs() const {
    std::vector<Declaration> result;
    corf_tensor_info info;
    for (size_t i = 0; i < corf_session_num_outputs(session_.get()); ++i) {
      detail::check(corf_session_output(session_.get(), i, &info));
      result.emplace_back(info);
    }
    return result;
  }
  /// The inputs that are tensors, with the shapes that they have with `shapes`.
  std::vector<Declaration> tensor_inputs(const Shapes& shapes) const {
    const std::vector<corf_shape> list = to_list(shapes);
    std::vector<Declaration> result;
    const std::vector<Declaration> declared = inputs();
    for (size_t i = 0; i < declared.size(); ++i) {
      if (input_kind(i) != CORF_TENSOR) continue;
      Declaration& input = result.emplace_back(declared[i]);
      size_t rank = 0;
      for (size_t room = input.extents.size() + 1;; room = rank) {
        input.extents.resize(room);
        detail::check(corf_session_input_extents(session_.get(), list.data(), list.size(), i,
                                                 input.extents.data(), room, &rank));
        if (rank <= room) break;
      }
      input.extents.resize(rank);
      input.symbols.assign(rank, "");
      input.has_shape = true;
    }
    return result;
  }
  std::map<std::string, std::string> metadata() const {
    std::map<std::string, std::string> result;
    const char* key = nullptr;
    const char* value = nullptr;
    for (size_t i = 0; i < corf_session_num_metadata(session_.get()); ++i) {
      detail::check(corf_session_metadata_at(session_.get(), i, &key, &value));
      result.emplace(key, value);
    }
    return result;
  }
  std::map<std::string, int64_t> operators() const {
    std::map<std::string, int64_t> result;
    const char* name = nullptr;
    int64_t count = 0;
    for (size_t i = 0; i < corf_session_num_operators(session_.get()); ++i) {
      detail::check(corf_session_operator_at(session_.get(), i, &name, &count));
      result.emplace(name, count);
    }
    return result;
  }
  int64_t opset() const { return corf_session_opset(session_.get()); }
  int threads() const { return corf_session_threads(session_.get()); }

  Executable compile(const Shapes& shapes = {}) {
    const std::vector<corf_shape> list = to_list(shapes);
    corf_executable* executable = nullptr;
    detail::check(corf_session_compile(session_.get(), list.data(), list.size(), &executable));
    return Executable(executable);
  }

  /// For the inputs' shapes, and for the values of those that decide shapes, which the executable
  /// does not take.
  Executable compile_for(const std::vector<Array>& inputs) {
    const std::vector<corf_tensor> list = views(inputs);
    corf_executable* executable = nullptr;
    detail::check(corf_session_compile_for(session_.get(), list.data(), list.size(), &executable));
    return Executable(executable);
  }

  /// Inputs whose values have to be known to compile for these shapes.
  std::vector<std::string> deciding_inputs(const Shapes& shapes = {}) {
    const std::vector<corf_shape> list = to_list(shapes);
    char* text = nullptr;
    detail::check(corf_session_deciding_inputs(session_.get(), list.data(), list.size(), &text));
    const detail::Owned<char, corf_string_free> owned(text);
    std::vector<std::string> names;
    for (const char* begin = text; *begin != 0;) {
      const size_t length = std::strcspn(begin, "\n");
      names.emplace_back(begin, length);
      begin += length + (begin[length] != 0);
    }
    return names;
  }

  /// How the model is run with inputs of these shapes, and why it is not compiled as a whole.
  std::pair<corf_support, std::string> support(const Shapes& shapes = {}) {
    const std::vector<corf_shape> list = to_list(shapes);
    corf_support kind = CORF_SUPPORT_WHOLE;
    char* text = nullptr;
    detail::check(corf_session_support(session_.get(), list.data(), list.size(), &kind, &text));
    const detail::Owned<char, corf_string_free> owned(text);
    return {kind, text};
  }

  /// Operators that no shapes and no values would make it run, with the reasons; "" if none.
  std::string refused_operators() {
    char* text = nullptr;
    detail::check(corf_session_refused_operators(session_.get(), &text));
    const detail::Owned<char, corf_string_free> owned(text);
    return text;
  }

  corf_kind input_kind(size_t position) const {
    return corf_session_input_kind(session_.get(), position);
  }
  corf_kind output_kind(size_t position) const {
    return corf_session_output_kind(session_.get(), position);
  }

  /// Any model, piece by piece where its shapes depend on data or its values are not tensors.
  std::vector<Value> run_values(const std::vector<Value>& inputs) {
    std::vector<const corf_value*> in;
    for (const Value& input : inputs) in.push_back(input.get());
    std::vector<corf_value*> out(corf_session_num_outputs(session_.get()));
    detail::check(
        corf_session_run_values(session_.get(), in.data(), in.size(), out.data(), out.size()));
    return std::vector<Value>(out.begin(), out.end());
  }

  /// Compiles for the inputs where that has not been done, and runs; a model whose shapes depend on
  /// data is run piece by piece.
  std::vector<Array> run(const std::vector<Array>& inputs) {
    std::optional<Executable> executable;
    if (corf_session_runs_in_pieces(session_.get()) == 0) {
      try {
        executable.emplace(compile_for(inputs));
      } catch (const Exception& exception) {
        if (exception.code() != CORF_UNSUPPORTED && exception.code() != CORF_INVALID_MODEL) throw;
      }
    }
    if (!executable) return run_in_pieces(inputs);
    std::vector<Array> results = executable->make_outputs();
    const std::vector<corf_tensor> in = views(inputs), out = views(results);
    detail::check(corf_session_run(session_.get(), in.data(), in.size(), out.data(), out.size()));
    return results;
  }

  /// The pipeline up to `stage` as text: graph, mapping, plan, costs, loop, llvm or asm.
  std::string inspect(const std::string& stage, const Shapes& shapes = {}) {
    const std::vector<corf_shape> list = to_list(shapes);
    char* text = nullptr;
    detail::check(
        corf_session_inspect(session_.get(), stage.c_str(), list.data(), list.size(), &text));
    const detail::Owned<char, corf_string_free> owned(text);
    return text;
  }

  /// Searches for the fastest plan by measuring, and keeps it in the plan cache. `progress` is
  /// called before each kernel that is timed.
  corf_tuning tune(double time_limit_s, const Shapes& shapes = {},
                   const std::function<void(const corf_tuning_progress&)>& progress = nullptr) {
    using Told = std::function<void(const corf_tuning_progress&)>;
    const std::vector<corf_shape> list = to_list(shapes);
    corf_tuning tuning = {};
    auto call = [](const corf_tuning_progress* now, void* context) {
      (*static_cast<const Told*>(context))(*now);
    };
    void* context = const_cast<Told*>(&progress);
    detail::check(corf_session_tune(session_.get(), list.data(), list.size(), time_limit_s,
                                    progress ? +call : nullptr, context, &tuning, sizeof tuning));
    return tuning;
  }

  /// The groups of the plan that compile(shapes) carries out.
  std::vector<ExplainedGroup> explain(const Shapes& shapes = {}) {
    const std::vector<corf_shape> list = to_list(shapes);
    corf_explanation* raw = nullptr;
    detail::check(corf_session_explain(session_.get(), list.data(), list.size(), &raw));
    const detail::Owned<corf_explanation, corf_explanation_free> owned(raw);
    std::vector<ExplainedGroup> groups;
    for (size_t i = 0; i < corf_explanation_num_groups(raw); ++i) {
      corf_explained_group from = {};
      detail::check(corf_explanation_group(raw, i, &from, sizeof from));
      ExplainedGroup& group = groups.emplace_back();
      group.nodes.assign(from.nodes, from.nodes + from.num_nodes);
      group.predicted_ms = from.predicted_ms;
      group.num_steps = from.num_steps;
      for (size_t k = 0; k < from.num_links; ++k) {
        corf_explained_link link = {};
        detail::check(corf_explanation_link(raw, i, k, &link, sizeof link));
        group.links.push_back(
            {link.producer, link.consumer, link.mapping, link.strategy, link.why});
      }
    }
    return groups;
  }

  /// Writes the smallest part of the model that is found to be off into the folder (corf.h); the
  /// number of its nodes, 0 if all is right.
  size_t reduce(const std::vector<Array>& inputs, const std::string& folder) {
    const std::vector<corf_tensor> list = views(inputs);
    size_t num_nodes = 0;
    detail::check(
        corf_session_reduce(session_.get(), list.data(), list.size(), folder.c_str(), &num_nodes));
    return num_nodes;
  }

  Comparison compare(corf_reference reference, const std::vector<Array>& inputs) {
    const std::vector<corf_tensor> list = views(inputs);
    corf_comparison* raw = nullptr;
    detail::check(corf_session_compare(session_.get(), reference, list.data(), list.size(), &raw));
    return to_comparison(raw);
  }
  /// Segment by segment, of a model that is run in pieces.
  Comparison compare_values(corf_reference reference, const std::vector<Value>& inputs) {
    std::vector<const corf_value*> in;
    for (const Value& input : inputs) in.push_back(input.get());
    corf_comparison* raw = nullptr;
    detail::check(
        corf_session_compare_values(session_.get(), reference, in.data(), in.size(), &raw));
    return to_comparison(raw);
  }

 private:
  static Comparison to_comparison(corf_comparison* raw) {
    const detail::Owned<corf_comparison, corf_comparison_free> owned(raw);
    Comparison comparison;
    corf_compared_value value = {};
    for (size_t i = 0; i < corf_comparison_num_outputs(raw); ++i) {
      detail::check(corf_comparison_output(raw, i, &value, sizeof value));
      comparison.outputs.emplace_back(value);
    }
    int found = 0;
    detail::check(corf_comparison_first_wrong_group(raw, &found, &value, sizeof value));
    if (found != 0) comparison.first_wrong_group.emplace(value);
    return comparison;
  }

  std::vector<Array> run_in_pieces(const std::vector<Array>& inputs) {
    std::vector<Value> values;
    for (const Declaration& declared : this->inputs()) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        const bool is_it =
            inputs[i].name().empty() ? i == values.size() : inputs[i].name() == declared.name;
        if (!is_it) continue;
        values.emplace_back(inputs[i]);
        break;
      }
    }
    const std::vector<Value> results = run_values(values);
    std::vector<Array> arrays;
    const std::vector<Declaration> declared = outputs();
    for (size_t i = 0; i < results.size(); ++i)
      arrays.push_back(results[i].array(declared[i].name));
    return arrays;
  }

  static std::vector<corf_shape> to_list(const Shapes& shapes) {
    std::vector<corf_shape> list;
    for (const auto& [name, extents] : shapes) {
      list.push_back({name.c_str(), extents.size(), extents.data()});
    }
    return list;
  }

  detail::Owned<corf_session, corf_session_free> session_;
};

}  // namespace corf
