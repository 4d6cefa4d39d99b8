#include <chrono>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <string>
#include <sys/resource.h>

#include "closed_loop.h"
#include "commands.h"
#include "files.h"
#include "json.h"
#include "progress.h"
#include "ready_model.h"
#include "settings.h"
#include "support/printable.h"

namespace corf::command {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kFewestProfiles = 3;
constexpr double kProfileSeconds = 1.0;

struct BenchSettings : Settings {
  double min_time_s = 1.0;
  double warmup_s = 0.05;
  int concurrency = 1;
  std::string streams = "auto";
  bool profile = false;
  bool serve = false;
  std::string trace_file;
};

/// A model with inputs and, for each caller, outputs.
struct Bench {
  Session& session;
  ReadyModel ready;
  std::vector<std::vector<Array>> outputs;  // of the executable, if there is one
  std::vector<std::vector<corf_tensor>> output_views;

  Bench(const BenchSettings& settings, Session& opened)
      : session(opened), ready(make_ready(opened, settings)) {
    if (!ready.executable) return;
    for (int caller = 0; caller < settings.concurrency; ++caller) {
      outputs.push_back(ready.executable->make_outputs());
      output_views.push_back(views(outputs.back()));
    }
  }

  void run(int caller) {
    if (ready.executable) {
      ready.executable->run(ready.taken, output_views[static_cast<size_t>(caller)]);
    } else {
      session.run_values(ready.values);
    }
  }
};

Timings measure(const BenchSettings& settings, Bench& bench, double seconds, double warmup_s) {
  Progress progress("measuring");
  return measure_closed_loop(
      settings.concurrency, seconds, warmup_s, [&](int caller) { bench.run(caller); },
      [&](double share) { progress.update(share); });
}

/// Step after step, each with the median of its times over several runs.
std::vector<StepProfile> profile(Bench& bench) {
  std::vector<std::vector<StepProfile>> runs;
  const auto begin = Clock::now();
  while (runs.size() < kFewestProfiles ||
         std::chrono::duration<double>(Clock::now() - begin).count() < kProfileSeconds) {
    runs.push_back(bench.ready.executable->profile(bench.ready.taken, bench.output_views[0]));
  }
  std::vector<StepProfile> steps = runs.front();
  double start_ms = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    std::vector<double> times_ms;
    for (const auto& run : runs) times_ms.push_back(run[i].time_ms);
    steps[i].time_ms = median(times_ms);
    for (size_t worker = 0; worker < steps[i].busy_ms.size(); ++worker) {
      std::vector<double> busy_ms;
      for (const auto& run : runs) busy_ms.push_back(run[i].busy_ms[worker]);
      // Medians of different runs: none may reach into the next step.
      steps[i].busy_ms[worker] = std::min(median(busy_ms), steps[i].time_ms);
    }
    steps[i].start_ms = start_ms;
    start_ms += steps[i].time_ms;
  }
  return steps;
}

double gflops(int64_t flops, double time_ms) {
  return time_ms > 0 ? static_cast<double>(flops) / (time_ms * 1e6) : 0;
}

double fraction_of(double part, double whole) { return whole > 0 ? part / whole : 0; }

Json to_json(const std::vector<StepProfile>& steps) {
  double total_ms = 0;
  for (const StepProfile& step : steps) total_ms += step.time_ms;
  Json list = Json::array();
  for (const StepProfile& step : steps) {
    list.push_back({{"label", step.label},
                    {"time_ms", step.time_ms},
                    {"share", fraction_of(step.time_ms, total_ms)},
                    {"gflops", gflops(step.work_flops, step.time_ms)},
                    {"limit_ms", step.limit_ms},
                    {"limit_fraction", fraction_of(step.limit_ms, step.time_ms)},
                    {"work_flops", step.work_flops},
                    {"executed_flops", step.executed_flops},
                    {"compulsory_bytes", step.compulsory_bytes}});
  }
  return list;
}

void print_table(const std::vector<StepProfile>& steps) {
  double total_ms = 0;
  for (const StepProfile& step : steps) total_ms += step.time_ms;
  fmt::print("\n{:>10} {:>7} {:>9} {:>9}  {}\n", "time ms", "share", "GFLOP/s", "of limit",
             "kernel");
  for (const StepProfile& step : steps) {
    fmt::print("{:>10.4f} {:>6.1f}% {:>9.1f} {:>8.0f}%  {}\n", step.time_ms,
               100 * fraction_of(step.time_ms, total_ms), gflops(step.work_flops, step.time_ms),
               100 * fraction_of(step.limit_ms, step.time_ms), printable(step.label));
  }
  fmt::print("{:>10.4f} {:>6.1f}%{:>21}{} steps\n", total_ms, 100.0, "", steps.size());
}

/// Chrome's trace event format, which chrome://tracing and Perfetto show: a lane for each worker,
/// in which it is at work on each step in turn.
Json to_trace(const std::vector<StepProfile>& steps) {
  Json events = Json::array();
  const size_t num_workers = steps.empty() ? 0 : steps.front().busy_ms.size();
  for (size_t worker = 0; worker < num_workers; ++worker) {
    events.push_back({{"name", "thread_name"},
                      {"ph", "M"},
                      {"pid", 1},
                      {"tid", worker + 1},
                      {"args", {{"name", fmt::format("worker {}", worker)}}}});
  }
  for (const StepProfile& step : steps) {
    for (size_t worker = 0; worker < num_workers; ++worker) {
      events.push_back({{"name", step.label},
                        {"ph", "X"},
                        {"ts", step.start_ms * 1e3},
                        {"dur", step.busy_ms[worker] * 1e3},
                        {"pid", 1},
                        {"tid", worker + 1},
                        {"args",
                         {{"gflops", gflops(step.work_flops, step.time_ms)},
                          {"limit_fraction", fraction_of(step.limit_ms, step.time_ms)}}}});
    }
  }
  return {{"traceEvents", events}, {"displayTimeUnit", "ms"}};
}

Json to_json(const Timings& timings) {
  return {{"median_ms", timings.median_ms()},
          {"min_ms", timings.sorted_ms.front()},
          {"mean_ms", timings.mean_ms()},
          {"p50_ms", timings.quantile_ms(0.50)},
          {"p90_ms", timings.quantile_ms(0.90)},
          {"p95_ms", timings.quantile_ms(0.95)},
          {"p99_ms", timings.quantile_ms(0.99)},
          {"runs", timings.sorted_ms.size()},
          {"runs_per_second", timings.runs_per_second()}};
}

/// The most memory that the process has had resident so far.
int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} << 10;
}

void add_description(const BenchSettings& settings, const Bench& bench, Json& result) {
  result["version"] = corf_version();
  result["threads"] = bench.session.threads();
  result["in_pieces"] = !bench.ready.executable;
  result["concurrency"] = settings.concurrency;
  result["streams"] = settings.streams;
  result["warmup_s"] = settings.warmup_s;
  result["plan"] = settings.plan;
  if (!bench.ready.executable) {
    result["memory"] = {{"peak_resident_bytes", peak_resident_bytes()}};
    return;
  }
  const corf_executable_info info = bench.ready.executable->info();
  result["isa"] = info.isa;
  result["compile_ms"] = info.compile_ms;
  result["plan_hash"] = info.plan_hash;
  result["work_flops"] = info.work_flops;
  result["executed_flops"] = info.executed_flops;
  result["memory"] = {{"arena_bytes", info.arena_bytes},
                      {"constant_bytes", info.constant_bytes},
                      {"code_bytes", info.code_bytes},
                      {"peak_resident_bytes", peak_resident_bytes()}};
}

/// One JSON line when compiled, then one for each request "measure SECONDS" on stdin.
void serve(const BenchSettings& settings, Bench& bench) {
  Json ready = Json::object();
  add_description(settings, bench, ready);
  print(ready);
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    double seconds = 0;
    char rest = 0;
    if (std::sscanf(line.c_str(), "measure %lf %c", &seconds, &rest) != 1 || !(seconds >= 0)) {
      throw Exception(CORF_INVALID_ARGUMENT,
                      fmt::format("'{}' on stdin is not of the form: measure SECONDS", line));
    }
    // Whoever asks has its own warm-up.
    print(to_json(measure(settings, bench, seconds, /*warmup_s=*/0)));
    std::fflush(stdout);
  }
}

void print_text(const BenchSettings& settings, const Bench& bench, const Timings& timings) {
  const std::string how =
      bench.ready.executable ? bench.ready.executable->info().isa : "run in pieces";
  fmt::print("{:.4f} ms median of {} runs (min {:.4f}, p95 {:.4f}), {} threads, {}\n",
             timings.median_ms(), timings.sorted_ms.size(), timings.sorted_ms.front(),
             timings.quantile_ms(0.95), bench.session.threads(), how);
  fmt::print("{} at a time: {:.1f} runs/s, mean {:.4f} ms, p50 {:.4f}, p90 {:.4f}, p99 {:.4f}\n",
             settings.concurrency, timings.runs_per_second(), timings.mean_ms(),
             timings.quantile_ms(0.50), timings.quantile_ms(0.90), timings.quantile_ms(0.99));
  if (!bench.ready.executable) return;
  const corf_executable_info info = bench.ready.executable->info();
  const double limit_ms = bench.ready.executable->limit_ms();
  fmt::print("{:.1f} GFLOP/s ({:.3f} GFLOP); limit {:.4f} ms, {:.0f}% of it reached\n",
             gflops(info.work_flops, timings.median_ms()),
             static_cast<double>(info.work_flops) * 1e-9, limit_ms,
             100 * fraction_of(limit_ms, timings.median_ms()));
  fmt::print(
      "compiled in {:.0f} ms, plan {} ({}); arena {:.2f} MiB, constants {:.2f} MiB, code "
      "{:.0f} KiB\n",
      info.compile_ms, info.plan_hash, settings.plan,
      static_cast<double>(info.arena_bytes) / (1 << 20),
      static_cast<double>(info.constant_bytes) / (1 << 20),
      static_cast<double>(info.code_bytes) / (1 << 10));
}

void bench(const BenchSettings& settings) {
  Options options = settings.to_options();
  options.set("streams", settings.streams);
  Session session(settings.model, options);
  Bench bench(settings, session);
  const bool has_profile = settings.profile || !settings.trace_file.empty();
  if (has_profile && !bench.ready.executable) {
    throw Exception(CORF_UNSUPPORTED, fmt::format("{}: the model is run in pieces, of which there "
                                                  "is no profile (--profile, --trace)",
                                                  printable(settings.model)));
  }
  if (settings.serve) return serve(settings, bench);

  const Timings timings = measure(settings, bench, settings.min_time_s, settings.warmup_s);
  std::vector<StepProfile> steps;
  if (has_profile) steps = profile(bench);
  if (!settings.trace_file.empty()) {
    write_file(settings.trace_file, to_line(to_trace(steps)));
  }
  if (!settings.json) {
    print_text(settings, bench, timings);
    if (settings.profile) print_table(steps);
    return;
  }
  Json result = to_json(timings);
  add_description(settings, bench, result);
  if (bench.ready.executable) {
    const double limit_ms = bench.ready.executable->limit_ms();
    result["gflops"] = gflops(bench.ready.executable->info().work_flops, timings.median_ms());
    result["limit_ms"] = limit_ms;
    result["limit_fraction"] = fraction_of(limit_ms, timings.median_ms());
  }
  if (settings.profile) result["profile"] = to_json(steps);
  print(result);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto settings = std::make_shared<BenchSettings>();
  CLI::App* command = app.add_subcommand("bench", "Measure a model's speed");
  settings->add_model_to(*command);
  settings->add_inputs_to(*command);
  command->add_option("--min-time", settings->min_time_s, "Seconds of measured runs, at least")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command->add_option("--warmup", settings->warmup_s, "Seconds of runs before, at least")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command
      ->add_option("--concurrency", settings->concurrency,
                   "Callers that each run the model again as soon as their last run has ended")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option("--streams", settings->streams,
                   "Runs side by side: a number, each on --threads workers; latency: one; "
                   "throughput: one for each CPU, on one worker; auto: as many as there are "
                   "callers, the workers shared out among them")
      ->capture_default_str();
  command->add_flag("--profile", settings->profile,
                    "Also time, share, GFLOP/s and fraction of its limit of each kernel");
  command->add_option(
      "--trace", settings->trace_file,
      "File that receives the profile in Chrome's trace format, a lane for each worker");
  command->add_flag("--serve", settings->serve,
                    "Compile once, print a JSON line, then for each line 'measure SECONDS' on "
                    "stdin print a JSON line of timings");
  command->footer(
      "Examples:\n"
      "  corf bench mobilenet.onnx --threads 2 --profile\n"
      "  corf bench rec.onnx --shape x=1x3x48x320 --json --min-time 3\n"
      "  corf bench mobilenet.onnx --concurrency 4 --streams throughput\n"
      "  corf bench model.onnx --trace trace.json");
  command->callback([settings] { bench(*settings); });
}

}  // namespace corf::command
