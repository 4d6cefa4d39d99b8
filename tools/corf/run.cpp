#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <set>

#include "commands.h"
#include "files.h"
#include "inputs.h"
#include "json.h"
#include "settings.h"
#include "support/printable.h"

namespace corf::command {
namespace {

struct RunSettings : Settings {
  std::string output_dir;
  bool cache = false;
};

/// Longer names than that are cut: with a number and .npy they fit every file system.
constexpr size_t kMostStemBytes = 200;

/// A file name for each output: its name, with what a file name cannot hold replaced by '_'.
std::vector<std::string> file_names(const std::vector<Array>& outputs) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const Array& output : outputs) {
    std::string stem = output.name().empty() ? "_" : printable(output.name());
    for (char& c : stem) {
      if (c == '/' || c == '\\') c = '_';
    }
    if (stem.size() > kMostStemBytes) {
      size_t size = kMostStemBytes;
      while ((static_cast<unsigned char>(stem[size]) & 0xc0) == 0x80) --size;
      stem.resize(size);
    }
    if (stem.front() == '.') stem.front() = '_';
    std::string name = stem;
    for (int i = 2; !taken.insert(name).second; ++i) name = fmt::format("{}-{}", stem, i);
    names.push_back(name + ".npy");
  }
  return names;
}

void write_outputs(const std::vector<Array>& outputs, const std::vector<std::string>& paths,
                   const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw Exception(CORF_IO, fmt::format("cannot make the folder {}: {}", folder, error.message()));
  }
  for (size_t i = 0; i < outputs.size(); ++i) write_file(paths[i], to_npy(outputs[i]));
}

struct Range {
  double least = 0, greatest = 0;
  size_t num_nans = 0;
};

template <typename T>
Range range_of(const Array& array) {
  Range range;
  bool first = true;
  for (size_t i = 0; i < array.num_elems(); ++i) {
    const double value = static_cast<double>(array.data<T>()[i]);
    if (std::isnan(value)) {
      ++range.num_nans;
      continue;
    }
    range.least = first ? value : std::min(range.least, value);
    range.greatest = first ? value : std::max(range.greatest, value);
    first = false;
  }
  return range;
}

std::string summary(const Array& array) {
  if (array.num_elems() == 0) return "empty";
  Range range;
  switch (array.dtype()) {
    case CORF_F32:
      range = range_of<float>(array);
      break;
    case CORF_F64:
      range = range_of<double>(array);
      break;
    case CORF_I64:
      range = range_of<int64_t>(array);
      break;
    case CORF_I32:
      range = range_of<int32_t>(array);
      break;
    case CORF_BOOL:
    case CORF_U8:
      range = range_of<uint8_t>(array);
      break;
    default:
      return "";
  }
  return fmt::format("from {:.6g} to {:.6g}{}", range.least, range.greatest,
                     range.num_nans > 0 ? fmt::format(", {} NaN", range.num_nans) : "");
}

void run(const RunSettings& settings) {
  Options options = settings.to_options();
  if (settings.cache) options.set("executable_cache", "default");
  Session session(settings.model, options);
  std::vector<Array> given = read_inputs(settings);
  Executable executable = compile_watched(session, settings, shapes_with(settings, given));
  const std::vector<Array> inputs =
      complete_inputs(std::move(given), executable.inputs(), settings.seed);
  const std::vector<Array> outputs = executable.run(inputs);

  std::vector<std::string> paths;
  if (!settings.output_dir.empty()) {
    for (const std::string& name : file_names(outputs)) {
      paths.push_back((std::filesystem::path(settings.output_dir) / name).string());
    }
    write_outputs(outputs, paths, settings.output_dir);
  }

  const corf_executable_info info = executable.info();
  if (settings.json) {
    Json list = Json::array();
    for (size_t i = 0; i < outputs.size(); ++i) {
      Json output = {{"name", outputs[i].name()},
                     {"dtype", corf_dtype_name(outputs[i].dtype())},
                     {"shape", outputs[i].extents()}};
      if (!paths.empty()) output["file"] = paths[i];
      list.push_back(output);
    }
    const Json result = {{"outputs", list},
                         {"threads", info.threads},
                         {"plan", settings.plan},
                         {"plan_hash", info.plan_hash},
                         {"compile_ms", info.compile_ms}};
    print(result);
    return;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    fmt::print("{}  {} {}  {}{}\n", printable(outputs[i].name()),
               corf_dtype_name(outputs[i].dtype()), to_text(outputs[i].extents()),
               summary(outputs[i]), paths.empty() ? "" : "  -> " + paths[i]);
  }
  fmt::print("plan {} ({}), {} threads, {}\n", info.plan_hash, settings.plan, info.threads,
             info.isa);
}

}  // namespace

void add_run(CLI::App& app) {
  auto settings = std::make_shared<RunSettings>();
  CLI::App* command = app.add_subcommand("run", "Run a model once");
  settings->add_model_to(*command);
  settings->add_inputs_to(*command);
  command->add_option("--output-dir", settings->output_dir,
                      "Folder that receives each output as OUTPUT.npy");
  command->add_flag("--cache", settings->cache,
                    "Keep the compiled model for later calls with --cache, which start at once "
                    "(see `corf cache --help`)");
  command->footer(
      "Examples:\n"
      "  corf run mobilenet.onnx --input x=cat.npy --output-dir out\n"
      "  corf run rec.onnx --shape x=1x3x48x320 --json");
  command->callback([settings] { run(*settings); });
}

}  // namespace corf::command
