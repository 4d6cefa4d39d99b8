#include <fmt/format.h>
#include <memory>
#include <optional>

#include "commands.h"
#include "json.h"
#include "settings.h"
#include "support/printable.h"

namespace corf::command {
namespace {

struct InspectSettings : Settings {
  std::string stage;
};

/// Why the model cannot be compiled, if it is for its operators. With open shapes only those nodes
/// show that no shapes would make fit.
std::optional<std::string> unsupported_nodes(Session& session, const Shapes& shapes, bool open) {
  if (session.operators().empty()) return std::nullopt;  // a compiled file keeps none
  try {
    session.inspect("graph", shapes);
  } catch (const Exception& exception) {
    if (exception.code() == CORF_UNSUPPORTED) return exception.what();
    if (!open || exception.code() != CORF_INVALID_ARGUMENT) throw;
  }
  return std::nullopt;
}

bool has_open_shape(const std::vector<Declaration>& inputs, const Shapes& shapes) {
  for (const Declaration& input : inputs) {
    if (!input.is_symbolic() || shapes.contains(input.name)) continue;
    if (!input.has_shape) return true;
    for (const std::string& symbol : input.symbols) {
      if (!symbol.empty() && !shapes.contains(symbol)) return true;
    }
  }
  return false;
}

Json to_json(const std::vector<Declaration>& declarations) {
  Json list = Json::array();
  for (const Declaration& declaration : declarations) {
    Json shape = nullptr;
    if (declaration.has_shape) {
      shape = Json::array();
      for (size_t i = 0; i < declaration.extents.size(); ++i) {
        if (declaration.extents[i] >= 0) {
          shape.push_back(declaration.extents[i]);
        } else {
          shape.push_back(declaration.symbols[i]);
        }
      }
    }
    list.push_back({{"name", declaration.name},
                    {"dtype", corf_dtype_name(declaration.dtype)},
                    {"shape", shape}});
  }
  return list;
}

/// The first line, cut to fit a terminal's.
std::string first_line(const std::string& text) {
  constexpr size_t kMostBytes = 60;
  size_t size = std::min(text.find('\n'), text.size());
  if (size > kMostBytes) {
    size = kMostBytes;
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  }
  const std::string line = printable(std::string_view(text).substr(0, size));
  return size == text.size() ? line : fmt::format("{}... ({} bytes)", line, text.size());
}

void print_overview(Session& session, const std::vector<Declaration>& inputs) {
  fmt::print("opset {}\n\ninputs\n", session.opset());
  for (const Declaration& input : inputs) {
    fmt::print("  {}  {}\n", printable(input.name), to_text(input));
  }
  fmt::print("\noutputs\n");
  for (const Declaration& output : session.outputs()) {
    fmt::print("  {}  {}\n", printable(output.name), to_text(output));
  }
  fmt::print("\noperators\n");
  for (const auto& [name, count] : session.operators()) {
    fmt::print("  {:>6}  {}\n", count, printable(name));
  }
  if (const auto metadata = session.metadata(); !metadata.empty()) {
    fmt::print("\nmetadata\n");
    for (const auto& [key, value] : metadata) {
      fmt::print("  {} = {}\n", printable(key), first_line(value));
    }
  }
}

void inspect(const InspectSettings& settings) {
  Session session(settings.model, settings.to_options());
  const Shapes shapes = settings.shapes();
  if (!settings.stage.empty()) {
    const std::string text = session.inspect(settings.stage, shapes);
    if (settings.json) {
      print({{"stage", settings.stage}, {"text", text}});
    } else {
      fmt::print("{}{}", text, text.ends_with('\n') ? "" : "\n");
    }
    return;
  }

  const std::vector<Declaration> inputs = session.inputs();
  const bool open = has_open_shape(inputs, shapes);
  const std::optional<std::string> unsupported = unsupported_nodes(session, shapes, open);
  if (settings.json) {
    Json result = {{"opset", session.opset()},
                   {"inputs", to_json(inputs)},
                   {"outputs", to_json(session.outputs())},
                   {"operators", session.operators()},
                   {"metadata", session.metadata()},
                   {"supported", open && !unsupported ? Json(nullptr) : Json(!unsupported)}};
    if (unsupported) result["unsupported"] = *unsupported;
    print(result);
    return;
  }
  print_overview(session, inputs);
  if (unsupported) {
    fmt::print("\nnot supported\n{}\n", *unsupported);
  } else if (open) {
    fmt::print(
        "\nEvery operator is supported. Give the open shapes with --shape to learn whether every "
        "node is.\n");
  } else {
    fmt::print("\nEvery node is supported.\n");
  }
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto settings = std::make_shared<InspectSettings>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Show a model's inputs, outputs and operators, or its text at a stage");
  settings->add_model_to(*command);
  command->add_option("--stage", settings->stage, "Print the program at this stage instead")
      ->check(CLI::IsMember({"graph", "mapping", "plan", "loop", "llvm", "asm"}));
  command->footer(
      "Examples:\n"
      "  corf inspect model.onnx\n"
      "  corf inspect model.onnx --stage graph --shape x=1x3x224x224");
  command->callback([settings] { inspect(*settings); });
}

}  // namespace corf::command
