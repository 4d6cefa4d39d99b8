#include "api/lazy_model.h"

#include <mutex>

namespace corf::api {

Result<std::shared_ptr<const onnx::Model>> LazyModel::get() {
  const std::scoped_lock lock(mutex_);
  if (model_ != nullptr) return model_;
  CORF_ASSIGN(auto model, onnx::load_model(*file_, path_, constants_, limits_));
  if (!file_->is_still_unchanged()) {
    return make_error(ErrorCode::kIo,
                      "'{}' was written to after a session had opened it; open it again", path_);
  }
  file_.reset();
  model_ = std::move(model);
  return model_;
}

}  // namespace corf::api
