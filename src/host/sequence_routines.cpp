// Sequences and optionals.
#include <numeric>

#include "host/routines.h"

namespace corf::host {
namespace {

Result<Values> run_sequence_construct(const Call& call) {
  return only(Value(Value::Sequence(call.inputs())));
}

Result<Values> run_sequence_empty(const Call&) { return only(Value(Value::Sequence())); }

/// A position in a sequence, counted from the end if negative; up to `count` itself where an item
/// is put in.
Result<int64_t> position(const Call& call, size_t i, int64_t count, bool may_be_end) {
  CORF_ASSIGN(const int64_t wanted, call.integer(i));
  const int64_t found = wanted < 0 ? wanted + count : wanted;
  if (found >= 0 && found < count + (may_be_end ? 1 : 0)) return found;
  return call.bad_value("position {} in a sequence of {}", wanted, count);
}

Result<Values> run_sequence_at(const Call& call) {
  CORF_ASSIGN(const Value::Sequence* items, call.sequence(0));
  CORF_ASSIGN(const int64_t at,
              position(call, 1, static_cast<int64_t>(items->size()), /*may_be_end=*/false));
  return Values{(*items)[at]};
}

Result<Values> run_sequence_insert(const Call& call) {
  CORF_ASSIGN(const Value::Sequence* items, call.sequence(0));
  const auto count = static_cast<int64_t>(items->size());
  int64_t at = count;
  if (call.has(2)) {
    CORF_ASSIGN(at, position(call, 2, count, /*may_be_end=*/true));
  }
  if (!call.has(1)) return call.invalid("input 1 is missing");
  Value::Sequence longer = *items;
  longer.insert(longer.begin() + at, call.input(1));
  return only(Value(std::move(longer)));
}

Result<Values> run_sequence_erase(const Call& call) {
  CORF_ASSIGN(const Value::Sequence* items, call.sequence(0));
  const auto count = static_cast<int64_t>(items->size());
  if (count == 0) return call.bad_value("nothing can be taken out of an empty sequence");
  int64_t at = count - 1;
  if (call.has(1)) {
    CORF_ASSIGN(at, position(call, 1, count, /*may_be_end=*/false));
  }
  Value::Sequence shorter = *items;
  shorter.erase(shorter.begin() + at);
  return only(Value(std::move(shorter)));
}

Result<Values> run_sequence_length(const Call& call) {
  CORF_ASSIGN(const Value::Sequence* items, call.sequence(0));
  const auto count = static_cast<int64_t>(items->size());
  return Values{integers({}, std::span(&count, 1))};
}

Result<Values> run_concat_from_sequence(const Call& call) {
  CORF_ASSIGN(const Value::Sequence* held, call.sequence(0));
  if (held->empty()) return call.bad_value("an empty sequence has no tensors to put together");
  const bool along_new_axis = call.int_attribute("new_axis", 0) != 0;
  Values items = *held;
  const size_t rank = shape_of(items[0]).size() + (along_new_axis ? 1 : 0);
  CORF_ASSIGN(const int axis, call.axis(call.int_attribute("axis", 0), rank));
  for (Value& item : items) {
    if (item.tensor() == nullptr && item.strings() == nullptr) {
      return call.bad_value("the sequence holds {}", item.described());
    }
    if (!along_new_axis) continue;
    Shape shape = shape_of(item);
    if (shape.size() + 1 != rank) return call.bad_value("the sequence holds other ranks");
    shape.insert(shape.begin() + axis, 1);
    item = reshaped(item, shape);
  }
  auto whole = concatenated(items, axis);
  if (!whole.ok()) return call.bad_value("{}", whole.error().message);
  return Values{whole.take()};
}

/// How long the items of an axis are: each one element, of one length but the last, or as listed.
Result<std::vector<int64_t>> item_lengths(const Call& call, int64_t extent) {
  if (!call.has(1)) return std::vector<int64_t>(extent, 1);
  CORF_ASSIGN(const Tensor split, call.tensor(1));
  if (!is_integer(split.dtype()) || split.shape().size() > 1) {
    return call.invalid("its input 1 is {}, not lengths", call.input(1).described());
  }
  std::vector<int64_t> lengths;
  if (split.shape().empty()) {
    const int64_t length = split.at_i64(0);
    if (length < 1) return call.bad_value("items of length {}", length);
    for (int64_t done = 0; done < extent; done += lengths.back()) {
      lengths.push_back(std::min(length, extent - done));
    }
    return lengths;
  }
  int64_t rest = extent;
  for (int64_t i = 0; i < split.num_elems(); ++i) {
    lengths.push_back(split.at_i64(i));
    if (lengths.back() < 0 || lengths.back() > rest) {
      return call.bad_value("item {} of length {} for an extent of {}", i, lengths.back(), extent);
    }
    rest -= lengths.back();
  }
  if (rest != 0) return call.bad_value("its items leave {} of an extent of {}", rest, extent);
  return lengths;
}

Result<Values> run_split_to_sequence(const Call& call) {
  const Value& x = call.input(0);
  if (x.tensor() == nullptr && x.strings() == nullptr) {
    return call.invalid("its input 0 is {}", x.described());
  }
  const Shape& shape = shape_of(x);
  CORF_ASSIGN(const int axis, call.axis(call.int_attribute("axis", 0), shape.size()));
  CORF_ASSIGN(const auto lengths, item_lengths(call, shape[axis]));
  const bool drops_axis = !call.has(1) && call.int_attribute("keepdims", 1) == 0;
  Value::Sequence items;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    std::vector<int64_t> indices(length);
    std::iota(indices.begin(), indices.end(), begin);
    begin += length;
    Value item = rows(x, axis, indices);
    if (drops_axis) {
      Shape without = shape;
      without.erase(without.begin() + axis);
      item = reshaped(item, without);
    }
    items.push_back(std::move(item));
  }
  return only(Value(std::move(items)));
}

/// An optional is its element, or nothing.
Result<Values> run_optional(const Call& call) { return Values{call.input(0)}; }

Result<Values> run_optional_has_element(const Call& call) {
  Tensor there(DType::kBool, {});
  there.set_i64(0, call.has(0) ? 1 : 0);
  return Values{there};
}

Result<Values> run_optional_get_element(const Call& call) {
  if (!call.has(0)) return call.bad_value("the optional holds nothing");
  return Values{call.input(0)};
}

constexpr RoutineEntry kRoutines[] = {
    {"ConcatFromSequence", run_concat_from_sequence, true},
    {"Identity", run_optional},
    {"Optional", run_optional, true},
    {"OptionalGetElement", run_optional_get_element},
    {"OptionalHasElement", run_optional_has_element},
    {"SequenceAt", run_sequence_at, true},
    {"SequenceConstruct", run_sequence_construct, true},
    {"SequenceEmpty", run_sequence_empty, true},
    {"SequenceErase", run_sequence_erase, true},
    {"SequenceInsert", run_sequence_insert, true},
    {"SequenceLength", run_sequence_length, true},
    {"SplitToSequence", run_split_to_sequence, true},
};

}  // namespace

std::span<const RoutineEntry> sequence_routines() { return kRoutines; }

}  // namespace corf::host
