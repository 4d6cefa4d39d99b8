#include "host/parse_value.h"
#include "session/error.h"

extern "C" corf_error* corf_value_parse_onnx(const void* bytes, size_t size_bytes, corf_kind kind,
                                             corf_value** value) {
  return corf::session::guarded(
      {corf::session::needed_array(bytes, size_bytes, "bytes"), {value, "value"}},
      [&]() -> corf::Status {
        CORF_ASSIGN(corf::session::Value parsed, corf::host::parse_value(bytes, size_bytes, kind));
        *value = new corf_value{std::move(parsed)};
        return {};
      });
}
