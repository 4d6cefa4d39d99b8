#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/ranges.h>
#include <optional>
#include <set>

#include "api/model_compiler.h"
#include "driver/reduce.h"
#include "onnx/extract.h"
#include "support/write_file.h"

using corf::ErrorCode;
using corf::make_error;
using corf::Result;
using corf::Status;
using corf::Tensor;
using corf::driver::ComparedValue;
using corf::session::answered;
using corf::session::guarded;
using corf::session::needed_array;
using corf::session::Value;

struct corf_comparison {
  struct Value {
    std::string name, nodes;
    double relative_l2 = 0, max_abs = 0;
    bool within_bounds = true;
    int64_t ties = 0;
  };
  std::vector<Value> outputs;
  std::optional<Value> first_wrong_group;
};

namespace {

// Two plans of the same model may round differently; more than this is a fault (design section 5).
constexpr double kUnfusedTolerance = 1e-4;

corf_comparison::Value to_value(const ComparedValue& value) {
  return {value.name, fmt::format("{}", fmt::join(value.nodes, ", ")), value.relative_l2,
          value.max_abs, value.within_bounds};
}

corf_compared_value to_c(const corf_comparison::Value& value) {
  return {value.name.c_str(), value.nodes.c_str(),         value.relative_l2,
          value.max_abs,      value.within_bounds ? 1 : 0, value.ties};
}

/// The caller's arrays as tensors that do not own them.
std::vector<Tensor> borrow(const std::vector<const corf_tensor*>& arrays) {
  std::vector<Tensor> tensors;
  for (const corf_tensor* array : arrays) {
    const auto dtype = static_cast<corf::DType>(array->dtype);
    corf::Shape shape = corf::session::shape_of(*array);
    // An array without elements may have no address, but a tensor without one is no tensor.
    tensors.push_back(array->data == nullptr
                          ? Tensor(dtype, std::move(shape))
                          : Tensor(dtype, std::move(shape), nullptr, array->data));
  }
  return tensors;
}

Result<std::vector<Tensor>> run(corf::session::CompiledModel& compiled,
                                const std::vector<const corf_tensor*>& inputs) {
  std::vector<const void*> input_data;
  for (const corf_tensor* input : inputs) input_data.push_back(input->data);
  std::vector<Tensor> outputs;
  std::vector<void*> output_data;
  for (const auto& output : compiled.outputs) {
    outputs.emplace_back(output->dtype(), output->extents());
    output_data.push_back(outputs.back().bytes());
  }
  CORF_RETURN_IF_ERROR(compiled.executable->run(input_data, output_data));
  return outputs;
}

corf_comparison::Value difference(const std::string& name, const Tensor& actual,
                                  const Tensor& reference) {
  corf_comparison::Value value;
  value.name = name;
  double squared_error = 0, squared_norm = 0;
  for (int64_t i = 0; i < reference.num_elems(); ++i) {
    const double expected = reference.at_f64(i), got = actual.at_f64(i);
    const bool same = expected == got || (std::isnan(expected) && std::isnan(got));
    const double error = same ? 0.0 : std::abs(got - expected);
    // A NaN or infinity on one side only must show.
    value.max_abs = std::isnan(error) ? error : std::max(value.max_abs, error);
    squared_error += error * error;
    if (std::isfinite(expected)) squared_norm += expected * expected;
  }
  value.relative_l2 = squared_error == 0 ? 0.0 : std::sqrt(squared_error) / std::sqrt(squared_norm);
  value.within_bounds = value.relative_l2 <= kUnfusedTolerance;
  return value;
}

/// What a caller compares a session's model on.
struct Given {
  std::vector<const corf_tensor*> inputs;  // as the session declares them
  corf::session::ShapeBindings shapes;
};

Result<Given> given_to(corf::session::Session& session, const corf_tensor* inputs,
                       size_t num_inputs) {
  Given given;
  CORF_ASSIGN(given.inputs, corf::session::match(session.inputs(), "input", inputs, num_inputs));
  CORF_ASSIGN(const auto shapes, session.shapes_of(given.inputs));
  CORF_ASSIGN(given.shapes, corf::session::resolve(session.inputs(), shapes));
  return given;
}

/// f(model, inputs, options) of the driver.
template <typename Function>
auto call_driver(corf::session::Session& session, const Given& given, const Function& f)
    -> decltype(f(std::declval<const corf::onnx::Model&>(), std::vector<Tensor>(),
                  corf::driver::CompileOptions())) {
  CORF_ASSIGN(const auto* compiler, corf::api::compiler_of(session));
  CORF_ASSIGN(const auto model, compiler->model());
  const auto values = session.decide(given.shapes, given.inputs);
  return f(*model, borrow(session.taken_by(values, given.inputs)),
           compiler->options(given.shapes, session.threads(), values));
}

Result<corf_comparison> compare_with_unfused(corf::session::Session& session, const Given& given) {
  CORF_ASSIGN(const auto compiled, session.compile(given.inputs));
  CORF_ASSIGN(const auto* compiler, corf::api::compiler_of(session));
  CORF_ASSIGN(auto unfused_spec,
              compiler->compile_unfused(given.shapes, compiled->values, session.threads()));
  CORF_ASSIGN(const auto unfused, session.load(std::move(unfused_spec)));
  const auto taken = session.taken_by(compiled->values, given.inputs);
  CORF_ASSIGN(const auto actual, run(*compiled, taken));
  CORF_ASSIGN(const auto reference, run(*unfused, taken));
  corf_comparison comparison;
  for (size_t i = 0; i < actual.size(); ++i) {
    comparison.outputs.push_back(difference(compiled->outputs[i]->name(), actual[i], reference[i]));
  }
  return comparison;
}

Result<corf_comparison> compare_with_evaluate(corf::session::Session& session, const Given& given) {
  CORF_ASSIGN(const auto compared, call_driver(session, given, corf::driver::compare));
  corf_comparison comparison;
  for (const ComparedValue& value : compared.outputs) {
    comparison.outputs.push_back(to_value(value));
    comparison.outputs.back().ties = compared.ties.value_or(0);
  }
  if (compared.first_wrong_group) {
    comparison.first_wrong_group = to_value(*compared.first_wrong_group);
  }
  return comparison;
}

Result<corf_comparison> compare(corf::session::Session& session, corf_reference reference,
                                const Given& given) {
  return reference == CORF_REFERENCE_EVALUATE ? compare_with_evaluate(session, given)
                                              : compare_with_unfused(session, given);
}

/// Compares each segment of a model that is run in pieces, on the values that it is given in a run.
class SegmentComparison {
 public:
  explicit SegmentComparison(corf_reference reference) : reference_(reference) {}

  /// Once for each executable of the segment.
  Status compare_once(corf::session::Session& segment,
                      const std::vector<const corf_tensor*>& inputs) {
    Given given;
    given.inputs = inputs;
    CORF_ASSIGN(given.shapes, segment.shapes_of(inputs));
    const auto values = segment.decide(given.shapes, inputs);
    if (!seen_.emplace(&segment, corf::session::to_key(given.shapes, values)).second) return {};
    CORF_ASSIGN(const corf_comparison compared, compare(segment, reference_, given));
    for (const corf_comparison::Value& value : compared.outputs) add(value);
    if (!result_.first_wrong_group) result_.first_wrong_group = compared.first_wrong_group;
    return {};
  }
  corf_comparison take() { return std::move(result_); }

 private:
  /// Of several executables' results of one name the worst counts.
  void add(const corf_comparison::Value& value) {
    const auto same = std::find_if(result_.outputs.begin(), result_.outputs.end(),
                                   [&](const auto& known) { return known.name == value.name; });
    if (same == result_.outputs.end()) {
      result_.outputs.push_back(value);
    } else if (!(value.relative_l2 <= same->relative_l2)) {
      *same = value;
    }
  }

  const corf_reference reference_;
  std::set<std::pair<const corf::session::Session*, std::string>> seen_;
  corf_comparison result_;
};

Result<corf_comparison> compare_in_pieces(corf::session::Session& session, corf_reference reference,
                                          const std::vector<Value>& inputs) {
  CORF_RETURN_IF_ERROR(session.check_values(inputs));
  if (const auto compiler = corf::api::compiler_of(session); !compiler.ok()) {
    return compiler.error();
  }
  SegmentComparison comparison(reference);
  const auto observe = [&](corf::session::Session& segment, const auto& given) {
    return comparison.compare_once(segment, given);
  };
  const auto outputs = session.piece_runner()->run(inputs, observe);
  if (!outputs.ok()) return outputs.error();
  return comparison.take();
}

Status check_reference(corf_reference reference) {
  if (reference == CORF_REFERENCE_EVALUATE || reference == CORF_REFERENCE_UNFUSED) return {};
  return make_error(ErrorCode::kInvalidArgument, "{} is no reference", static_cast<int>(reference));
}

Status write_reproduction(const corf::driver::Reproduction& found, const std::string& folder) {
  const std::string data = folder + "/test_data_set_0";
  CORF_RETURN_IF_ERROR(corf::write_file_and_folder(folder + "/model.onnx", found.model));
  const auto write_all = [&](const char* kind, const auto& tensors) -> Status {
    for (size_t i = 0; i < tensors.size(); ++i) {
      CORF_RETURN_IF_ERROR(corf::write_file_and_folder(
          fmt::format("{}/{}_{}.pb", data, kind, i),
          corf::onnx::tensor_to_onnx(tensors[i].first, tensors[i].second)));
    }
    return {};
  };
  CORF_RETURN_IF_ERROR(write_all("input", found.inputs));
  return write_all("output", found.outputs);
}

void copy_value(const corf_comparison::Value& from, corf_compared_value* to, size_t to_size_bytes) {
  const corf_compared_value value = to_c(from);
  std::memcpy(to, &value, std::min(sizeof value, to_size_bytes));
}

}  // namespace

extern "C" {

corf_error* corf_session_compare(corf_session* session, corf_reference reference,
                                 const corf_tensor* inputs, size_t num_inputs,
                                 corf_comparison** comparison) {
  return guarded({{session, "session"},
                  {comparison, "comparison"},
                  needed_array(inputs, num_inputs, "inputs")},
                 [&]() -> Status {
                   corf::session::Session& opened = *session->session;
                   CORF_ASSIGN(const auto given, given_to(opened, inputs, num_inputs));
                   CORF_RETURN_IF_ERROR(check_reference(reference));
                   CORF_ASSIGN(corf_comparison result, compare(opened, reference, given));
                   *comparison = new corf_comparison(std::move(result));
                   return {};
                 });
}

corf_error* corf_session_compare_values(corf_session* session, corf_reference reference,
                                        const corf_value* const* inputs, size_t num_inputs,
                                        corf_comparison** comparison) {
  return guarded(
      {{session, "session"},
       {comparison, "comparison"},
       needed_array(inputs, num_inputs, "inputs")},
      [&]() -> Status {
        CORF_RETURN_IF_ERROR(check_reference(reference));
        CORF_ASSIGN(const std::vector<Value> given, corf::session::to_values(inputs, num_inputs));
        CORF_ASSIGN(corf_comparison result, compare_in_pieces(*session->session, reference, given));
        *comparison = new corf_comparison(std::move(result));
        return {};
      });
}

void corf_comparison_free(corf_comparison* comparison) { delete comparison; }

size_t corf_comparison_num_outputs(const corf_comparison* comparison) {
  return answered(size_t{0}, {comparison}, [&] { return comparison->outputs.size(); });
}

corf_error* corf_comparison_output(const corf_comparison* comparison, size_t position,
                                   corf_compared_value* value, size_t value_size_bytes) {
  return guarded({{comparison, "comparison"}, {value, "value"}}, [&]() -> Status {
    if (position >= comparison->outputs.size()) {
      return make_error(ErrorCode::kInvalidArgument, "there is no output number {}; there are {}",
                        position, comparison->outputs.size());
    }
    copy_value(comparison->outputs[position], value, value_size_bytes);
    return {};
  });
}

corf_error* corf_comparison_first_wrong_group(const corf_comparison* comparison, int* found,
                                              corf_compared_value* value, size_t value_size_bytes) {
  return guarded({{comparison, "comparison"}, {found, "found"}, {value, "value"}}, [&]() -> Status {
    *found = comparison->first_wrong_group ? 1 : 0;
    if (comparison->first_wrong_group) {
      copy_value(*comparison->first_wrong_group, value, value_size_bytes);
    }
    return {};
  });
}

corf_error* corf_session_reduce(corf_session* session, const corf_tensor* inputs, size_t num_inputs,
                                const char* folder, size_t* num_nodes) {
  return guarded({{session, "session"},
                  {folder, "folder"},
                  {num_nodes, "num_nodes"},
                  needed_array(inputs, num_inputs, "inputs")},
                 [&]() -> Status {
                   corf::session::Session& opened = *session->session;
                   CORF_ASSIGN(const auto given, given_to(opened, inputs, num_inputs));
                   CORF_ASSIGN(const auto found, call_driver(opened, given, corf::driver::reduce));
                   if (found) CORF_RETURN_IF_ERROR(write_reproduction(*found, folder));
                   *num_nodes = found ? found->num_nodes : 0;
                   return {};
                 });
}

}  // extern "C"
