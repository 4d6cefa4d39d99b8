#pragma once
#include "cost/coefficients.h"
#include "target/machine.h"

namespace corf::cost {

/// Bytes that one core reads in a cycle, all of them busy, and what does not depend on data. A
/// cycle is the time of two multiply-adds of a whole vector.
struct Rates {
  double panel;  // fetched ahead from the second level
  double l1, l2, l3, dram;
  double l2_written, l3_written, dram_written;  // bytes that it writes
  double passed;   // from a kernel to the next, within the second level, parts of it to others
  double remote;   // what another core has written, and the wait when that core writes it anew
  double visit;    // cycles to begin a stage in a strip: bounds, what has to be near
  double barrier;  // cycles of a barrier, and of the caches that are cold behind it
};

/// The performance model of one machine: facts that were measured (target/), what the model assumes
/// of them (cost/coefficients.h), and what follows from both.
class Model {
 public:
  /// `machine` outlives the object.
  explicit Model(const Machine& machine, const Coefficients& coefficients = {});

  /// Bytes a cycle at which a worker gets to weights, of which the whole network has so many.
  double weights_rate(int64_t all_bytes) const;
  /// Cycles in which the matrix unit waits for one of these bytes; what it reads from the second
  /// level is part of its products' time.
  double weights_wait(int64_t all_bytes) const;

  const Machine& machine;
  const Coefficients k;
  /// Of a multiply-add's time, what it takes in a register tile, beside the loads of its factors.
  const double stalls;
  /// What a kernel sees of the measured bandwidths is a part of them, since it writes too and does
  /// not read all the time. Where nothing was measured, figures of a core with two units.
  const Rates rates;
};

}  // namespace corf::cost
