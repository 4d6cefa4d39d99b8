#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <optional>

#include "commands.h"
#include "explanation.h"
#include "files.h"
#include "inputs.h"
#include "plan_picture.h"
#include "report.h"
#include "settings.h"
#include "terminal.h"

namespace corf::command {
namespace {

constexpr int kRuns = 5;

struct ExplainSettings : Settings {
  std::string html_file, svg_file, dot_file;
  bool measure = true;
};

/// The steps of a run, each as in the run of a few in which it took the least time, and one after
/// the other.
std::vector<StepProfile> measured_steps(Executable& executable, uint64_t seed,
                                        std::vector<Array> given) {
  const std::vector<Array> inputs = complete_inputs(std::move(given), executable.inputs(), seed);
  std::vector<Array> outputs = executable.make_outputs();
  const std::vector<corf_tensor> input_views = views(inputs), output_views = views(outputs);
  std::vector<StepProfile> best;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<StepProfile> steps = executable.profile(input_views, output_views);
    if (run == 0) best = steps;
    for (size_t i = 0; i < steps.size(); ++i) {
      if (steps[i].time_ms < best[i].time_ms) best[i] = std::move(steps[i]);
    }
  }
  double start_ms = 0;
  for (StepProfile& step : best) {
    step.start_ms = start_ms;
    start_ms += step.time_ms;
  }
  return best;
}

/// Gives each group those of the steps that it runs as.
void share_out(std::vector<StepProfile> steps, std::vector<MeasuredGroup>& groups) {
  size_t next = 0;
  for (MeasuredGroup& entry : groups) {
    for (size_t i = 0; i < entry.group.num_steps && next < steps.size(); ++i) {
      entry.steps.push_back(std::move(steps[next++]));
    }
  }
}

void explain(const ExplainSettings& settings) {
  Session session(settings.model, settings.to_options());
  std::vector<Array> given = read_inputs(session, settings);
  const Shapes shapes = shapes_with(settings, given);
  std::vector<MeasuredGroup> groups;
  for (ExplainedGroup& group : session.explain(shapes)) groups.push_back({std::move(group), {}});
  std::optional<Executable> executable;
  if (settings.measure) {
    executable.emplace(compile_watched(session, settings, shapes));
    share_out(measured_steps(*executable, settings.seed, std::move(given)), groups);
  }
  if (!settings.html_file.empty()) {
    const Machine machine(session.threads(), settings.isa);
    ReportSubject subject{settings.model, machine.info(), {}, 0};
    if (executable) {
      subject.executable = executable->info();
      subject.limit_ms = executable->limit_ms();
    }
    write_file(settings.html_file, to_html(subject, groups));
  }
  if (!settings.svg_file.empty()) {
    const std::string name = std::filesystem::path(settings.model).filename();
    write_file(settings.svg_file, to_picture(name, groups));
  }
  if (!settings.dot_file.empty()) write_file(settings.dot_file, to_dot(groups));
  if (settings.json) {
    print(to_json(groups));
  } else {
    fmt::print("{}", to_table(groups, columns_of(stdout)));
  }
}

}  // namespace

void add_explain(CLI::App& app) {
  auto settings = std::make_shared<ExplainSettings>();
  CLI::App* command = app.add_subcommand(
      "explain", "Tell which operators run as one kernel, and why the others do not");
  settings->add_model_to(*command);
  settings->add_inputs_to(*command);
  command->add_option(
      "--html", settings->html_file,
      "File that receives a page: plan, totals, time line of the workers, roofline");
  command->add_option("--svg", settings->svg_file, "File that receives the plan as a picture");
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
