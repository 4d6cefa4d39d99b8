// One target as a libFuzzer program.
//   fuzz_NAME [LIBFUZZER_OPTION...] CORPUS_FOLDER...
//   fuzz_NAME --write-seeds=FOLDER    writes where the corpus begins, and ends
//   fuzz_NAME [--first=N] --steady=SECONDS    numbered random inputs from N, or 1, on, the same
//   ones
//                                     each time, and ends
//   fuzz_NAME --number=N              one of them
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sanitizer/common_interface_defs.h>
#include <span>
#include <string>
#include <string_view>

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

std::optional<uint32_t> number_at_work;

void name_number() {
  if (number_at_work) std::fprintf(stderr, "It was --number=%u.\n", *number_at_work);
}

void try_one(std::span<const uint8_t> bytes) {
  const Finding finding = CORF_FUZZ_TARGET(Choices(bytes));
  if (finding.empty()) return;
  std::fprintf(stderr, "FINDING: %s\n", finding.c_str());
  name_number();
  std::abort();
}

/// Not led by coverage, which differs from run to run where threads meet: what a change breaks is
/// found each time, and nothing else is.
void try_number(uint32_t number) {
  number_at_work = number;
  constexpr size_t kMostBytes = 2 * CORF_FUZZ_SEED_BYTES;
  try_one(random_seeds(number, 1, kMostBytes).front());
}

void try_for(std::chrono::seconds time, uint32_t first) {
  const auto end = std::chrono::steady_clock::now() + time;
  uint32_t number = first;
  for (; std::chrono::steady_clock::now() < end; ++number) try_number(number);
  std::fprintf(stderr, "%u inputs without a finding\n", number - first);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  uint32_t first = 1;
  for (int i = 1; i < *argc; ++i) {
    const std::string_view argument = (*argv)[i];
    const auto value_of = [&](std::string_view option) -> std::optional<std::string> {
      if (!argument.starts_with(option)) return std::nullopt;
      return std::string(argument.substr(option.size()));
    };
    __sanitizer_set_death_callback(name_number);
    if (const auto folder = value_of("--write-seeds=")) {
      write_seeds(*folder);
    } else if (const auto number = value_of("--first=")) {
      first = static_cast<uint32_t>(std::stoul(*number));
      continue;
    } else if (const auto seconds = value_of("--steady=")) {
      try_for(std::chrono::seconds(std::stoi(*seconds)), first);
    } else if (const auto number = value_of("--number=")) {
      try_number(static_cast<uint32_t>(std::stoul(*number)));
    } else {
      continue;
    }
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try_one({data, size});
  return 0;
}
