#pragma once
#include "loop/program.h"
#include "support/result.h"

namespace corf::loop {

/// Addresses of the call's first and last partition, as far as bounds tell for certain: an affine
/// offset without guards inside of loops whose bounds are constant for the partition.
/// Errors: kInternal naming kernel, statement and the offsets' range.
Status check_addresses(const Program& program, const KernelCall& call);

}  // namespace corf::loop
