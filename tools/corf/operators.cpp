#include <algorithm>
#include <corf/corf.hpp>
#include <fmt/format.h>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "json.h"

namespace corf::command {
namespace {

struct OperatorsSettings {
  bool json = false, markdown = false;
};

/// "13" and newer are "13-" where nothing newer is known than `newest`.
std::string opsets(const corf_operator_info& one, int64_t newest) {
  const int64_t since = std::max<int64_t>(one.since, 1);
  return one.until >= newest ? fmt::format("{}-", since) : fmt::format("{}-{}", since, one.until);
}

void print_operators(const OperatorsSettings& settings) {
  std::vector<corf_operator_info> operators(corf_num_operators());
  for (size_t i = 0; i < operators.size(); ++i) {
    detail::check(corf_operator_at(i, &operators[i], sizeof operators[i]));
  }
  if (settings.json) {
    Json list = Json::array();
    for (const corf_operator_info& one : operators) {
      list.push_back(
          {{"name", one.name}, {"since", one.since}, {"until", one.until}, {"inputs", one.inputs}});
    }
    print(list);
    return;
  }
  int64_t newest = 0;
  for (const corf_operator_info& one : operators) newest = std::max(newest, one.until);
  if (settings.markdown) fmt::print("| operator | opsets | inputs |\n|---|---|---|\n");
  for (const corf_operator_info& one : operators) {
    fmt::print(fmt::runtime(settings.markdown ? "| {} | {} | {} |\n" : "{:<44} {:<8} {}\n"),
               one.name, opsets(one, newest), one.inputs);
  }
}

}  // namespace

void add_operators(CLI::App& app) {
  auto settings = std::make_shared<OperatorsSettings>();
  CLI::App* command =
      app.add_subcommand("operators", "List the operators that models may have, with their opsets");
  command->add_flag("--json", settings->json, "Machine-readable output on stdout");
  command->add_flag("--markdown", settings->markdown, "A table for a document");
  command->footer(
      "Inputs are given by the element types that they may have; those with the same letter "
      "agree.\n"
      "`corf inspect MODEL` tells which nodes of a model are not supported, and why.\n"
      "Example:\n"
      "  corf operators");
  command->callback([settings] { print_operators(*settings); });
}

}  // namespace corf::command
