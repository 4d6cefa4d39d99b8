// Reads the text in a picture of one line of text with PP-OCRv4's recognition model.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fmt/format.h>

#include "recognise.h"

namespace {

constexpr int kTimedRuns = 20;
constexpr size_t kShownSteps = 8;

double median_ms(corf::Executable& executable, const std::vector<corf_tensor>& inputs,
                 const std::vector<corf_tensor>& outputs) {
  std::vector<double> times_ms;
  for (int i = 0; i < kTimedRuns; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    executable.run(inputs, outputs);
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
    times_ms.push_back(time.count());
  }
  std::sort(times_ms.begin(), times_ms.end());
  return times_ms[times_ms.size() / 2];
}

void print_profile(std::vector<corf::StepProfile> steps) {
  double total_ms = 0;
  for (const corf::StepProfile& step : steps) total_ms += step.time_ms;
  std::stable_sort(steps.begin(), steps.end(),
                   [](const auto& a, const auto& b) { return a.time_ms > b.time_ms; });
  fmt::print("where it went ({} steps):\n", steps.size());
  double shown_ms = 0;
  for (size_t i = 0; i < std::min(kShownSteps, steps.size()); ++i) {
    shown_ms += steps[i].time_ms;
    fmt::print("  {:8.3f} ms {:5.1f}%  {}\n", steps[i].time_ms, 100 * steps[i].time_ms / total_ms,
               steps[i].label);
  }
  if (steps.size() > kShownSteps) {
    fmt::print("  {:8.3f} ms {:5.1f}%  the other {}\n", total_ms - shown_ms,
               100 * (total_ms - shown_ms) / total_ms, steps.size() - kShownSteps);
  }
}

void read_text(const std::string& model, const std::string& picture) {
  corf::Session session(model);
  const std::vector<std::string> characters = characters_of(session);
  const std::vector<corf::Array> inputs = {
      to_input(read_png(picture), session.inputs().at(0).name)};
  corf::Executable executable = session.compile({{inputs[0].name(), inputs[0].extents()}});
  const std::vector<corf::Array> outputs = executable.make_outputs();
  const auto input_views = corf::views(inputs), output_views = corf::views(outputs);
  executable.run(input_views, output_views);
  const Reading reading = decode(outputs.at(0), characters);

  const corf_executable_info info = executable.info();
  fmt::print("text:       {}\n", reading.text);
  fmt::print("confidence: {:.3f}\n", reading.confidence);
  fmt::print("time:       {:.3f} ms (median of {} runs, {} threads, {}; compiled in {:.0f} ms)\n",
             median_ms(executable, input_views, output_views), kTimedRuns, info.threads, info.isa,
             info.compile_ms);
  print_profile(executable.profile(input_views, output_views));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: read_text MODEL.onnx PICTURE.png\n");
    return 2;
  }
  try {
    read_text(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& exception) {
    fmt::print(stderr, "read_text: error: {}\n", exception.what());
    return 1;
  }
}
