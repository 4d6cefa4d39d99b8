#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <set>

#include "commands.h"
#include "files.h"
#include "json.h"
#include "ready_model.h"
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
std::vector<std::string> file_names(const std::vector<std::string>& outputs) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const std::string& output : outputs) {
    std::string stem = output.empty() ? "_" : printable(output);
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

/// An output, or an item of one that is a sequence, as it is shown and written.
struct Shown {
  std::string name;
  std::optional<Array> array;  // none: strings, or nothing
  std::optional<Value> strings;
};

void add_shown(const std::string& name, const Value& value, std::vector<Shown>& all) {
  switch (value.kind()) {
    case CORF_TENSOR:
    case CORF_NARROW:
      all.push_back({name, value.array(name), std::nullopt});
      break;
    case CORF_STRINGS:
      all.push_back({name, std::nullopt, value});
      break;
    case CORF_SEQUENCE: {
      const std::vector<Value> items = value.items();
      for (size_t i = 0; i < items.size(); ++i) {
        add_shown(fmt::format("{}[{}]", name, i), items[i], all);
      }
      break;
    }
    default:
      all.push_back({name, std::nullopt, std::nullopt});
  }
}

std::vector<Shown> run_ready(Session& session, ReadyModel& ready) {
  std::vector<Shown> shown;
  if (ready.executable) {
    std::vector<Array> outputs = ready.executable->make_outputs();
    ready.executable->run(ready.taken, views(outputs));
    for (Array& output : outputs) {
      shown.push_back({output.name(), std::move(output), std::nullopt});
    }
    return shown;
  }
  const std::vector<Declaration> declared = session.outputs();
  const std::vector<Value> outputs = session.run_values(ready.values);
  for (size_t i = 0; i < outputs.size(); ++i) add_shown(declared[i].name, outputs[i], shown);
  return shown;
}

std::string type_of(const Shown& output) {
  if (output.array) return corf_dtype_name(output.array->dtype());
  return output.strings ? "string" : "nothing";
}

Extents extents_of(const Shown& output) {
  if (output.array) return output.array->extents();
  return output.strings ? output.strings->extents() : Extents();
}

/// The first strings; the range of numbers.
std::string summary(const Shown& output) {
  if (output.array) return summary(*output.array);
  if (!output.strings) return "";
  constexpr size_t kMostShown = 4;
  const std::vector<std::string> strings = output.strings->strings();
  std::string text;
  for (size_t i = 0; i < std::min(strings.size(), kMostShown); ++i) {
    text += fmt::format("{}'{}'", i == 0 ? "" : " ", printable(strings[i]));
  }
  return strings.size() > kMostShown ? text + " ..." : text;
}

void write_outputs(const std::vector<Shown>& outputs, const std::vector<std::string>& paths,
                   const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw Exception(CORF_IO, fmt::format("cannot make the folder {}: {}", folder, error.message()));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].array) write_file(paths[i], to_npy(*outputs[i].array));
    if (outputs[i].strings) {
      write_file(paths[i],
                 strings_to_npy(outputs[i].strings->extents(), outputs[i].strings->strings()));
    }
  }
}

void print_json(const RunSettings& settings, const Session& session, const ReadyModel& ready,
                const std::vector<Shown>& outputs, const std::vector<std::string>& paths) {
  Json list = Json::array();
  for (size_t i = 0; i < outputs.size(); ++i) {
    Json output = {{"name", outputs[i].name},
                   {"dtype", type_of(outputs[i])},
                   {"shape", extents_of(outputs[i])}};
    if (!paths.empty()) output["file"] = paths[i];
    list.push_back(output);
  }
  Json result = {{"outputs", list}, {"threads", session.threads()}, {"plan", settings.plan}};
  result["in_pieces"] = !ready.executable;
  if (ready.executable) {
    const corf_executable_info info = ready.executable->info();
    result["plan_hash"] = info.plan_hash;
    result["compile_ms"] = info.compile_ms;
  }
  print(result);
}

void run(const RunSettings& settings) {
  Options options = settings.to_options();
  if (settings.cache) options.set("executable_cache", "default");
  Session session(settings.model, options);
  ReadyModel ready = make_ready(session, settings);
  const std::vector<Shown> outputs = run_ready(session, ready);
  std::vector<std::string> paths;
  if (!settings.output_dir.empty()) {
    std::vector<std::string> names;
    for (const Shown& output : outputs) names.push_back(output.name);
    for (const std::string& name : file_names(names)) {
      paths.push_back((std::filesystem::path(settings.output_dir) / name).string());
    }
    write_outputs(outputs, paths, settings.output_dir);
  }
  if (settings.json) {
    print_json(settings, session, ready, outputs, paths);
    return;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    fmt::print("{}  {} {}  {}{}\n", printable(outputs[i].name), type_of(outputs[i]),
               to_text(extents_of(outputs[i])), summary(outputs[i]),
               paths.empty() ? "" : "  -> " + paths[i]);
  }
  if (!ready.executable) {
    fmt::print("run in pieces ({}), {} threads\n", settings.plan, session.threads());
    return;
  }
  const corf_executable_info info = ready.executable->info();
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
