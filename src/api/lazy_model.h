#pragma once
#include <memory>
#include <optional>
#include <string>

#include "onnx/import.h"
#include "support/at_fork.h"
#include "support/read_file.h"

namespace corf::api {

/// A model that is read when somebody first needs it: what executables of earlier processes are
/// found for is never read. Threads may share it.
class LazyModel {
 public:
  explicit LazyModel(std::shared_ptr<const onnx::Model> model) : model_(std::move(model)) {}
  /// Of a file that stays open until then, so that its name may go meanwhile.
  LazyModel(InputFile file, std::string path, onnx::InputConstants constants, Limits limits)
      : file_(std::move(file)),
        path_(std::move(path)),
        constants_(std::move(constants)),
        limits_(limits) {}

  /// Errors: those of onnx::load_model; kIo if somebody has written to the file meanwhile.
  Result<std::shared_ptr<const onnx::Model>> get();

 private:
  LongMutex mutex_;
  std::shared_ptr<const onnx::Model> model_;  // under mutex_
  std::optional<InputFile> file_;             // under mutex_
  std::string path_;
  onnx::InputConstants constants_;
  Limits limits_;
};

}  // namespace corf::api
