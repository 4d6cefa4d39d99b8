#pragma once
#include <CLI/CLI.hpp>

namespace corf::command {

/// Each adds its subcommand, which runs when the arguments are parsed, writes its result to stdout
/// and throws Exception where it fails.
void add_run(CLI::App& app);
void add_bench(CLI::App& app);
void add_inspect(CLI::App& app);
void add_explain(CLI::App& app);
void add_tune(CLI::App& app);
void add_compare(CLI::App& app);
void add_compile(CLI::App& app);
void add_conformance(CLI::App& app);
void add_cache(CLI::App& app);
void add_operators(CLI::App& app);
void add_doctor(CLI::App& app);
void add_documents(CLI::App& app);

/// Thrown where a command has said what is wrong itself: the process exits with 1.
struct Failed {};

}  // namespace corf::command
