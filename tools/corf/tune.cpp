#include <algorithm>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <memory>

#include "commands.h"
#include "inputs.h"
#include "json.h"
#include "progress.h"
#include "settings.h"

namespace corf::command {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTurns = 5;
constexpr double kTurn_s = 0.1;

struct TuneSettings : Settings {
  double time_limit_s = 60;
  bool anew = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Times a plan in turns with others.
class Candidate {
 public:
  Candidate(Executable executable, const std::vector<Array>& inputs)
      : executable_(std::move(executable)),
        outputs_(executable_.make_outputs()),
        inputs_(views(inputs)),
        output_views_(views(outputs_)) {}

  void take_turn() {
    const auto start = Clock::now();
    do {
      const auto begin = Clock::now();
      executable_.run(inputs_, output_views_);
      times_ms_.push_back(1e3 * seconds_since(begin));
    } while (seconds_since(start) < kTurn_s);
  }
  double median_ms() {
    const auto middle = times_ms_.begin() + static_cast<std::ptrdiff_t>(times_ms_.size() / 2);
    std::nth_element(times_ms_.begin(), middle, times_ms_.end());
    return *middle;
  }

 private:
  Executable executable_;
  std::vector<Array> outputs_;
  std::vector<corf_tensor> inputs_, output_views_;
  std::vector<double> times_ms_;
};

Cancellation* interrupted = nullptr;

/// While it lives, an interrupt (Ctrl-C) ends measuring with `cancellation`, a second one the
/// process.
class Interruptible {
 public:
  explicit Interruptible(Cancellation& cancellation) {
    interrupted = &cancellation;
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted->cancel(); };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &before_);
  }
  ~Interruptible() { sigaction(SIGINT, &before_, nullptr); }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  struct sigaction before_ = {};
};

/// The search itself, with its progress. Throws Failed where it was interrupted.
corf_tuning search(const TuneSettings& settings, Cancellation& cancellation, Session& session,
                   const Shapes& shapes) {
  const Interruptible interruptible(cancellation);
  size_t num_measured = 0;
  try {
    Progress progress("tuning");
    return session.tune(settings.time_limit_s, shapes, [&](const corf_tuning_progress& now) {
      num_measured = now.num_measured;
      progress.update_at_most(now.share, settings.time_limit_s * (1 - now.share),
                              fmt::format("{} kernels measured, {} known, now {}", now.num_measured,
                                          now.num_known, now.group));
    });
  } catch (const Exception& exception) {
    if (exception.code() != CORF_CANCELLED) throw;
    fmt::print(
        stderr,
        "interrupted: the times of {} kernels and the best plan up to here are kept, the same "
        "command goes on from there\n",
        num_measured);
    throw Failed();
  }
}

void tune(const TuneSettings& settings) {
  Options predicting = settings.to_options();
  predicting.set("plan_cache", "");
  Session predicted_session(settings.model, predicting);
  Cancellation cancellation;
  Options options = settings.to_options();
  options.set(cancellation).set("tune_anew", settings.anew ? "1" : "0");
  Session session(settings.model, options);
  std::vector<Array> given = read_inputs(session, settings);
  const Shapes shapes = shapes_with(settings, given);

  const auto start = Clock::now();
  const corf_tuning tuning = search(settings, cancellation, session, shapes);
  const double tuning_s = seconds_since(start);

  Executable predicted = predicted_session.compile(shapes);
  const std::vector<Array> inputs =
      complete_inputs(std::move(given), predicted.inputs(), settings.seed);
  Candidate before(std::move(predicted), inputs);
  Candidate after(session.compile(shapes), inputs);
  for (int turn = 0; turn < kTurns; ++turn) {
    before.take_turn();
    after.take_turn();
  }
  const double before_ms = before.median_ms(), after_ms = after.median_ms();
  if (settings.json) {
    print({{"predicted_ms", before_ms},
           {"tuned_ms", after_ms},
           {"num_measured", tuning.num_measured},
           {"num_known", tuning.num_known},
           {"out_of_time", tuning.out_of_time != 0},
           {"tuning_s", tuning_s}});
    return;
  }
  fmt::print("{:.4g} ms with the predicted plan, {:.4g} ms with the tuned one ({:.2f} times)\n",
             before_ms, after_ms, before_ms / after_ms);
  fmt::print("{} kernels measured in {:.1f} s, {} were known{}\n", tuning.num_measured, tuning_s,
             tuning.num_known,
             tuning.out_of_time ? "; the time limit was reached, the rest is by prediction" : "");
}

}  // namespace

void add_tune(CLI::App& app) {
  auto settings = std::make_shared<TuneSettings>();
  CLI::App* command = app.add_subcommand(
      "tune", "Search for the fastest plan by measuring; other commands find it from then on");
  settings->add_model_to(*command);
  settings->add_inputs_to(*command);
  command
      ->add_option("--time-limit", settings->time_limit_s,
                   "Seconds of measuring, at most; what is left is decided by prediction")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  command->add_flag(
      "--anew", settings->anew,
      "Measure again what earlier calls have measured, on a machine that was disturbed");
  command->footer(
      "Times are kept as they are measured: after an interrupt (Ctrl-C), or for the same network\n"
      "with other weights, the same command goes on from there. An interrupt leaves the best plan\n"
      "up to then; a second one ends the command at once.\n"
      "The plan is kept for this model, these shapes, the number of threads and this kind of CPU.\n"
      "Example:\n"
      "  corf tune model.onnx --shape x=1x3x224x224 --time-limit 30");
  command->callback([settings] { tune(*settings); });
}

}  // namespace corf::command
