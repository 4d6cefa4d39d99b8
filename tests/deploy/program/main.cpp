// Runs a compiled model on made-up inputs and writes its outputs' bytes to standard output, one
// after the other. Built once against libcorf_runtime and once against libcorf.
#include <corf/corf.hpp>
#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FILE.corf\n", argv[0]);
    return 2;
  }
  try {
    corf::Session session(argv[1], {{"threads", "2"}});
    corf::Executable executable = session.compile();
    std::vector<corf::Array> inputs;
    for (const corf::Declaration& input : executable.inputs()) {
      inputs.emplace_back(input.name, input.dtype, input.extents);
      if (input.dtype != CORF_F32) throw corf::Exception(CORF_UNSUPPORTED, "only f32 inputs");
      for (size_t i = 0; i < inputs.back().num_elems(); ++i) {
        inputs.back().data<float>()[i] = static_cast<float>(i * 37 % 101) / 17.0f - 3.0f;
      }
    }
    for (const corf::Array& output : executable.run(inputs)) {
      std::fwrite(output.bytes(), 1, output.size_bytes(), stdout);
    }
    for (const auto& [key, value] : session.metadata()) {
      std::fprintf(stderr, "%s = %s\n", key.c_str(), value.c_str());
    }
  } catch (const corf::Exception& exception) {
    std::fprintf(stderr, "error: %s\n", exception.what());
    return 1;
  }
  return 0;
}
