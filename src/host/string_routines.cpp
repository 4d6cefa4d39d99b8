// Strings: put together, split, compared, looked up and written.
#include <charconv>
#include <cmath>
#include <map>

#include "host/routines.h"

namespace corf::host {
namespace {

/// Of one tensor: a few bytes must not become more than the memory.
constexpr int64_t kMostStrings = int64_t{1} << 26;

Status check_count(const Call& call, const Shape& shape) {
  const auto count = checked_num_elems(shape);
  if (count.ok() && *count <= kMostStrings) return {};
  return call.bad_value("a result of shape {}; at most {} strings are supported", to_string(shape),
                        kMostStrings);
}

int64_t count_of(const Strings& strings) { return static_cast<int64_t>(strings.elems.size()); }

/// The shape that two broadcast to. Errors: kInvalidArgument if they do not.
Result<Shape> broadcast_shape(const Call& call, const Shape& a, const Shape& b) {
  Shape shape(std::max(a.size(), b.size()));
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      return call.bad_value("{} and {} do not broadcast", to_string(a), to_string(b));
    }
    shape[shape.size() - 1 - i] = x == 1 ? y : x;
  }
  CORF_RETURN_IF_ERROR(check_count(call, shape));
  return shape;
}

/// Where the element of `from` lies that stands at `position` of the shape it is broadcast to.
int64_t broadcast_position(int64_t position, const Shape& shape, const Shape& from) {
  int64_t result = 0, stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t extent = shape[shape.size() - 1 - i];
    const int64_t coordinate = position % extent;
    position /= extent;
    if (i >= from.size()) continue;
    const int64_t own = from[from.size() - 1 - i];
    if (own != 1) result += coordinate * stride;
    stride *= own;
  }
  return result;
}

/// combine(a, b) for each pair of elements after broadcasting.
template <typename Combine>
Status for_each_pair(const Call& call, Shape& shape, Combine&& combine) {
  CORF_ASSIGN(const Strings* a, call.strings(0));
  CORF_ASSIGN(const Strings* b, call.strings(1));
  CORF_ASSIGN(shape, broadcast_shape(call, a->shape, b->shape));
  for (int64_t i = 0; i < num_elems(shape); ++i) {
    combine(a->elems[broadcast_position(i, shape, a->shape)],
            b->elems[broadcast_position(i, shape, b->shape)]);
  }
  return {};
}

Result<Values> run_string_concat(const Call& call) {
  Strings result;
  CORF_RETURN_IF_ERROR(for_each_pair(
      call, result.shape,
      [&](const std::string& a, const std::string& b) { result.elems.push_back(a + b); }));
  return Values{std::move(result)};
}

Result<Values> run_equal(const Call& call) {
  Shape shape;
  std::vector<bool> equal;
  CORF_RETURN_IF_ERROR(for_each_pair(
      call, shape, [&](const std::string& a, const std::string& b) { equal.push_back(a == b); }));
  Tensor result(DType::kBool, shape);
  for (size_t i = 0; i < equal.size(); ++i) result.set_i64(static_cast<int64_t>(i), equal[i]);
  return Values{result};
}

/// The pieces of a text between delimiters, or between runs of white space where there is none; at
/// most so many cuts.
std::vector<std::string> split(std::string_view text, std::string_view delimiter,
                               int64_t most_cuts) {
  constexpr std::string_view kSpaces = " \t\n\v\f\r";
  std::vector<std::string> pieces;
  const bool at_spaces = delimiter.empty();
  const auto skip_spaces = [&] {
    text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
  };
  if (at_spaces) skip_spaces();
  if (at_spaces && text.empty()) return pieces;
  while (static_cast<int64_t>(pieces.size()) < most_cuts) {
    const size_t end = at_spaces ? text.find_first_of(kSpaces) : text.find(delimiter);
    if (end == std::string_view::npos) break;
    pieces.emplace_back(text.substr(0, end));
    text.remove_prefix(end + (at_spaces ? 1 : delimiter.size()));
    if (!at_spaces) continue;
    skip_spaces();
    if (text.empty()) return pieces;
  }
  if (at_spaces) text = text.substr(0, text.find_last_not_of(kSpaces) + 1);
  pieces.emplace_back(text);
  return pieces;
}

/// The pieces along a new last axis, shorter lists filled with "", and how many there are of each.
Result<Values> run_string_split(const Call& call) {
  CORF_ASSIGN(const Strings* x, call.strings(0));
  const std::string delimiter = call.string_attribute("delimiter", "");
  const int64_t most_cuts = call.int_attribute("maxsplit", INT64_MAX);
  std::vector<std::vector<std::string>> lists;
  std::vector<int64_t> counts;
  int64_t longest = 0;
  for (const std::string& text : x->elems) {
    lists.push_back(split(text, delimiter, most_cuts));
    counts.push_back(static_cast<int64_t>(lists.back().size()));
    longest = std::max(longest, counts.back());
  }
  Strings result;
  result.shape = x->shape;
  result.shape.push_back(longest);
  CORF_RETURN_IF_ERROR(check_count(call, result.shape));
  for (std::vector<std::string>& list : lists) {
    list.resize(longest);
    result.elems.insert(result.elems.end(), std::make_move_iterator(list.begin()),
                        std::make_move_iterator(list.end()));
  }
  return Values{std::move(result), integers(x->shape, counts)};
}

enum class Case : uint8_t { kNone, kLower, kUpper };

/// Of ASCII letters; others stay as they are.
std::string with_case(std::string text, Case wanted) {
  for (char& c : text) {
    if (wanted == Case::kLower && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (wanted == Case::kUpper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

/// Without stop words, in lower or upper case. Of x [words] or [1, words].
Result<Values> run_string_normalizer(const Call& call) {
  CORF_ASSIGN(const Strings* x, call.strings(0));
  const size_t rank = x->shape.size();
  if (rank < 1 || rank > 2 || (rank == 2 && x->shape[0] != 1)) {
    return call.bad_value("words of shape {}, not [words] or [1, words]", to_string(x->shape));
  }
  const std::string action = call.string_attribute("case_change_action", "NONE");
  const Case wanted = action == "LOWER"   ? Case::kLower
                      : action == "UPPER" ? Case::kUpper
                                          : Case::kNone;
  if (wanted == Case::kNone && action != "NONE") {
    return call.invalid("unknown case_change_action '{}'", action);
  }
  const bool is_case_sensitive = call.int_attribute("is_case_sensitive", 0) != 0;
  const auto to_compare = [&](const std::string& word) {
    return is_case_sensitive ? word : with_case(word, Case::kLower);
  };
  std::vector<std::string> stop_words = call.strings_attribute("stopwords");
  for (std::string& word : stop_words) word = to_compare(word);
  Strings result;
  for (const std::string& word : x->elems) {
    const bool is_left_out =
        std::find(stop_words.begin(), stop_words.end(), to_compare(word)) != stop_words.end();
    if (!is_left_out) result.elems.push_back(with_case(word, wanted));
  }
  if (result.elems.empty()) result.elems.emplace_back();
  result.shape = {count_of(result)};
  if (rank == 2) result.shape.insert(result.shape.begin(), 1);
  return Values{std::move(result)};
}

std::string in_words(const Tensor& tensor, int64_t i) {
  if (tensor.dtype() == DType::kBool) return tensor.at_i64(i) != 0 ? "True" : "False";
  if (tensor.dtype() == DType::kU64) return std::to_string(static_cast<uint64_t>(tensor.at_i64(i)));
  if (!is_float(tensor.dtype())) return std::to_string(tensor.at_i64(i));
  const double value = tensor.at_f64(i);
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "INF" : "-INF";
  return tensor.dtype() == DType::kF64 ? fmt::format("{}", value)
                                       : fmt::format("{}", static_cast<float>(value));
}

std::optional<double> parse_number(const std::string& text) {
  std::string_view digits = text;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double value = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (code != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// From and to strings.
Result<Values> run_cast(const Call& call) {
  const int64_t to = call.int_attribute("to", 0);
  if (const Strings* strings = call.input(0).strings()) {
    if (to == onnx_proto::TensorProto::STRING) return Values{call.input(0)};
    const auto dtype = onnx::dtype_from_onnx(static_cast<int>(std::clamp<int64_t>(to, 0, 1000)));
    if (!dtype) return call.invalid("its attribute 'to' is {}, no type that corf has", to);
    Tensor result(*dtype, strings->shape);
    for (int64_t i = 0; i < count_of(*strings); ++i) {
      const std::optional<double> number = parse_number(strings->elems[i]);
      if (!number) return call.bad_value("its input's element {} is no number", i);
      if (is_float(*dtype)) {
        result.set_f64(i, *number);
      } else if (std::abs(*number) < 0x1p63) {
        result.set_i64(i, static_cast<int64_t>(*number));
      } else {
        return call.bad_value("its input's element {} is no {}", i, to_string(*dtype));
      }
    }
    return Values{result};
  }
  if (to != onnx_proto::TensorProto::STRING) {
    CORF_ASSIGN(Value numbers, cast_numbers(call));
    return Values{std::move(numbers)};
  }
  CORF_ASSIGN(const Tensor x, call.tensor(0));
  Strings result{x.shape(), {}};
  for (int64_t i = 0; i < x.num_elems(); ++i) result.elems.push_back(in_words(x, i));
  return Values{std::move(result)};
}

Result<Values> run_constant(const Call& call) {
  if (call.has_attribute("value")) {
    CORF_ASSIGN(Value value, call.value_attribute("value"));
    return Values{std::move(value)};
  }
  if (call.has_attribute("value_string")) {
    return Values{Strings{{}, {call.string_attribute("value_string", "")}}};
  }
  std::vector<std::string> texts = call.strings_attribute("value_strings");
  const Shape shape = {static_cast<int64_t>(texts.size())};
  return Values{Strings{shape, std::move(texts)}};
}

Result<Values> run_shape(const Call& call) {
  const Shape& shape = shape_of(call.input(0));
  const auto rank = static_cast<int64_t>(shape.size());
  const auto bound = [&](std::string_view name, int64_t otherwise) {
    const int64_t value = call.int_attribute(name, otherwise);
    return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank);
  };
  const int64_t begin = bound("start", 0), end = std::max(begin, bound("end", rank));
  return Values{integers({end - begin}, std::span(shape).subspan(begin, end - begin))};
}

Result<Values> run_size(const Call& call) {
  const int64_t count = num_elems(shape_of(call.input(0)));
  return Values{integers({}, std::span(&count, 1))};
}

// ---- LabelEncoder ------------------------------------------------------------------------------

/// Keys or values of a LabelEncoder: a list in one of several attributes, or a tensor.
Result<Value> label_list(const Call& call, const std::string& kind) {
  if (call.has_attribute(kind + "_tensor")) return call.value_attribute(kind + "_tensor");
  if (call.has_attribute(kind + "_strings")) {
    Strings strings{{}, call.strings_attribute(kind + "_strings")};
    strings.shape = {count_of(strings)};
    return Value(std::move(strings));
  }
  if (call.has_attribute(kind + "_int64s")) {
    const auto values = call.ints_attribute(kind + "_int64s");
    return Value(integers({static_cast<int64_t>(values.size())}, values));
  }
  const auto values = call.floats_attribute(kind + "_floats");
  return Value(make_tensor<float>({static_cast<int64_t>(values.size())}, values));
}

/// What stands for keys that are not listed, of the values' kind.
Result<Value> label_default(const Call& call, const Value& values) {
  if (call.has_attribute("default_tensor")) return call.value_attribute("default_tensor");
  if (values.strings() != nullptr) {
    return Value(Strings{{}, {call.string_attribute("default_string", "_Unused")}});
  }
  Tensor value(values.tensor()->dtype(), {});
  if (is_float(value.dtype())) {
    value.set_f64(0, call.float_attribute("default_float", -0.0f));
  } else {
    value.set_i64(0, call.int_attribute("default_int64", -1));
  }
  return Value(value);
}

std::string label_key(const Value& value, int64_t i) {
  if (const Strings* strings = value.strings()) return strings->elems[i];
  const double number = value.tensor()->at_f64(i);
  return std::isnan(number) ? "nan" : fmt::format("{}", number == 0 ? 0.0 : number);
}

/// Each element replaced by the value listed for it.
Result<Values> run_label_encoder(const Call& call) {
  CORF_ASSIGN(const Value keys, label_list(call, "keys"));
  CORF_ASSIGN(const Value values, label_list(call, "values"));
  CORF_ASSIGN(const Value otherwise, label_default(call, values));
  const Value& x = call.input(0);
  const int64_t num_keys = num_elems(shape_of(keys));
  const bool fits =
      (x.strings() != nullptr) == (keys.strings() != nullptr) &&
      (x.strings() != nullptr || x.tensor() != nullptr) &&
      num_elems(shape_of(values)) == num_keys && num_elems(shape_of(otherwise)) == 1 &&
      (values.strings() != nullptr) == (otherwise.strings() != nullptr) &&
      (values.tensor() == nullptr || values.tensor()->dtype() == otherwise.tensor()->dtype());
  if (!fits) {
    return call.invalid("keys ({}), values ({}), default ({}) and input ({}) do not fit",
                        keys.described(), values.described(), otherwise.described(), x.described());
  }
  std::map<std::string, int64_t> positions;
  for (int64_t i = 0; i < num_keys; ++i) positions.emplace(label_key(keys, i), i);
  CORF_ASSIGN(const Value all,
              concatenated({reshaped(values, {num_keys}), reshaped(otherwise, {1})}, 0));
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < num_elems(shape_of(x)); ++i) {
    const auto found = positions.find(label_key(x, i));
    chosen.push_back(found == positions.end() ? num_keys : found->second);
  }
  return Values{reshaped(rows(all, 0, chosen), shape_of(x))};
}

constexpr RoutineEntry kRoutines[] = {
    {"Cast", run_cast},
    {"Constant", run_constant},
    {"Equal", run_equal},
    {"Shape", run_shape},
    {"Size", run_size},
    {"StringConcat", run_string_concat, true},
    {"StringNormalizer", run_string_normalizer, true},
    {"StringSplit", run_string_split, true},
    {"ai.onnx.ml.LabelEncoder", run_label_encoder},
};

}  // namespace

std::span<const RoutineEntry> string_routines() { return kRoutines; }

}  // namespace corf::host
