#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fnmatch.h>
#include <limits>
#include <map>
#include <memory>

#include "commands.h"
#include "difference.h"
#include "elements.h"
#include "files.h"
#include "json.h"
#include "progress.h"
#include "reasons.h"
#include "settings.h"
#include "support/printable.h"

namespace corf::command {
namespace {

namespace fs = std::filesystem;

struct ConformanceSettings {
  std::vector<std::string> folders;
  std::vector<std::string> skipped;  // patterns of folder names
  bool json = false;
  bool constants = false;  // for inputs that have to be known
  int threads = 0;
  std::string isa;
  std::string plan = "auto";
};

enum class Outcome { kPassed, kFailed, kUnsupported };

struct CaseResult {
  std::string folder;
  Outcome outcome = Outcome::kPassed;
  bool with_constants = false;
  std::string message;
};

/// Relative, at least, of 16-bit floats, as the package's data are rounded after each step: two
/// units in the last place of bfloat16, which the package's own runner allows, ten of float16.
double narrow_tolerance(corf_dtype dtype) {
  if (dtype == CORF_F16) return 1e-2;
  return dtype == CORF_BF16 ? 0x1p-6 : 0;
}

/// Relative and absolute, as in onnx.backend.test where the case does not say.
struct Tolerance {
  double relative = 1e-3, absolute = 1e-7;
};

const char* to_text(Outcome outcome) {
  switch (outcome) {
    case Outcome::kPassed:
      return "passed";
    case Outcome::kFailed:
      return "failed";
    case Outcome::kUnsupported:
      break;
  }
  return "unsupported";
}

/// Folders at or below `root` that hold a model.onnx, in order.
std::vector<fs::path> find_cases(const fs::path& root) {
  std::vector<fs::path> cases;
  if (fs::exists(root / "model.onnx")) {
    cases.push_back(root);
    return cases;
  }
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(root, error)) {
    if (entry.path().filename() == "model.onnx") cases.push_back(entry.path().parent_path());
  }
  if (error) {
    throw Exception(CORF_IO, fmt::format("cannot read {}: {}", root.string(), error.message()));
  }
  if (cases.empty()) {
    throw Exception(CORF_IO, fmt::format("{} holds no model.onnx", root.string()));
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

std::vector<fs::path> data_sets(const fs::path& folder) {
  std::vector<fs::path> sets;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && entry.path().filename().string().starts_with("test_data_set_")) {
      sets.push_back(entry.path());
    }
  }
  std::sort(sets.begin(), sets.end());
  return sets;
}

/// The onnx package writes bfloat16 test data as uint16 of the same bits.
Array as_declared(Array array, corf_dtype dtype) {
  if (dtype != CORF_BF16 || array.dtype() != CORF_U16) return array;
  Array same_bits(array.name(), dtype, array.extents());
  std::copy_n(array.data<uint16_t>(), array.num_elems(), same_bits.data<uint16_t>());
  return same_bits;
}

/// input_0.pb, input_1.pb, ...: named as the declarations at their positions.
std::vector<Array> read_arrays(const fs::path& set, const std::string& prefix,
                               const std::vector<Declaration>& declared) {
  std::vector<Array> arrays;
  for (size_t i = 0; i < declared.size(); ++i) {
    const fs::path file = set / fmt::format("{}_{}.pb", prefix, i);
    if (!fs::exists(file)) break;
    arrays.push_back(as_declared(Array::parse_onnx(read_file(file.string())), declared[i].dtype));
    arrays.back().rename(declared[i].name);
  }
  return arrays;
}

Tolerance read_tolerance(const fs::path& folder) {
  Tolerance tolerance;
  const fs::path file = folder / "data.json";
  if (!fs::exists(file)) return tolerance;
  const Json description = Json::parse(read_file(file.string()), nullptr, false);
  if (description.is_object()) {
    if (description.contains("rtol")) tolerance.relative = description["rtol"];
    if (description.contains("atol")) tolerance.absolute = description["atol"];
  }
  return tolerance;
}

corf_kind input_kind(const Session& session, size_t position) {
  return session.input_kind(position);
}
corf_kind output_kind(const Session& session, size_t position) {
  return session.output_kind(position);
}

/// Whether some input or output of the model is no tensor.
bool takes_values(const Session& session) {
  for (size_t i = 0; i < session.inputs().size(); ++i) {
    if (input_kind(session, i) != CORF_TENSOR) return true;
  }
  for (size_t i = 0; i < session.outputs().size(); ++i) {
    if (output_kind(session, i) != CORF_TENSOR) return true;
  }
  return false;
}

/// As read_arrays, of whatever kind the declarations are.
std::vector<Value> read_values(const fs::path& set, const std::string& prefix,
                               const Session& session, size_t count,
                               corf_kind (*kind)(const Session&, size_t)) {
  std::vector<Value> values;
  for (size_t i = 0; i < count; ++i) {
    const fs::path file = set / fmt::format("{}_{}.pb", prefix, i);
    if (!fs::exists(file)) break;
    values.push_back(Value::parse_onnx(read_file(file.string()), kind(session, i)));
  }
  return values;
}

/// Empty if the values are of one kind and agree within the tolerance.
std::string value_difference(const Value& actual, const Value& expected,
                             const Tolerance& tolerance) {
  if (actual.kind() != expected.kind()) {
    return fmt::format("is of kind {} instead of {}", static_cast<int>(actual.kind()),
                       static_cast<int>(expected.kind()));
  }
  if (actual.kind() == CORF_TENSOR) {
    return difference(actual.array(), expected.array(), tolerance.relative, tolerance.absolute);
  }
  if (actual.kind() == CORF_NARROW) {
    if (actual.narrow_type() != expected.narrow_type()) {
      return fmt::format("has element type {} instead of {}", actual.narrow_type(),
                         expected.narrow_type());
    }
    return difference(actual.array(), expected.array(), 0, 0);
  }
  if (actual.kind() == CORF_STRINGS) {
    const bool same =
        actual.extents() == expected.extents() && actual.strings() == expected.strings();
    return same ? "" : "differs";
  }
  const std::vector<Value> items = actual.items(), wanted = expected.items();
  if (items.size() != wanted.size()) {
    return fmt::format("has {} items instead of {}", items.size(), wanted.size());
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string found = value_difference(items[i], wanted[i], tolerance);
    if (!found.empty()) return fmt::format("item {} {}", i, found);
  }
  return "";
}

/// As check_set, of a model that takes or gives other values than tensors.
std::string check_values(const fs::path& set, Session& session, const Tolerance& tolerance) {
  const std::vector<Value> outputs =
      session.run_values(read_values(set, "input", session, session.inputs().size(), input_kind));
  const std::vector<Declaration> declared = session.outputs();
  const std::vector<Value> expected =
      read_values(set, "output", session, declared.size(), output_kind);
  if (expected.empty()) return set.filename().string() + " has no outputs";
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string found = value_difference(outputs.at(i), expected[i], tolerance);
    if (!found.empty()) {
      return fmt::format("{}: output '{}' {}", set.filename().string(), declared[i].name, found);
    }
  }
  return "";
}

/// Of one data set: empty if the session gives the expected outputs.
std::string check_set(const fs::path& set, Session& session, const std::vector<Array>& inputs,
                      const Tolerance& tolerance) {
  const std::vector<Array> outputs = session.run(inputs);
  const std::vector<Array> expected = read_arrays(set, "output", session.outputs());
  if (expected.empty()) return set.filename().string() + " has no outputs";
  for (size_t i = 0; i < expected.size(); ++i) {
    const double relative = std::max(tolerance.relative, narrow_tolerance(expected[i].dtype()));
    const std::string found = difference(outputs.at(i), expected[i], relative, tolerance.absolute);
    if (!found.empty()) {
      return fmt::format("{}: output '{}' {}", set.filename().string(), expected[i].name(), found);
    }
  }
  return "";
}

/// An operator of the model whose results are random; empty if there is none.
std::string random_operator(const Session& session) {
  for (const auto& [name, count] : session.operators()) {
    if (name == "Bernoulli" || name == "Multinomial" || name.starts_with("Random")) return name;
  }
  return "";
}

Options options_of(const ConformanceSettings& settings) {
  Options options{{"threads", std::to_string(settings.threads)}, {"plan", settings.plan}};
  options.set("random_seed", "0");
  if (!settings.isa.empty()) options.set("isa", settings.isa);
  return options;
}

/// Empty if every data set gives the expected outputs, all inputs from the `first_constant`th on
/// made constants. Throws what the library throws.
std::string check_case(const fs::path& folder, const ConformanceSettings& settings,
                       size_t first_constant) {
  const std::string model = (folder / "model.onnx").string();
  Session session(model, options_of(settings));
  const Tolerance tolerance = read_tolerance(folder);
  const std::vector<fs::path> sets = data_sets(folder);
  if (sets.empty()) return "there is no test_data_set_*";
  for (const fs::path& set : sets) {
    if (takes_values(session)) {
      const std::string off = check_values(set, session, tolerance);
      if (!off.empty()) return off;
      continue;
    }
    std::vector<Array> inputs = read_arrays(set, "input", session.inputs());
    std::string found;
    if (inputs.size() <= first_constant) {
      found = check_set(set, session, inputs, tolerance);
    } else {
      Options options = options_of(settings);
      for (size_t i = first_constant; i < inputs.size(); ++i) {
        options.set("constant", inputs[i].name() + "=" + elements_text(inputs[i]));
      }
      inputs.erase(inputs.begin() + static_cast<int>(first_constant), inputs.end());
      Session specialised(model, options);
      found = check_set(set, specialised, inputs, tolerance);
    }
    if (found.empty()) continue;
    if (const std::string random = random_operator(session); !random.empty()) {
      throw Exception(CORF_UNSUPPORTED,
                      fmt::format("node ({}): ran; random numbers are not the case's", random));
    }
    return found;
  }
  return "";
}

constexpr size_t kNoConstants = std::numeric_limits<size_t>::max();

CaseResult run_case(const fs::path& folder, const ConformanceSettings& settings,
                    size_t first_constant) {
  CaseResult result;
  result.folder = folder.string();
  result.with_constants = first_constant != kNoConstants;
  try {
    result.message = check_case(folder, settings, first_constant);
    if (!result.message.empty()) result.outcome = Outcome::kFailed;
  } catch (const Exception& exception) {
    result.message = exception.what();
    result.outcome =
        exception.code() == CORF_UNSUPPORTED ? Outcome::kUnsupported : Outcome::kFailed;
  }
  return result;
}

/// If told to, once more with all inputs but the first as constants, then with all: shapes, axes
/// and bounds have to be known.
CaseResult run_case(const fs::path& folder, const ConformanceSettings& settings) {
  CaseResult result = run_case(folder, settings, kNoConstants);
  for (size_t first : {1, 0}) {
    if (!settings.constants || result.outcome != Outcome::kUnsupported) return result;
    CaseResult again = run_case(folder, settings, first);
    if (again.outcome != Outcome::kUnsupported) return again;
  }
  return result;
}

bool is_skipped(const fs::path& folder, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), folder.filename().c_str(), 0) == 0;
  });
}

/// How often each reason was given, the most frequent first.
std::vector<std::pair<int, std::string>> count_reasons(const std::vector<std::string>& messages) {
  std::map<std::string, int> counts;
  for (const std::string& message : messages) ++counts[reason_of(message)];
  std::vector<std::pair<int, std::string>> sorted;
  for (const auto& [reason, count] : counts) sorted.emplace_back(count, reason);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  return sorted;
}

void conformance(const ConformanceSettings& settings) {
  std::vector<fs::path> cases;
  for (const std::string& folder : settings.folders) {
    for (fs::path& found : find_cases(folder)) {
      if (!is_skipped(found, settings.skipped)) cases.push_back(std::move(found));
    }
  }
  int counts[3] = {}, with_constants = 0;
  std::vector<std::string> unsupported_messages;
  Json list = Json::array();
  {
    Progress progress("testing");
    for (size_t i = 0; i < cases.size(); ++i) {
      const CaseResult result = run_case(cases[i], settings);
      ++counts[static_cast<int>(result.outcome)];
      with_constants += result.outcome == Outcome::kPassed && result.with_constants;
      if (result.outcome == Outcome::kUnsupported) unsupported_messages.push_back(result.message);
      if (settings.json) {
        list.push_back({{"folder", result.folder},
                        {"outcome", to_text(result.outcome)},
                        {"message", result.message}});
      } else if (result.outcome != Outcome::kPassed) {
        fmt::print("{} {}: {}\n", to_text(result.outcome), printable(result.folder),
                   printable_lines(result.message));
      }
      progress.update(static_cast<double>(i + 1) / static_cast<double>(cases.size()),
                      cases[i].string());
    }
  }
  const auto [passed, failed, unsupported] = counts;
  const auto reasons = count_reasons(unsupported_messages);
  if (settings.json) {
    Json groups = Json::array();
    for (const auto& [count, reason] : reasons) {
      groups.push_back({{"count", count}, {"reason", reason}});
    }
    const Json result = {{"passed", passed},           {"failed", failed},
                         {"unsupported", unsupported}, {"passed_with_constants", with_constants},
                         {"reasons", groups},          {"cases", list}};
    print(result);
  } else {
    if (!reasons.empty()) fmt::print("not supported, by reason:\n");
    for (const auto& [count, reason] : reasons) fmt::print("{:6}  {}\n", count, reason);
    if (settings.constants) fmt::print("{} passed with constant inputs\n", with_constants);
    fmt::print("{} passed, {} failed, {} unsupported\n", passed, failed, unsupported);
  }
  if (failed > 0) throw Failed();
}

}  // namespace

void add_conformance(CLI::App& app) {
  auto settings = std::make_shared<ConformanceSettings>();
  CLI::App* command = app.add_subcommand("conformance", "Run folders of ONNX backend tests");
  command
      ->add_option("DIR", settings->folders,
                   "Folder with model.onnx and test_data_set_*, or a folder of such folders")
      ->required();
  command
      ->add_option("--skip", settings->skipped,
                   "Leave out folders whose name matches this pattern, such as 'test_attention_*'")
      ->type_name("PATTERN")
      ->take_all()
      ->expected(1);
  command->add_flag("--constants", settings->constants,
                    "Try what is not supported again with all inputs but the first, then with all "
                    "inputs, compiled in as constants");
  command->add_flag("--json", settings->json, "Machine-readable output on stdout");
  add_machine_options_to(*command, settings->threads, settings->isa, settings->plan);
  command->footer(
      "Prints what did not pass and closes with how often each reason was given for what is not\n"
      "supported and with `N passed, N failed, N unsupported`.\n"
      "Exits with 1 if a test failed.\n"
      "Example:\n"
      "  corf conformance build/models/onnx_backend/node");
  command->callback([settings] { conformance(*settings); });
}

}  // namespace corf::command
