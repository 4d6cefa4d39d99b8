#include "host/parse_value.h"
#include "session/error.h"

namespace {

/// Errors: kInvalidArgument for a kind that no message has.
corf::Result<corf::onnx::ValueKind> message_kind(corf_kind kind) {
  using corf::onnx::ValueKind;
  switch (kind) {
    case CORF_TENSOR:
    case CORF_STRINGS:
    case CORF_NARROW:
      return ValueKind::kTensor;
    case CORF_SEQUENCE:
      return ValueKind::kSequence;
    case CORF_OPTIONAL:
      return ValueKind::kOptional;
    default:
      return corf::make_error(corf::ErrorCode::kInvalidArgument, "{} is no kind of a message",
                              static_cast<int>(kind));
  }
}

}  // namespace

extern "C" corf_error* corf_value_parse_onnx(const void* bytes, size_t size_bytes, corf_kind kind,
                                             corf_value** value) {
  return corf::session::guarded(
      {corf::session::needed_array(bytes, size_bytes, "bytes"), {value, "value"}},
      [&]() -> corf::Status {
        CORF_ASSIGN(const corf::onnx::ValueKind of_message, message_kind(kind));
        CORF_ASSIGN(corf::session::Value parsed,
                    corf::host::parse_value(bytes, size_bytes, of_message));
        *value = new corf_value{std::move(parsed)};
        return {};
      });
}
