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
  std::optional<bool> supported;  // none: it depends on the open shapes, on values or on data
  std::string runs;  // "whole", "for_values", "in_pieces"; "": not known, or not at all
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

/// Names of the inputs whose values are compiled in; none where shapes are open.
std::vector<std::string> deciding_inputs(Session& session, const Shapes& shapes) {
  try {
    return session.deciding_inputs(shapes);
  } catch (const Exception&) {
    return {};
  }
}

Support to_support(Session& session, const Shapes& shapes, corf_support kind,
                   const std::string& reasons) {
  switch (kind) {
    case CORF_SUPPORT_WHOLE:
      return {true, "whole", "Every node is supported."};
    case CORF_SUPPORT_FOR_VALUES: {
      std::string list;
      for (const std::string& name : deciding_inputs(session, shapes)) {
        list += (list.empty() ? "'" : ", '") + printable(name) + "'";
      }
      return {std::nullopt, "for_values",
              fmt::format(
                  "Shapes or branches depend on the values of inputs {}: the model is compiled for "
                  "each set of them when it is run; --constant gives them here.\nWithout them:\n{}",
                  list, reasons)};
    }
    case CORF_SUPPORT_IN_PIECES:
      return {std::nullopt, "in_pieces",
              "Every operator is known. The model cannot be compiled as a whole: it is run piece "
              "by piece. What is in the way:\n" +
                  reasons};
    default:
      return {false, "", reasons};
  }
}

/// The open dimensions at some extents in turn: what is refused whatever they are shows.
Support try_extents(Session& session, const std::vector<Declaration>& inputs,
                    const Shapes& shapes) {
  std::optional<Support> refused;
  for (const int64_t extent : {64, 1, 224}) {
    const auto filled = fill_open(inputs, shapes, extent);
    if (!filled) break;
    try {
      const auto [kind, reasons] = session.support(*filled);
      Support support = to_support(session, *filled, kind, reasons);
      if (kind == CORF_SUPPORT_WHOLE) {
        return {std::nullopt, "whole",
                fmt::format("Every node is supported with the open dimensions at {}. Other extents "
                            "may change that: give yours with --shape.",
                            extent)};
      }
      if (kind != CORF_SUPPORT_NONE) return support;
      if (refused) continue;
      support.text +=
          fmt::format("\n(with the open dimensions at {}; --shape gives others)", extent);
      refused = std::move(support);
    } catch (const Exception&) {
      continue;  // these extents fit no node
    }
  }
  if (refused) return *refused;
  return {std::nullopt, "",
          "Every operator is known. Whether every node is supported depends on the open shapes: "
          "give them with --shape."};
}

Support find_support(Session& session, const std::vector<Declaration>& inputs,
                     const Shapes& shapes) {
  if (session.operators().empty()) return {true, "whole", "Every node is supported."};  // .corf
  try {
    const auto [kind, reasons] = session.support(shapes);
    return to_support(session, shapes, kind, reasons);
  } catch (const Exception& exception) {
    if (!has_open_shape(inputs, shapes) || exception.code() != CORF_INVALID_ARGUMENT) throw;
  }
  return try_extents(session, inputs, shapes);
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
                   {"supported", support.supported ? Json(*support.supported) : Json(nullptr)},
                   {"runs", support.runs.empty() ? Json(nullptr) : Json(support.runs)}};
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
