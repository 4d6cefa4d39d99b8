"""corf's exceptions under the names that programs for ONNX Runtime catch."""

from corf._errors import (Error, InvalidArgument, InvalidModel, IoError, Unsupported)

Fail = EngineError = EPFail = RuntimeException = Error
InvalidGraph = InvalidProtobuf = NoModel = InvalidModel
NoSuchFile = IoError
NotImplemented = Unsupported  # noqa: A001

__all__ = ["EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf",
           "NoModel", "NoSuchFile", "NotImplemented", "RuntimeException"]
