#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <memory>

#include "commands.h"
#include "json.h"
#include "progress.h"
#include "ready_model.h"
#include "settings.h"
#include "support/printable.h"

namespace corf::command {
namespace {

struct CompareSettings : Settings {
  std::string reference = "evaluate";
  std::string against;
  std::string reduced_folder;
};

Json to_json(const ComparedValue& value) {
  return {{"name", value.name},
          {"nodes", value.nodes},
          {"relative_l2", value.relative_l2},
          {"max_abs", value.max_abs},
          {"within_bounds", value.within_bounds},
          {"ties", value.ties}};
}

/// Leaves the smallest part of the model that is off, and says how to look at it.
void reduce(const CompareSettings& settings, Session& session, const std::vector<Array>& inputs) {
  size_t num_nodes = 0;
  {
    const Waiting waiting("looking for the smallest part that is off");
    num_nodes = session.reduce(inputs, settings.reduced_folder);
  }
  if (settings.json) return;
  if (num_nodes == 0) {
    fmt::print("no part of the model is off against float64 by itself\n");
    return;
  }
  fmt::print("{}: a part of {} nodes that is off; corf compare {}/model.onnx",
             settings.reduced_folder, num_nodes, settings.reduced_folder);
  const Session part(settings.reduced_folder + "/model.onnx");
  size_t position = 0;
  for (const Declaration& input : part.inputs()) {
    fmt::print(" --input '{}={}/test_data_set_0/input_{}.pb'", printable(input.name),
               settings.reduced_folder, position++);
  }
  fmt::print("\n");
}

/// How far a model's results are from those of another one, which it stands for.
struct Distance {
  std::string name;
  double relative_l2 = 0;
  size_t largest_equal = 0, rows = 0;  // along the last dimension: the same number is the largest
};

const float* numbers_of(const Array& array) {
  return array.dtype() == CORF_F32 ? array.data<float>() : nullptr;
}

Distance distance(const Array& actual, const Array& expected) {
  Distance result{actual.name()};
  const float *a = numbers_of(actual), *b = numbers_of(expected);
  if (!a || !b || actual.num_elems() != expected.num_elems()) {
    throw Exception(CORF_INVALID_ARGUMENT,
                    fmt::format("output {}: both models must give float32 of one shape",
                                printable(actual.name())));
  }
  double error = 0, norm = 0;
  for (size_t i = 0; i < actual.num_elems(); ++i) {
    error += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
    norm += double(b[i]) * double(b[i]);
  }
  result.relative_l2 = error == 0 ? 0 : std::sqrt(error / norm);
  const size_t row = actual.extents().empty() ? 1 : static_cast<size_t>(actual.extents().back());
  for (size_t i = 0; row > 0 && i + row <= actual.num_elems(); i += row) {
    ++result.rows;
    result.largest_equal +=
        std::max_element(a + i, a + i + row) - a == std::max_element(b + i, b + i + row) - b;
  }
  return result;
}

/// Both models in float32 on the same inputs; outputs in order.
void compare_with_model(const CompareSettings& settings) {
  Session session(settings.model, settings.to_options());
  Options plain = settings.to_options();
  plain.set("precision", "f32");
  Session other(settings.against, plain);
  const ReadyModel ready = make_ready(session, settings);
  if (!ready.executable) {
    throw Exception(CORF_UNSUPPORTED, "--against takes models that are compiled as a whole");
  }
  const std::vector<Array> actual = session.run(ready.inputs), expected = other.run(ready.inputs);
  if (actual.size() != expected.size()) {
    throw Exception(CORF_INVALID_ARGUMENT, "the models have not as many outputs");
  }
  Json outputs = Json::array();
  for (size_t i = 0; i < actual.size(); ++i) {
    const Distance found = distance(actual[i], expected[i]);
    outputs.push_back({{"name", found.name},
                       {"relative_l2", found.relative_l2},
                       {"largest_equal", found.largest_equal},
                       {"rows", found.rows}});
    if (settings.json) continue;
    fmt::print("{}  relative L2 distance {:.3g}, the same largest number in {} of {} rows\n",
               printable(found.name), found.relative_l2, found.largest_equal, found.rows);
  }
  if (settings.json) print(Json{{"against", settings.against}, {"outputs", outputs}});
}

void compare(const CompareSettings& settings) {
  if (!settings.against.empty()) {
    compare_with_model(settings);
    return;
  }
  Session session(settings.model, settings.to_options());
  const ReadyModel ready = make_ready(session, settings);
  const corf_reference reference =
      settings.reference == "evaluate" ? CORF_REFERENCE_EVALUATE : CORF_REFERENCE_UNFUSED;
  const Comparison comparison = ready.executable ? session.compare(reference, ready.inputs)
                                                 : session.compare_values(reference, ready.values);
  if (!ready.executable && !settings.json) {
    fmt::print("run in pieces: values that segments compute, each on what a run gives it\n");
  }

  bool passed = true;
  for (const ComparedValue& output : comparison.outputs) passed = passed && output.within_bounds;
  if (settings.json) {
    Json outputs = Json::array();
    for (const ComparedValue& output : comparison.outputs) outputs.push_back(to_json(output));
    const Json result = {
        {"reference", settings.reference},
        {"passed", passed},
        {"outputs", outputs},
        {"first_wrong_group",
         comparison.first_wrong_group ? to_json(*comparison.first_wrong_group) : Json(nullptr)}};
    print(result);
  } else {
    for (const ComparedValue& output : comparison.outputs) {
      fmt::print("{}  relative L2 error {:.3g}, largest error {:.3g}  {}\n", printable(output.name),
                 output.relative_l2, output.max_abs, output.within_bounds ? "ok" : "WRONG");
      if (output.ties > 0) {
        fmt::print(
            "  {} bytes inside of the model are one step off, on ties that are rounded to either "
            "side; each operator by itself is right\n",
            output.ties);
      }
    }
    if (comparison.first_wrong_group) {
      const ComparedValue& group = *comparison.first_wrong_group;
      fmt::print(
          "first group that is off: {} (nodes {})  relative L2 error {:.3g}, largest error "
          "{:.3g}\n",
          printable(group.name), printable(group.nodes), group.relative_l2, group.max_abs);
    }
  }
  if (!passed && !settings.reduced_folder.empty() && ready.executable) {
    reduce(settings, session, ready.inputs);
  }
  if (!passed) {
    throw Exception(CORF_INTERNAL, fmt::format("{}: the outputs differ from the reference ({})",
                                               settings.model, settings.reference));
  }
}

}  // namespace

void add_compare(CLI::App& app) {
  auto settings = std::make_shared<CompareSettings>();
  CLI::App* command = app.add_subcommand("compare", "Compare the compiled model with a reference");
  settings->add_model_to(*command);
  settings->add_inputs_to(*command);
  command
      ->add_option("--reference", settings->reference,
                   "evaluate: float64; unfused: every operator compiled alone")
      ->check(CLI::IsMember({"evaluate", "unfused"}))
      ->capture_default_str();
  command
      ->add_option("--against", settings->against,
                   "Tell instead how far the results are from those of another model, as of the "
                   "float32 one that this one was quantised from")
      ->type_name("FILE");
  command
      ->add_option(
          "--reduce", settings->reduced_folder,
          "Folder that receives the smallest part of the model that is off, with its inputs, "
          "as one of ONNX's backend tests")
      ->type_name("DIR");
  command->footer(
      "Exits with 1 if an output is off.\n"
      "Example:\n"
      "  corf compare model.onnx --shape x=1x3x224x224\n"
      "  corf compare model.onnx --input x=picture.npy --reduce small\n"
      "  corf compare quantized.onnx --against model.onnx --input x=picture.npy");
  command->callback([settings] { compare(*settings); });
}

}  // namespace corf::command
