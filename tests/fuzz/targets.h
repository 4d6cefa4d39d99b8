#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/choices.h"

/// What is fuzzed. Each target makes something out of bytes, hands it to corf and looks at what
/// comes back; that it comes back at all, without a signal, a failed assertion or a sanitizer's
/// report, is most of the test.
namespace corf::fuzz {

/// What is wrong, or nothing. Refusals with a message are right answers.
using Finding = std::string;

/// A random model: imported, rewritten and verified.
Finding import_target(Choices choices);
/// A damaged plan of a small graph: refused, or lowered, verified, interpreted and compared with
/// the reference.
Finding plan_target(Choices choices);
/// A damaged compiled file whose checksums are right: refused, or loaded; run, where the code is
/// what it was.
Finding file_target(Choices choices);
/// A random model: compiled, run between guard pages, compared with the reference.
Finding run_target(Choices choices);
/// A random model with selections, branches, loops and sequences in it that change nothing: run in
/// pieces, compared with the reference.
Finding pieces_target(Choices choices);
/// Calls of the C interface in any order.
Finding api_target(Choices choices);

/// Where a target's fuzzer begins.
std::vector<std::vector<uint8_t>> random_seeds(uint32_t seed, size_t count, size_t most_bytes);

}  // namespace corf::fuzz
