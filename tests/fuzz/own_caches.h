#pragma once
#include <filesystem>

namespace corf::fuzz {

/// A folder for caches and files that goes with the process, made when it is first asked for. It
/// holds figures of the machine, so that nothing is measured.
const std::filesystem::path& own_caches();

}  // namespace corf::fuzz
