#pragma once
#include <CLI/CLI.hpp>
#include <corf/corf.hpp>
#include <string>
#include <vector>

namespace corf::command {

/// What several subcommands take.
struct Settings {
  std::string model;
  bool json = false;
  int threads = 0;
  std::string isa;
  std::string plan = "auto";
  std::vector<std::string> shape_arguments;     // NAME=1x3x224x224
  std::vector<std::string> constant_arguments;  // NAME=16000
  std::vector<std::string> limit_arguments;     // nodes=100000
  std::vector<std::string> input_arguments;     // NAME=FILE.npy
  uint64_t seed = 0;
  bool seeds_model = false;  // with the same
  std::string force_plan;
  bool winograd = true;
  std::string precision = "f32";
  bool verify_each = false;
  bool time_passes = false;

  /// Adds MODEL, --json, --threads, --isa, --plan, --winograd, --precision, --shape, --constant,
  /// --limit,
  /// --verify-each and --time-passes.
  void add_model_to(CLI::App& app);
  /// Adds --input and --seed.
  void add_inputs_to(CLI::App& app);

  Options to_options() const;
  Shapes shapes() const;
};

/// Adds --threads, --isa and --plan.
void add_machine_options_to(CLI::App& app, int& threads, std::string& isa, std::string& plan);

/// "NAME=rest" at the last (shapes) or first (files) equals sign; the arguments were checked while
/// they were parsed.
std::pair<std::string, std::string> split_at_last_equals(const std::string& argument);
std::pair<std::string, std::string> split_at_first_equals(const std::string& argument);

/// Extents of "1x3x224x224" ("scalar": none); false if it is none.
bool parse_extents(const std::string& text, Extents& extents);
std::string to_text(const Extents& extents);
/// "f32 1x3xheightx224"
std::string to_text(const Declaration& declaration);

}  // namespace corf::command
