#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fnmatch.h>
#include <memory>

#include "commands.h"
#include "difference.h"
#include "files.h"
#include "json.h"
#include "progress.h"
#include "settings.h"
#include "support/printable.h"

namespace corf::command {
namespace {

namespace fs = std::filesystem;

struct ConformanceSettings {
  std::vector<std::string> folders;
  std::vector<std::string> skipped;  // patterns of folder names
  bool json = false;
  int threads = 0;
  std::string isa;
  std::string plan = "auto";
};

enum class Outcome { kPassed, kFailed, kUnsupported };

struct CaseResult {
  std::string folder;
  Outcome outcome = Outcome::kPassed;
  std::string message;
};

/// Relative, of 16-bit floats: a few units in the last place of bfloat16, which the package's data
/// truncate where the standard rounds.
constexpr double kNarrowTolerance = 1e-2;

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

/// Empty if every data set gives the expected outputs. Throws what the library throws.
std::string check_case(const fs::path& folder, const ConformanceSettings& settings) {
  Options options{{"threads", std::to_string(settings.threads)}, {"plan", settings.plan}};
  if (!settings.isa.empty()) options.set("isa", settings.isa);
  Session session((folder / "model.onnx").string(), options);
  const Tolerance tolerance = read_tolerance(folder);
  const std::vector<fs::path> sets = data_sets(folder);
  if (sets.empty()) return "there is no test_data_set_*";
  for (const fs::path& set : sets) {
    const std::vector<Array> outputs = session.run(read_arrays(set, "input", session.inputs()));
    const std::vector<Array> expected = read_arrays(set, "output", session.outputs());
    if (expected.empty()) return set.filename().string() + " has no outputs";
    for (size_t i = 0; i < expected.size(); ++i) {
      const bool is_narrow = expected[i].dtype() == CORF_F16 || expected[i].dtype() == CORF_BF16;
      const std::string found = difference(
          outputs.at(i), expected[i],
          is_narrow ? std::max(tolerance.relative, kNarrowTolerance) : tolerance.relative,
          tolerance.absolute);
      if (!found.empty()) {
        return fmt::format("{}: output '{}' {}", set.filename().string(), expected[i].name(),
                           found);
      }
    }
  }
  return "";
}

CaseResult run_case(const fs::path& folder, const ConformanceSettings& settings) {
  CaseResult result;
  result.folder = folder.string();
  try {
    result.message = check_case(folder, settings);
    if (!result.message.empty()) result.outcome = Outcome::kFailed;
  } catch (const Exception& exception) {
    result.message = exception.what();
    result.outcome =
        exception.code() == CORF_UNSUPPORTED ? Outcome::kUnsupported : Outcome::kFailed;
  }
  return result;
}

bool is_skipped(const fs::path& folder, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), folder.filename().c_str(), 0) == 0;
  });
}

void conformance(const ConformanceSettings& settings) {
  std::vector<fs::path> cases;
  for (const std::string& folder : settings.folders) {
    for (fs::path& found : find_cases(folder)) {
      if (!is_skipped(found, settings.skipped)) cases.push_back(std::move(found));
    }
  }
  int counts[3] = {};
  Json list = Json::array();
  {
    Progress progress("testing");
    for (size_t i = 0; i < cases.size(); ++i) {
      const CaseResult result = run_case(cases[i], settings);
      ++counts[static_cast<int>(result.outcome)];
      if (settings.json) {
        list.push_back({{"folder", result.folder},
                        {"outcome", to_text(result.outcome)},
                        {"message", result.message}});
      } else if (result.outcome != Outcome::kPassed) {
        fmt::print("{} {}: {}\n", to_text(result.outcome), printable(result.folder),
                   printable_lines(result.message));
      }
      progress.update(static_cast<double>(i + 1) / static_cast<double>(cases.size()));
    }
  }
  const auto [passed, failed, unsupported] = counts;
  if (settings.json) {
    const Json result = {
        {"passed", passed}, {"failed", failed}, {"unsupported", unsupported}, {"cases", list}};
    print(result);
  } else {
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
  command->add_flag("--json", settings->json, "Machine-readable output on stdout");
  add_machine_options_to(*command, settings->threads, settings->isa, settings->plan);
  command->footer(
      "Prints what did not pass and closes with `N passed, N failed, N unsupported`.\n"
      "Exits with 1 if a test failed.\n"
      "Example:\n"
      "  corf conformance build/models/onnx_backend/node");
  command->callback([settings] { conformance(*settings); });
}

}  // namespace corf::command
