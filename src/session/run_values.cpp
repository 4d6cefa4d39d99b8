#include "session/session.h"
#include "session/tensor_views.h"

namespace corf::session {
namespace {

/// What a value of a declared kind may hold.
bool fits(corf_kind declared, const Value& value) {
  switch (declared) {
    case CORF_TENSOR:
      return value.tensor() != nullptr;
    case CORF_STRINGS:
      return value.strings() != nullptr;
    case CORF_NARROW:
      return value.narrow() != nullptr;
    case CORF_SEQUENCE:
      return value.sequence() != nullptr;
    default:
      return true;
  }
}

}  // namespace

TensorViews::TensorViews(const std::vector<Tensor>& tensors) {
  for (const Tensor& tensor : tensors) {
    views_.push_back({nullptr, to_c(tensor.dtype()), tensor.shape().size(), tensor.shape().data(),
                      const_cast<std::byte*>(tensor.bytes())});
  }
  for (const corf_tensor& view : views_) pointers_.push_back(&view);
}

Result<std::vector<Tensor>> run(CompiledModel& compiled, const Session& session,
                                const std::vector<const corf_tensor*>& inputs) {
  std::vector<Tensor> outputs;
  for (const auto& output : compiled.outputs) {
    outputs.emplace_back(output->dtype(), output->extents());
  }
  const TensorViews views(outputs);
  CORF_RETURN_IF_ERROR(run(compiled, session.taken_by(compiled.values, inputs), views.pointers()));
  return outputs;
}

Status Session::check_values(const std::vector<Value>& values) const {
  if (values.size() != inputs().size()) {
    return make_error(ErrorCode::kInvalidArgument, "the model has {} inputs, and {} are given",
                      inputs().size(), values.size());
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const corf_kind kind =
        description_.input_kinds.empty() ? CORF_TENSOR : description_.input_kinds[i];
    if (!fits(kind, values[i])) {
      return make_error(ErrorCode::kInvalidArgument, "input '{}' was given as {}",
                        inputs()[i]->name(), values[i].described());
    }
    if (kind != CORF_TENSOR) continue;
    const std::vector<Tensor> one = {*values[i].tensor()};
    CORF_RETURN_IF_ERROR(
        check_type_and_shape(*inputs()[i], "input", *TensorViews(one).pointers()[0]));
  }
  return {};
}

Result<std::vector<Value>> Session::run(const std::vector<Value>& values) {
  CORF_RETURN_IF_ERROR(check_values(values));
  std::vector<Tensor> tensors;
  for (const Value& value : values) {
    if (value.tensor() != nullptr) tensors.push_back(*value.tensor());
  }
  if (!runs_in_pieces_ && tensors.size() == values.size()) {
    const TensorViews views(tensors);
    const auto compiled = compile(views.pointers());
    if (compiled.ok()) {
      CORF_ASSIGN(std::vector<Tensor> outputs, session::run(**compiled, *this, views.pointers()));
      return std::vector<Value>(std::make_move_iterator(outputs.begin()),
                                std::make_move_iterator(outputs.end()));
    }
    const ErrorCode code = compiled.error().code;
    const bool may_run_in_pieces =
        code == ErrorCode::kUnsupported || code == ErrorCode::kInvalidModel;
    if (!piece_runner_ || !may_run_in_pieces) return compiled.error();
  }
  if (!piece_runner_) {
    return make_error(ErrorCode::kUnsupported, "a compiled file runs on tensors only");
  }
  auto results = piece_runner_->run(values);
  if (results.ok()) runs_in_pieces_ = true;
  return results;
}

}  // namespace corf::session
