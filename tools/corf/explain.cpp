#include <algorithm>
#include <fmt/format.h>
#include <memory>

#include "commands.h"
#include "explanation.h"
#include "files.h"
#include "inputs.h"
#include "settings.h"

namespace corf::command {
namespace {

constexpr int kRuns = 5;

struct ExplainSettings : Settings {
  std::string html_file, dot_file;
  bool measure = true;
};

/// Times of the steps, each the least of a few runs.
std::vector<double> measured_steps_ms(Session& session, const ExplainSettings& settings,
                                      const Shapes& shapes, std::vector<Array> given) {
  Executable executable = session.compile(shapes);
  const std::vector<Array> inputs =
      complete_inputs(std::move(given), executable.inputs(), settings.seed);
  std::vector<Array> outputs = executable.make_outputs();
  const std::vector<corf_tensor> input_views = views(inputs), output_views = views(outputs);
  std::vector<double> steps_ms;
  for (int run = 0; run < kRuns; ++run) {
    const std::vector<StepProfile> steps = executable.profile(input_views, output_views);
    steps_ms.resize(steps.size(), steps.empty() ? 0 : steps.front().time_ms);
    for (size_t i = 0; i < steps.size(); ++i) {
      steps_ms[i] = run == 0 ? steps[i].time_ms : std::min(steps_ms[i], steps[i].time_ms);
    }
  }
  return steps_ms;
}

void explain(const ExplainSettings& settings) {
  Session session(settings.model, settings.to_options());
  std::vector<Array> given = read_inputs(settings);
  const Shapes shapes = shapes_with(settings, given);
  std::vector<MeasuredGroup> groups;
  for (ExplainedGroup& group : session.explain(shapes)) groups.push_back({std::move(group), {}});
  if (settings.measure) {
    const std::vector<double> steps_ms =
        measured_steps_ms(session, settings, shapes, std::move(given));
    size_t next = 0;
    for (MeasuredGroup& entry : groups) {
      double time_ms = 0;
      for (size_t i = 0; i < entry.group.num_steps && next < steps_ms.size(); ++i) {
        time_ms += steps_ms[next++];
      }
      entry.measured_ms = time_ms;
    }
  }
  if (!settings.html_file.empty()) {
    write_file(settings.html_file, to_html(settings.model, groups));
  }
  if (!settings.dot_file.empty()) write_file(settings.dot_file, to_dot(groups));
  if (settings.json) {
    print(to_json(groups));
  } else {
    fmt::print("{}", to_table(groups));
  }
}

}  // namespace

void add_explain(CLI::App& app) {
  auto settings = std::make_shared<ExplainSettings>();
  CLI::App* command = app.add_subcommand(
      "explain", "Tell which operators run as one kernel, and why the others do not");
  settings->add_model_to(*command);
  settings->add_inputs_to(*command);
  command->add_option("--html", settings->html_file, "File that receives the plan as a page");
  command->add_option("--dot", settings->dot_file,
                      "File that receives the plan as a graph for Graphviz");
  command->add_flag("!--no-measure", settings->measure, "Do not compile and run the model");
  command->footer(
      "For each value between two operators: how its elements map onto the consumer's; inline\n"
      "(computed where it is read), stream (a few rows in a ring), recompute (such a ring, rows "
      "at\n"
      "seams made by both workers), scatter (some channels at a time, added to partial results) "
      "or\n"
      "materialise (in memory); why, or which kernel across it was tried and what it would take.\n"
      "Examples:\n"
      "  corf explain mobilenet.onnx --shape x=1x3x224x224\n"
      "  corf explain model.onnx --html plan.html --dot plan.dot\n"
      "  corf explain model.onnx --no-measure --json");
  command->callback([settings] { explain(*settings); });
}

}  // namespace corf::command
