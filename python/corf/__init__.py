"""corf compiles a trained network (.onnx) into machine code for this machine's CPU and runs it.

    import corf
    model = corf.compile("mobilenet.onnx", shapes={"x": (1, 3, 224, 224)})
    y = model(image)

or, in programs that are written for ONNX Runtime,

    import corf as onnxruntime
    session = onnxruntime.InferenceSession("mobilenet.onnx")
    (y,) = session.run(None, {"x": image})
"""

from __future__ import annotations

import sys

from corf import _model
from corf._compiled import CompiledModel, compile  # noqa: A004
from corf._errors import (Cancelled, Code, Error, Internal, InvalidArgument, InvalidModel, IoError,
                          OutOfMemory, OverLimit, Unsupported)
from corf._library import TensorInfo, version
from corf._report import Explanation, Profile
from corf._session import (InferenceSession, ModelMetadata, NodeArg, get_all_providers,
                           get_available_providers, get_device)
from corf._settings import (ExecutionMode, ExecutionOrder, GraphOptimizationLevel, RunOptions,
                            SessionOptions)
from corf._values import IOBinding, OrtValue

__version__ = version()

__all__ = [
    "Cancelled", "Code", "CompiledModel", "Error", "ExecutionMode", "ExecutionOrder", "Explanation",
    "GraphOptimizationLevel", "IOBinding", "InferenceSession", "Internal", "InvalidArgument",
    "InvalidModel", "IoError", "ModelMetadata", "NodeArg", "OrtValue", "OutOfMemory", "OverLimit",
    "Profile", "RunOptions", "SessionOptions", "TensorInfo", "Unsupported", "compile",
    "disable_telemetry_events", "enable_telemetry_events", "get_all_providers",
    "get_available_providers", "get_build_info", "get_device", "get_version_string",
    "replace_onnxruntime", "set_default_logger_severity", "set_default_logger_verbosity",
    "set_seed", "version",
]


def set_seed(seed: int) -> None:
    """Of the random numbers that models draw without a seed of their own, in sessions that are made
    from here on: each run draws the same ones then. 0 to 2^63 - 1."""
    _model.random_seed = seed


# ---- accepted for ONNX Runtime's sake ----

def set_default_logger_severity(severity: int) -> None:
    """Without effect: there is no log to filter."""


def set_default_logger_verbosity(verbosity: int) -> None:
    """Without effect: there is no log to filter."""


def disable_telemetry_events() -> None:
    """Without effect: nothing is ever reported to anybody."""


def enable_telemetry_events() -> None:
    """Without effect: nothing is ever reported to anybody."""


def get_build_info() -> str:
    return f"corf {__version__}"


def get_version_string() -> str:
    return __version__


def replace_onnxruntime() -> None:
    """From here on `import onnxruntime` gives this package, in other packages too."""
    sys.modules["onnxruntime"] = sys.modules[__name__]
