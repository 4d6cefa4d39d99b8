#include <fmt/format.h>

#include "loop/names.h"
#include "loop/parse_kernel.h"
#include "loop/text.h"

namespace corf::loop {
namespace {

using index::Scanner;

/// Index of the item called `name`, or -1 after reporting an unknown name.
template <typename T>
int find_named(Scanner& scanner, const std::vector<T>& items, std::string_view what) {
  const std::string name = scanner.name(what);
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].name == name) return static_cast<int>(i);
  }
  scanner.fail(fmt::format("unknown {} '{}'", what, name));
  return -1;
}

template <typename F>
void parse_list(Scanner& s, std::string_view close, F&& item) {
  if (s.accept(close)) return;
  do {
    item();
  } while (!s.failed() && s.accept(","));
  s.expect(close);
}

Tensor parse_elems(Scanner& s, DType dtype, int64_t size_elems) {
  Tensor data(dtype, {size_elems});
  for (int64_t i = 0; i < size_elems && !s.failed(); ++i) {
    if (i > 0) s.expect(",");
    if (is_float(dtype)) {
      data.set_f64(i, s.number("an element"));
    } else {
      data.set_i64(i, s.integer("an element"));
    }
  }
  return data;
}

// Keeps a damaged text from asking for more memory than any model's constants need.
constexpr int64_t kMaxConstantBytes = int64_t{1} << 36;

void parse_buffer(Scanner& s, Program& program) {
  Buffer b;
  b.name = s.name("a buffer's name");
  for (const Buffer& other : program.buffers) {
    if (other.name == b.name) s.fail(fmt::format("buffer '{}' is declared twice", b.name));
  }
  s.expect(":");
  parse_memory_type(s, b.dtype, b.size_elems);
  if (s.accept("input")) {
    b.kind = BufferKind::kInput;
    b.position = static_cast<int>(s.integer("the input's number"));
  } else if (s.accept("output")) {
    b.kind = BufferKind::kOutput;
    b.position = static_cast<int>(s.integer("the output's number"));
  } else if (s.accept("constant")) {
    b.kind = BufferKind::kConstant;
    if (b.size_elems > kMaxConstantBytes / size_bytes(b.dtype)) s.fail("constant is too large");
    if (s.accept("hash")) {
      b.hash = s.number_text("a hash");
      if (!s.failed()) b.data = Tensor(b.dtype, {b.size_elems});
    } else {
      s.expect("=");
      if (!s.failed()) b.data = parse_elems(s, b.dtype, b.size_elems);
    }
  } else {
    s.expect("arena");
  }
  program.buffers.push_back(std::move(b));
}

void parse_call(Scanner& s, Program& program) {
  KernelCall call;
  call.kernel = find_named(s, program.kernels, "kernel");
  s.expect("(");
  parse_list(s, ")", [&] { call.buffers.push_back(find_named(s, program.buffers, "buffer")); });
  if (s.accept("params")) {
    s.expect("(");
    parse_list(s, ")", [&] { call.params.push_back(s.integer("a parameter")); });
  }
  if (s.accept("partitions")) call.partitions = s.integer("the number of partitions");
  if (s.accept("label")) call.label = s.quoted("a label");
  if (s.accept("nodes")) {
    s.expect("(");
    parse_list(s, ")", [&] { call.nodes.push_back(s.quoted("a node's name")); });
  }
  if (s.accept("work")) call.work_flops = s.integer("FLOPs");
  if (s.accept("executed")) call.executed_flops = s.integer("FLOPs");
  if (s.accept("bytes")) call.compulsory_bytes = s.integer("bytes");
  program.steps.push_back(std::move(call));
}

using Attribute = decltype(RoutineCall::attributes)::mapped_type;

Attribute parse_attribute(Scanner& s) {
  if (s.accept("floats")) {
    std::vector<double> values;
    s.expect("[");
    parse_list(s, "]", [&] { values.push_back(s.number("a number")); });
    return values;
  }
  if (s.accept("[")) {
    std::vector<int64_t> values;
    parse_list(s, "]", [&] { values.push_back(s.integer("an integer")); });
    return values;
  }
  if (s.at_quote()) return s.quoted("text");
  const std::string_view digits = s.number_text("a value");
  if (digits.find_first_not_of("-0123456789") != std::string_view::npos) return s.to_number(digits);
  return s.to_integer(digits);
}

void parse_routine(Scanner& s, Program& program) {
  RoutineCall call;
  const auto operands = [&](std::vector<RoutineOperand>& list) {
    s.expect("(");
    parse_list(s, ")", [&] {
      RoutineOperand operand;
      operand.buffer = find_named(s, program.buffers, "buffer");
      s.expect(":");
      operand.shape = s.shape();
      list.push_back(std::move(operand));
    });
  };
  call.routine = s.quoted("a routine's name");
  operands(call.inputs);
  s.expect("->");
  operands(call.outputs);
  if (s.accept("attributes")) {
    s.expect("(");
    parse_list(s, ")", [&] {
      const std::string name = s.name("an attribute's name");
      s.expect("=");
      call.attributes[name] = parse_attribute(s);
    });
  }
  if (s.accept("label")) call.label = s.quoted("a label");
  program.steps.push_back(std::move(call));
}

}  // namespace

void parse_memory_type(Scanner& s, DType& dtype, int64_t& size_elems) {
  dtype = parse_element_type(s);
  s.expect("[");
  size_elems = s.integer("a size in elements");
  if (!s.failed() && size_elems < 0) s.fail("a size is negative");
  s.expect("]");
}

DType parse_element_type(Scanner& s) {
  const std::string name = s.name("an element type");
  if (std::optional<DType> dtype = parse_dtype(name)) return *dtype;
  s.fail(fmt::format("unknown element type '{}'", name));
  return DType::kF32;
}

Result<Program> parse_program(std::string_view text) {
  Scanner s(text);
  Program program;
  while (!s.at_end() && !s.failed()) {
    if (s.accept("buffer")) {
      parse_buffer(s, program);
    } else if (s.accept("kernel")) {
      program.kernels.push_back(parse_kernel(s, text));
    } else if (s.accept("call")) {
      parse_call(s, program);
    } else if (s.accept("routine")) {
      parse_routine(s, program);
    } else {
      s.fail("expected 'buffer', 'kernel', 'call' or 'routine'");
    }
  }
  if (s.failed()) return s.error();
  return program;
}

Result<Kernel> parse_kernel(std::string_view text) {
  Scanner s(text);
  s.expect("kernel");
  Kernel kernel = parse_kernel(s, text);
  if (!s.failed() && !s.at_end()) s.fail("expected the end of the text");
  if (s.failed()) return s.error();
  return kernel;
}

}  // namespace corf::loop
