#include <cstring>

#include "session/session.h"

using corf::ErrorCode;
using corf::make_error;
using corf::Shape;
using corf::Status;
using corf::Tensor;
using corf::session::answered;
using corf::session::guarded;
using corf::session::needed_array;
using corf::session::Strings;
using corf::session::Value;

namespace {

Status check_position(const corf_value* value, size_t position) {
  const size_t count = corf_value_num_items(value);
  if (position < count) return {};
  return make_error(ErrorCode::kInvalidArgument, "there is no item number {}; there are {}",
                    position, count);
}

corf_kind kind_at(const std::vector<corf_kind>& kinds, size_t position, size_t count) {
  if (position >= count) return CORF_NOTHING;
  return kinds.empty() ? CORF_TENSOR : kinds[position];
}

}  // namespace

namespace corf::session {

Result<std::vector<Value>> to_values(const corf_value* const* inputs, size_t num_inputs) {
  std::vector<Value> values;
  for (size_t i = 0; i < num_inputs; ++i) {
    if (inputs[i] == nullptr) {
      return make_error(ErrorCode::kInvalidArgument, "input number {} is null", i);
    }
    values.push_back(inputs[i]->value);
  }
  return values;
}

}  // namespace corf::session

extern "C" {

corf_error* corf_value_create(corf_value** value) {
  return guarded({{value, "value"}}, [&]() -> Status {
    *value = new corf_value;
    return {};
  });
}

corf_error* corf_value_of_tensor(const corf_tensor* tensor, corf_value** value) {
  return guarded({{tensor, "tensor"}, {value, "value"}}, [&]() -> Status {
    if (!corf::session::is_dtype(tensor->dtype)) {
      return make_error(ErrorCode::kInvalidArgument, "{} is no element type",
                        static_cast<int>(tensor->dtype));
    }
    CORF_RETURN_IF_ERROR(corf::session::check_rank(tensor->rank, tensor->extents));
    const Shape shape = corf::session::shape_of(*tensor);
    const auto count = corf::checked_num_elems(shape);
    if (!count.ok()) return make_error(ErrorCode::kInvalidArgument, "{}", count.error().message);
    if (*count > 0 && tensor->data == nullptr) {
      return make_error(ErrorCode::kInvalidArgument, "the tensor's data is null");
    }
    Tensor copy(static_cast<corf::DType>(tensor->dtype), shape);
    if (*count > 0) std::memcpy(copy.bytes(), tensor->data, copy.size_bytes());
    *value = new corf_value{std::move(copy)};
    return {};
  });
}

corf_error* corf_value_of_strings(size_t rank, const int64_t* extents, const char* const* texts,
                                  const size_t* sizes_bytes, size_t num_texts, corf_value** value) {
  return guarded({needed_array(texts, num_texts, "texts"),
                  needed_array(sizes_bytes, num_texts, "sizes_bytes"),
                  {value, "value"}},
                 [&]() -> Status {
                   CORF_RETURN_IF_ERROR(corf::session::check_rank(rank, extents));
                   Strings strings;
                   if (rank > 0) strings.shape.assign(extents, extents + rank);
                   const auto count = corf::checked_num_elems(strings.shape);
                   if (!count.ok() || static_cast<size_t>(*count) != num_texts) {
                     return make_error(ErrorCode::kInvalidArgument, "{} texts for the shape {}",
                                       num_texts, corf::to_string(strings.shape));
                   }
                   for (size_t i = 0; i < num_texts; ++i) {
                     if (texts[i] == nullptr) {
                       return make_error(ErrorCode::kInvalidArgument, "text number {} is null", i);
                     }
                     strings.elems.emplace_back(texts[i], sizes_bytes[i]);
                   }
                   *value = new corf_value{std::move(strings)};
                   return {};
                 });
}

corf_error* corf_value_of_sequence(const corf_value* const* items, size_t num_items,
                                   corf_value** value) {
  return guarded({needed_array(items, num_items, "items"), {value, "value"}}, [&]() -> Status {
    Value::Sequence sequence;
    for (size_t i = 0; i < num_items; ++i) {
      if (items[i] == nullptr) {
        return make_error(ErrorCode::kInvalidArgument, "item number {} is null", i);
      }
      sequence.push_back(items[i]->value);
    }
    *value = new corf_value{std::move(sequence)};
    return {};
  });
}

void corf_value_free(corf_value* value) { delete value; }

corf_kind corf_value_kind(const corf_value* value) {
  return answered(CORF_NOTHING, {value}, [&] {
    if (value->value.tensor() != nullptr) return CORF_TENSOR;
    if (value->value.strings() != nullptr) return CORF_STRINGS;
    if (value->value.narrow() != nullptr) return CORF_NARROW;
    return value->value.sequence() != nullptr ? CORF_SEQUENCE : CORF_NOTHING;
  });
}

corf_error* corf_value_tensor(const corf_value* value, corf_tensor* tensor) {
  return guarded({{value, "value"}, {tensor, "tensor"}}, [&]() -> Status {
    const auto* narrow = value->value.narrow();
    if (const Tensor* held = narrow != nullptr ? &narrow->codes : value->value.tensor()) {
      *tensor = {"", corf::session::to_c(held->dtype()), held->shape().size(), held->shape().data(),
                 const_cast<std::byte*>(held->bytes())};
      return {};
    }
    if (const Strings* held = value->value.strings()) {
      *tensor = {"", CORF_DTYPE_RANGE, held->shape.size(), held->shape.data(), nullptr};
      return {};
    }
    return make_error(ErrorCode::kInvalidArgument, "the value is {}, no tensor",
                      value->value.described());
  });
}

int corf_value_narrow_type(const corf_value* value) {
  return answered(0, {value}, [&] {
    const auto* narrow = value->value.narrow();
    return narrow != nullptr ? narrow->type : 0;
  });
}

size_t corf_value_num_items(const corf_value* value) {
  return answered(size_t{0}, {value}, [&]() -> size_t {
    if (const auto* sequence = value->value.sequence()) return sequence->size();
    const Strings* strings = value->value.strings();
    return strings != nullptr ? strings->elems.size() : 0;
  });
}

corf_error* corf_value_item(const corf_value* value, size_t position, corf_value** item) {
  return guarded({{value, "value"}, {item, "item"}}, [&]() -> Status {
    CORF_RETURN_IF_ERROR(check_position(value, position));
    const auto* sequence = value->value.sequence();
    *item = new corf_value{sequence != nullptr
                               ? (*sequence)[position]
                               : Value(Strings{{}, {value->value.strings()->elems[position]}})};
    return {};
  });
}

corf_error* corf_value_string(const corf_value* value, size_t position, const char** text,
                              size_t* size_bytes) {
  return guarded({{value, "value"}, {text, "text"}, {size_bytes, "size_bytes"}}, [&]() -> Status {
    const Strings* strings = value->value.strings();
    if (strings == nullptr) {
      return make_error(ErrorCode::kInvalidArgument, "the value is {}, no strings",
                        value->value.described());
    }
    CORF_RETURN_IF_ERROR(check_position(value, position));
    *text = strings->elems[position].c_str();
    *size_bytes = strings->elems[position].size();
    return {};
  });
}

corf_kind corf_session_input_kind(const corf_session* session, size_t place) {
  return answered(CORF_NOTHING, {session}, [&] {
    const auto& description = session->session->description();
    return kind_at(description.input_kinds, place, description.inputs.size());
  });
}

corf_kind corf_session_output_kind(const corf_session* session, size_t place) {
  return answered(CORF_NOTHING, {session}, [&] {
    const auto& description = session->session->description();
    return kind_at(description.output_kinds, place, description.outputs.size());
  });
}

corf_error* corf_session_run_values(corf_session* session, const corf_value* const* inputs,
                                    size_t num_inputs, corf_value** outputs, size_t num_outputs) {
  return guarded({{session, "session"},
                  needed_array(inputs, num_inputs, "inputs"),
                  needed_array(outputs, num_outputs, "outputs")},
                 [&]() -> Status {
                   if (num_outputs != session->session->outputs().size()) {
                     return make_error(ErrorCode::kInvalidArgument,
                                       "the model has {} outputs, and there is room for {}",
                                       session->session->outputs().size(), num_outputs);
                   }
                   CORF_ASSIGN(const std::vector<Value> given,
                               corf::session::to_values(inputs, num_inputs));
                   CORF_ASSIGN(std::vector<Value> results, session->session->run(given));
                   std::vector<std::unique_ptr<corf_value>> made;
                   for (Value& result : results) {
                     made.push_back(std::make_unique<corf_value>(corf_value{std::move(result)}));
                   }
                   for (size_t i = 0; i < num_outputs; ++i) outputs[i] = made[i].release();
                   return {};
                 });
}

int corf_session_runs_in_pieces(const corf_session* session) {
  return answered(0, {session}, [&] { return session->session->runs_in_pieces() ? 1 : 0; });
}

}  // extern "C"
