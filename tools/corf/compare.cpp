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
  std::string reduced_folder;
};

Json to_json(const ComparedValue& value) {
  return {{"name", value.name},
          {"nodes", value.nodes},
          {"relative_l2", value.relative_l2},
          {"max_abs", value.max_abs},
          {"within_bounds", value.within_bounds}};
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

void compare(const CompareSettings& settings) {
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
      ->add_option(
          "--reduce", settings->reduced_folder,
          "Folder that receives the smallest part of the model that is off, with its inputs, "
          "as one of ONNX's backend tests")
      ->type_name("DIR");
  command->footer(
      "Exits with 1 if an output is off.\n"
      "Example:\n"
      "  corf compare model.onnx --shape x=1x3x224x224\n"
      "  corf compare model.onnx --input x=picture.npy --reduce small");
  command->callback([settings] { compare(*settings); });
}

}  // namespace corf::command
