#pragma once
#include "target/machine.h"

namespace corf {

/// How fast this machine multiplies and adds just now.
struct CpuSpeed {
  double alone_gflops = 0;     // a loop on the first CPU
  double together_gflops = 0;  // one on each of `threads` CPUs, at the same time
  double nominal_gflops = 0;   // of a core that has two units and runs at its nominal frequency
};

/// Takes about 20 ms. Only for an ISA that this machine has, as the next function too.
CpuSpeed measure_speed(const Machine& machine);

/// All measured fields once, each for its share of the time or a little longer; what is better than
/// what the machine holds replaces it. What cannot be measured stays as it is.
void measure_figures(Machine& machine, double seconds);

}  // namespace corf
