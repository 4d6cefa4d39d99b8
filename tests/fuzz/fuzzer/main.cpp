// One target as a libFuzzer program.
//   fuzz_NAME [LIBFUZZER_OPTION...] CORPUS_FOLDER...
//   fuzz_NAME --write-seeds=FOLDER    writes where the corpus begins, and ends
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "tests/fuzz/targets.h"

namespace {

using namespace corf::fuzz;

void write_seeds(const std::string& folder) {
  const auto seeds = random_seeds(0, CORF_FUZZ_NUM_SEEDS, CORF_FUZZ_SEED_BYTES);
  for (size_t i = 0; i < seeds.size(); ++i) {
    std::ofstream file(folder + "/seed" + std::to_string(i), std::ios::binary);
    file.write(reinterpret_cast<const char*>(seeds[i].data()),
               static_cast<std::streamsize>(seeds[i].size()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr const char* kOption = "--write-seeds=";
  for (int i = 1; i < *argc; ++i) {
    if (std::strncmp((*argv)[i], kOption, std::strlen(kOption)) != 0) continue;
    write_seeds((*argv)[i] + std::strlen(kOption));
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Finding finding = CORF_FUZZ_TARGET(Choices({data, size}));
  if (finding.empty()) return 0;
  std::fprintf(stderr, "FINDING: %s\n", finding.c_str());
  std::abort();
}
