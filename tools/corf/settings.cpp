#include "settings.h"

#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "files.h"
#include "support/printable.h"

namespace corf::command {
namespace {

std::string check_shape_argument(const std::string& argument) {
  const auto [name, text] = split_at_last_equals(argument);
  Extents extents;
  if (name.empty() || !parse_extents(text, extents)) {
    return fmt::format("'{}' is not of the form NAME=1x3x224x224", argument);
  }
  return "";
}

std::string check_constant_argument(const std::string& argument) {
  const auto [name, text] = split_at_last_equals(argument);
  if (name.empty() || text.empty())
    return fmt::format("'{}' is not of the form NAME=16000", argument);
  return "";
}

std::string check_limit_argument(const std::string& argument) {
  const auto [name, value] = split_at_first_equals(argument);
  for (const char* known : {"compile_seconds", "memory", "constants", "nodes"}) {
    if (name == known && !value.empty()) return "";
  }
  return fmt::format(
      "'{}' is not of the form NAME=30 with one of compile_seconds, memory, constants, nodes",
      argument);
}

std::string check_input_argument(const std::string& argument) {
  const auto [name, file] = split_at_first_equals(argument);
  if (name.empty() || file.empty()) {
    return fmt::format("'{}' is not of the form NAME=FILE.npy", argument);
  }
  return "";
}

}  // namespace

void add_machine_options_to(CLI::App& app, int& threads, std::string& isa, std::string& plan) {
  app.add_option("--threads", threads, "Workers; 0: the CPUs that the process may use")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--isa", isa, "Instruction set instead of the machine's widest")
      ->check(
          CLI::IsMember({"sse2", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512bf16", "amx"}));
  app.add_option(
         "--plan", plan,
         "auto: tuned if `corf tune` was run, else predicted; unfused: every operator alone; "
         "fused: all in one kernel that can be, be it slower")
      ->check(CLI::IsMember({"auto", "unfused", "fused"}))
      ->capture_default_str();
}

void Settings::add_model_to(CLI::App& app) {
  app.add_option("MODEL", model, "Model (.onnx), or what corf compile wrote")->required();
  app.add_flag("--json", json, "Machine-readable output on stdout");
  add_machine_options_to(app, threads, isa, plan);
  app.add_option("--force-plan", force_plan,
                 "A plan to carry out, as `corf inspect MODEL --stage plan` printed it")
      ->type_name("FILE");
  app.add_flag("--winograd,!--no-winograd", winograd,
               "3x3 convolutions by Winograd's method where it is faster (larger rounding errors)");
  app.add_option("--precision", precision,
                 "f32, or bf16: convolutions and products of matrices round their factors to "
                 "bfloat16 and add up in f32")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  app.add_option("--shape", shape_arguments,
                 "NAME=1x3x224x224: shape of an input, or value of a symbolic dimension")
      ->type_name("NAME=DIMS")
      ->take_all()
      ->expected(1)
      ->check(check_shape_argument);
  app.add_option("--constant", constant_arguments,
                 "NAME=16000: value of an input that is compiled in, and no input any more")
      ->type_name("NAME=VALUE")
      ->take_all()
      ->expected(1)
      ->check(check_constant_argument);
  app.add_option("--limit", limit_arguments,
                 "What compiling may take, instead of what the model's size allows: "
                 "compile_seconds=30 (of CPU time), memory=4096 or constants=1024 (MiB), "
                 "nodes=100000")
      ->type_name("NAME=VALUE")
      ->take_all()
      ->expected(1)
      ->check(check_limit_argument);
  app.add_flag("--verify-each", verify_each, "Check each stage's rules after every pass");
  app.add_flag("--time-passes", time_passes, "Log the time of each pass");
}

void Settings::add_inputs_to(CLI::App& app) {
  app.add_option("--input", input_arguments,
                 "NAME=FILE.npy (or a TensorProto, .pb): an input's values; inputs not given are "
                 "random")
      ->type_name("NAME=FILE")
      ->take_all()
      ->expected(1)
      ->check(check_input_argument);
  app.add_option("--seed", seed, "Of the random inputs, and of the model's own random numbers")
      ->capture_default_str();
  seeds_model = true;
}

Options Settings::to_options() const {
  Options options{{"threads", std::to_string(threads)}, {"plan", plan}};
  if (!isa.empty()) options.set("isa", isa);
  options.set("winograd", winograd ? "1" : "0");
  options.set("precision", precision);
  if (seeds_model) options.set("random_seed", std::to_string(seed));
  if (!force_plan.empty()) options.set("force_plan", read_file(force_plan));
  for (const std::string& argument : constant_arguments) options.set("constant", argument);
  for (const std::string& argument : limit_arguments) {
    const auto [name, value] = split_at_first_equals(argument);
    options.set("limits." + name, value);
  }
  if (verify_each) options.set("verify_each", "1");
  if (time_passes) options.set("time_passes", "1");
  return options;
}

Shapes Settings::shapes() const {
  Shapes shapes;
  for (const std::string& argument : shape_arguments) {
    const auto [name, text] = split_at_last_equals(argument);
    parse_extents(text, shapes[name]);
  }
  return shapes;
}

std::pair<std::string, std::string> split_at_last_equals(const std::string& argument) {
  const size_t position = argument.rfind('=');
  if (position == std::string::npos) return {};
  return {argument.substr(0, position), argument.substr(position + 1)};
}

std::pair<std::string, std::string> split_at_first_equals(const std::string& argument) {
  const size_t position = argument.find('=');
  if (position == std::string::npos) return {};
  return {argument.substr(0, position), argument.substr(position + 1)};
}

bool parse_extents(const std::string& text, Extents& extents) {
  extents.clear();
  if (text == "scalar") return true;
  const char* position = text.data();
  const char* const end = text.data() + text.size();
  while (true) {
    int64_t extent = 0;
    const auto [next, code] = std::from_chars(position, end, extent);
    if (code != std::errc() || extent < 0) return false;
    extents.push_back(extent);
    if (next == end) return true;
    if (*next != 'x') return false;
    position = next + 1;
  }
}

std::string to_text(const Extents& extents) {
  return extents.empty() ? "scalar" : fmt::format("{}", fmt::join(extents, "x"));
}

std::string to_text(const Declaration& declaration) {
  std::vector<std::string> dims;
  for (size_t i = 0; i < declaration.extents.size(); ++i) {
    const int64_t extent = declaration.extents[i];
    dims.push_back(extent >= 0 ? std::to_string(extent) : printable(declaration.symbols[i]));
  }
  return fmt::format("{} {}", corf_dtype_name(declaration.dtype),
                     !declaration.has_shape ? "any shape"
                     : dims.empty()         ? "scalar"
                                            : fmt::format("{}", fmt::join(dims, "x")));
}

}  // namespace corf::command
