#include "session/value.h"

namespace corf::session {

std::string Value::described() const {
  if (const Tensor* held = tensor()) {
    return fmt::format("{} {}", to_string(held->dtype()), to_string(held->shape()));
  }
  if (const Narrow* held = narrow()) {
    return fmt::format("a tensor of ONNX's element type {}, {}", held->type,
                       to_string(held->codes.shape()));
  }
  if (const Strings* held = strings()) return "strings " + to_string(held->shape);
  if (const Sequence* held = sequence()) return fmt::format("a sequence of {}", held->size());
  return "nothing";
}

}  // namespace corf::session
