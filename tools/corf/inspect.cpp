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

/// Whether corf can compile the model, as far as its inputs' shapes tell.
struct Support {
  std::optional<bool> supported;  // none: it depends on the open shapes
  std::string text;
};

/// The given shapes, with `extent` for every dimension that is still open; none if an input has no
/// rank.
std::optional<Shapes> fill_open(const std::vector<Declaration>& inputs, Shapes shapes,
                                int64_t extent) {
  for (const Declaration& input : inputs) {
    if (!input.is_symbolic() || shapes.contains(input.name)) continue;
    if (!input.has_shape) return std::nullopt;
    std::vector<int64_t> filled = input.extents;
    for (size_t d = 0; d < filled.size(); ++d) {
      if (filled[d] >= 0) continue;
      const auto bound = shapes.find(input.symbols[d]);
      filled[d] = bound != shapes.end() && bound->second.size() == 1 ? bound->second[0] : extent;
    }
    shapes[input.name] = filled;
  }
  return shapes;
}

/// Why the model cannot be imported with these shapes; none if it can.
std::optional<Exception> import_error(Session& session, const Shapes& shapes) {
  try {
    session.inspect("graph", shapes);
  } catch (const Exception& exception) {
    return exception;
  }
  return std::nullopt;
}

/// Names of the inputs whose values are compiled in; none where shapes are open.
std::vector<std::string> deciding_inputs(Session& session, const Shapes& shapes) {
  try {
    return session.deciding_inputs(shapes);
  } catch (const Exception&) {
    return {};
  }
}

/// Whether the error is one for which a model is run piece by piece, and not refused.
bool runs_in_pieces(Session& session, const Exception& error) {
  if (error.code() != CORF_UNSUPPORTED) return false;
  const std::string why = error.what();
  for (const char* reason : {"depends on", "the operator is not supported", "piece by piece"}) {
    if (why.find(reason) != std::string::npos) return session.refused_operators().empty();
  }
  return false;
}

Support in_pieces(const std::string& why) {
  return {std::nullopt,
          "Every operator is known. The model cannot be compiled as a whole: it is run piece by "
          "piece. What is in the way:\n" +
              why};
}

/// With open shapes the model is tried with some extents: what is missing whatever they are shows.
Support find_support(Session& session, const std::vector<Declaration>& inputs,
                     const Shapes& shapes) {
  if (session.operators().empty()) return {true, "Every node is supported."};  // a compiled file
  const auto error = import_error(session, shapes);
  if (!error) return {true, "Every node is supported."};
  if (const auto names = deciding_inputs(session, shapes); !names.empty()) {
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "'" : ", '") + name + "'";
    return {
        std::nullopt,
        fmt::format("Shapes or branches depend on the values of inputs {}: the model is compiled "
                    "for each set of them when it is run; --constant gives them here.\n"
                    "Without them:\n{}",
                    list, error->what())};
  }
  if (runs_in_pieces(session, *error)) return in_pieces(error->what());
  if (error->code() == CORF_UNSUPPORTED) return {false, error->what()};
  if (!has_open_shape(inputs, shapes) || error->code() != CORF_INVALID_ARGUMENT) throw *error;
  std::string missing;
  for (const int64_t extent : {64, 1, 224}) {
    const auto filled = fill_open(inputs, shapes, extent);
    if (!filled) break;
    const auto why = import_error(session, *filled);
    if (!why) {
      return {std::nullopt, fmt::format("Every node is supported with the open dimensions at {}. "
                                        "Other extents may change that: give yours with --shape.",
                                        extent)};
    }
    if (runs_in_pieces(session, *why)) return in_pieces(why->what());
    if (why->code() == CORF_UNSUPPORTED && missing.empty()) {
      missing = fmt::format("{}\n(with the open dimensions at {}; --shape gives others)",
                            why->what(), extent);
    }
  }
  if (!missing.empty()) return {false, missing};
  return {std::nullopt,
          "Every operator is known. Whether every node is supported depends on the open shapes: "
          "give them with --shape."};
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
  const Support support = find_support(session, inputs, shapes);
  if (settings.json) {
    Json result = {{"opset", session.opset()},
                   {"inputs", to_json(inputs)},
                   {"outputs", to_json(session.outputs())},
                   {"operators", session.operators()},
                   {"metadata", session.metadata()},
                   {"deciding_inputs", deciding_inputs(session, shapes)},
                   {"supported", support.supported ? Json(*support.supported) : Json(nullptr)}};
    if (support.supported == false) result["unsupported"] = support.text;
    print(result);
    return;
  }
  print_overview(session, inputs);
  const bool is_refused = support.supported == false;
  fmt::print("\n{}{}\n", is_refused ? "not supported\n" : "", support.text);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto settings = std::make_shared<InspectSettings>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Show a model's inputs, outputs and operators, or its text at a stage");
  settings->add_model_to(*command);
  command->add_option("--stage", settings->stage, "Print the program at this stage instead")
      ->check(CLI::IsMember({"graph", "mapping", "plan", "costs", "loop", "llvm", "asm"}));
  command->footer(
      "Examples:\n"
      "  corf inspect model.onnx\n"
      "  corf inspect model.onnx --stage graph --shape x=1x3x224x224");
  command->callback([settings] { inspect(*settings); });
}

}  // namespace corf::command
