#include "api/model_facts.h"

#include <ctime>

#include "driver/executable_cache.h"
#include "runtime/byte_stream.h"

namespace corf::api {
namespace {

struct SavedTensor {
  std::string name, other_kind;
  DType dtype = DType::kF32;
  bool has_shape = false;
  Shape extents;
  std::vector<std::string> symbols;
};

struct SavedCount {
  std::string name;
  int64_t count = 0;
};

struct SavedFacts {
  std::string identity;
  std::vector<SavedTensor> inputs, outputs;
  std::vector<corf_kind> input_kinds, output_kinds;
  std::map<std::string, std::string> metadata;
  int64_t opset = 0;
  std::vector<SavedCount> operators;
};

template <typename T, typename U>
concept MaybeConst = std::same_as<std::remove_const_t<T>, U>;

auto fields(MaybeConst<SavedTensor> auto& v) {
  return std::tie(v.name, v.other_kind, v.dtype, v.has_shape, v.extents, v.symbols);
}
auto fields(MaybeConst<SavedCount> auto& v) { return std::tie(v.name, v.count); }
auto fields(MaybeConst<SavedFacts> auto& v) {
  return std::tie(v.identity, v.inputs, v.outputs, v.input_kinds, v.output_kinds, v.metadata,
                  v.opset, v.operators);
}

std::vector<SavedTensor> saved(const session::DeclaredTensors& tensors) {
  std::vector<SavedTensor> result;
  for (const auto& tensor : tensors) {
    result.push_back({tensor->name(), tensor->other_kind(), tensor->dtype(), tensor->has_shape(),
                      tensor->extents(), tensor->symbols()});
  }
  return result;
}

session::DeclaredTensors declared(const std::vector<SavedTensor>& tensors) {
  session::DeclaredTensors result;
  for (const SavedTensor& tensor : tensors) {
    std::optional<session::DeclaredShape> shape;
    if (tensor.has_shape) shape = session::DeclaredShape{tensor.extents, tensor.symbols};
    result.push_back(
        std::make_unique<session::DeclaredTensor>(tensor.name, tensor.dtype, std::move(shape)));
    result.back()->set_other_kind(tensor.other_kind);
  }
  return result;
}

std::string checksum_of(std::string_view bytes) { return driver::name_for({std::string(bytes)}); }

}  // namespace

std::optional<std::string> facts_key(const InputFile& model, const session::Options& options) {
  constexpr int64_t kCoarsestTimesNs = 2'000'000'000;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const int64_t now_ns = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  if (now_ns - model.last_change_ns() < kCoarsestTimesNs) return std::nullopt;
  std::vector<std::string> words = {driver::build_id(), model.state_in_words(),
                                    driver::in_words(options.limits)};
  for (const auto& [name, values] : options.constants) {
    words.push_back(name);
    words.push_back(values);
  }
  return driver::name_for(words);
}

std::string to_bytes(const ModelFacts& facts) {
  const session::Description& from = facts.description;
  SavedFacts saved_facts{
      facts.identity,    saved(from.inputs), saved(from.outputs), from.input_kinds,
      from.output_kinds, from.metadata,      from.opset,          {}};
  for (const auto& [name, count] : from.operators) saved_facts.operators.push_back({name, count});
  runtime::ByteWriter writer;
  writer.write(saved_facts);
  const std::vector<std::byte> bytes = writer.take();
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return checksum_of(text) + text;
}

std::optional<ModelFacts> facts_from(std::string_view bytes) {
  const size_t digits = checksum_of("").size();
  if (bytes.size() < digits) return std::nullopt;
  const std::string_view content = bytes.substr(digits);
  if (checksum_of(content) != bytes.substr(0, digits)) return std::nullopt;
  SavedFacts from;
  runtime::ByteReader reader(std::as_bytes(std::span(content)));
  reader.read(from);
  if (!reader.ok() || !reader.at_end()) return std::nullopt;
  ModelFacts facts;
  facts.identity = std::move(from.identity);
  facts.description.inputs = declared(from.inputs);
  facts.description.outputs = declared(from.outputs);
  facts.description.input_kinds = std::move(from.input_kinds);
  facts.description.output_kinds = std::move(from.output_kinds);
  facts.description.metadata = std::move(from.metadata);
  facts.description.opset = from.opset;
  for (const SavedCount& counted : from.operators) {
    facts.description.operators.emplace_back(counted.name, counted.count);
  }
  return facts;
}

}  // namespace corf::api
