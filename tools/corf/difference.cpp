#include "difference.h"

#include <cmath>
#include <cstring>
#include <fmt/format.h>

#include "elements.h"
#include "settings.h"

namespace corf::command {
std::string difference(const Array& actual, const Array& expected, double relative,
                       double absolute) {
  if (actual.dtype() != expected.dtype() || actual.extents() != expected.extents()) {
    return fmt::format("is {} {} instead of {} {}", corf_dtype_name(actual.dtype()),
                       to_text(actual.extents()), corf_dtype_name(expected.dtype()),
                       to_text(expected.extents()));
  }
  if (!is_float(expected.dtype())) {
    const size_t elem_bytes = corf_dtype_size_bytes(expected.dtype());
    for (size_t i = 0; i < expected.num_elems(); ++i) {
      if (std::memcmp(actual.data<char>() + i * elem_bytes, expected.data<char>() + i * elem_bytes,
                      elem_bytes) != 0) {
        return fmt::format("differs at element {}", i);
      }
    }
    return "";
  }
  for (size_t i = 0; i < expected.num_elems(); ++i) {
    const double want = float_element(expected, i), got = float_element(actual, i);
    if (want == got || (std::isnan(want) && std::isnan(got))) continue;
    if (!(std::abs(got - want) <= absolute + relative * std::abs(want))) {
      return fmt::format("is {:.9g} instead of {:.9g} at element {}", got, want, i);
    }
  }
  return "";
}

}  // namespace corf::command
