#pragma once
#include <array>
#include <string_view>

namespace corf::cost {

/// All that the performance model assumes beyond what target/ measures: one table, so that
/// `bench_costs --fit` can vary each and say what it does to the error.
///
/// Source: kernels measured on earlier machines, by hand, before there was a fit. `beside`,
/// `load_slot`, `fewest_cycles`, `tile`, `gathered`, `table_terms`, `l2`, `l3`, `hidden_memory`,
/// `visit_ns` and `barrier_apart` were since moved towards what `bench_costs --fit` says on a Zen 5
/// with SSE2, AVX2 and AVX-512 (`l1`, `panel`, `passed` and `revisited`, shares of `l2`, kept about
/// what they stood for); `streams_ahead` is what Winograd's transforms took there to read and to
/// write; `interleaved` and `strided` count instructions, and are not fitted.
struct Coefficients {
  // Arithmetic: cycles, of two multiply-adds of a whole vector each.
  double loads = 1.12;
  double beside = 0.4;
  double load_slot = 0.02;
  double fewest_cycles = 3.5;
  double loop = 0.5;
  double tile = 1.5;
  double lane_step = 1.5;
  double lane_sum = 4;
  double table_terms = 0.55;
  double transposed_wide = 4;
  double transposed_narrow = 7;
  double gathered = 0.8;
  double strided = 2;
  double interleaved = 4;
  // Memory: shares of what was measured, and passes over bytes.
  double l2 = 1;
  double l3 = 0.8;
  double dram = 0.95;
  double passed = 0.25;
  double remote = 1;
  double l1 = 1.3;
  double panel = 0.6;
  double near_share = 0.55;
  double sure_share = 0.75;
  double far_factors = 1.3;
  double streams_ahead = 14;
  double lines_not_ahead = 2;
  double panel_lines_not_ahead = 4;
  double panels_ahead = 3;
  double revisited = 0.8;
  double hidden_memory = 0.6;
  double seen_weights = 0.15;
  // Meeting.
  double visit_ns = 60;
  double barrier_apart = 12;
  double barrier_shortest_ns = 500;
  double barrier_longest_ns = 2600;
};

/// What a coefficient is.
struct Described {
  std::string_view name;
  double Coefficients::* field;
  std::string_view unit;
  std::string_view meaning;
};

constexpr std::array<Described, 35> kDescribed = {{
    {"loads", &Coefficients::loads, "", "of a load's time, beside as many multiply-adds"},
    {"beside", &Coefficients::beside, "",
     "of arithmetic or of loads and stores, the fewer, that does not hide behind the other"},
    {"load_slot", &Coefficients::load_slot, "cycles", "of a load that hides behind arithmetic"},
    {"fewest_cycles", &Coefficients::fewest_cycles, "cycles",
     "of a step of a sum: a multiply-add waits for the one before"},
    {"loop", &Coefficients::loop, "cycles", "of a step of a loop's own, where nothing is packed"},
    {"tile", &Coefficients::tile, "cycles", "to begin and end a tile"},
    {"lane_step", &Coefficients::lane_step, "cycles", "to add up the steps side by side of a sum"},
    {"lane_sum", &Coefficients::lane_sum, "cycles", "to add up the lanes of a sum"},
    {"table_terms", &Coefficients::table_terms, "", "entries of a table in code that are not zero"},
    {"transposed_wide", &Coefficients::transposed_wide, "slots",
     "of a vector that is transposed in a tile of eight rows and more"},
    {"transposed_narrow", &Coefficients::transposed_narrow, "slots", "of four rows and more"},
    {"gathered", &Coefficients::gathered, "slots a lane", "of a vector loaded element by element"},
    {"strided", &Coefficients::strided, "slots a vector",
     "of those that lanes a few elements apart are shuffled out of: they cross lines"},
    {"interleaved", &Coefficients::interleaved, "loads",
     "of a vector of four rows of bytes, side by side"},
    {"l2", &Coefficients::l2, "of l2_gbps_core", "that a kernel reads and writes at"},
    {"l3", &Coefficients::l3, "of l3_gbps_all a core", "likewise"},
    {"dram", &Coefficients::dram, "of dram_gbps_all a core", "likewise"},
    {"passed", &Coefficients::passed, "of l2", "at which one kernel reads what another wrote"},
    {"remote", &Coefficients::remote, "of remote_gbps_core", "likewise, where another core did"},
    {"l1", &Coefficients::l1, "of l2", "at which rings in the first level are read and written"},
    {"panel", &Coefficients::panel, "of l2", "at which packed vectors are fetched ahead"},
    {"near_share", &Coefficients::near_share, "of l2_bytes", "that one kernel can count on"},
    {"sure_share", &Coefficients::sure_share, "of l2_bytes",
     "up to which all that a kernel touches stays for the next"},
    {"far_factors", &Coefficients::far_factors, "passes",
     "over a contraction's factors that come from memory"},
    {"streams_ahead", &Coefficients::streams_ahead, "places",
     "in memory, each on its own pages, that are fetched or left ahead at a time"},
    {"lines_not_ahead", &Coefficients::lines_not_ahead, "lines",
     "of each short run that are not fetched ahead, in strips"},
    {"panel_lines_not_ahead", &Coefficients::panel_lines_not_ahead, "lines",
     "likewise, of results that leave panel by panel"},
    {"panels_ahead", &Coefficients::panels_ahead, "of l3",
     "at which the matrix unit's panels are fetched again"},
    {"revisited", &Coefficients::revisited, "of l2", "at which strips read weights again"},
    {"hidden_memory", &Coefficients::hidden_memory, "",
     "of what activations cost that hides behind arithmetic"},
    {"seen_weights", &Coefficients::seen_weights, "",
     "of reading weights ahead that does not hide behind arithmetic"},
    {"visit_ns", &Coefficients::visit_ns, "ns", "to begin a stage in a strip"},
    {"barrier_apart", &Coefficients::barrier_apart, "of barrier_ns",
     "a barrier to which workers do not come together"},
    {"barrier_shortest_ns", &Coefficients::barrier_shortest_ns, "ns", "of it at least"},
    {"barrier_longest_ns", &Coefficients::barrier_longest_ns, "ns", "of it at most"},
}};

}  // namespace corf::cost
