#pragma once
#include <string>

#include "target/machine.h"

namespace corf {

/// Fills the measured fields from `file`. False, and `machine` unchanged, if there is no such file,
/// it is damaged, or it describes another machine.
bool read_calibration(const std::string& file, Machine& machine);

/// Writes the file whole or not at all (another name, then renamed). Makes the folder. False if
/// that fails: the next process measures again.
bool write_calibration(const std::string& file, const Machine& machine);

}  // namespace corf
