"""The exceptions of corf, one for each code of the C interface."""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """corf_code of the C interface."""

    INVALID_MODEL = 1
    UNSUPPORTED = 2
    INVALID_ARGUMENT = 3
    IO = 4
    OUT_OF_MEMORY = 5
    INTERNAL = 6
    OVER_LIMIT = 7
    CANCELLED = 8


class Error(RuntimeError):
    """What all exceptions of corf derive from."""

    code: Code = Code.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)


class InvalidModel(Error, ValueError):
    """Not a model that the ONNX specification allows."""

    code = Code.INVALID_MODEL


class Unsupported(Error, NotImplementedError):
    """A valid model that corf cannot compile; the message names every node that is in the way."""

    code = Code.UNSUPPORTED


class InvalidArgument(Error, ValueError):
    """A wrong name, shape, element type or option."""

    code = Code.INVALID_ARGUMENT


class IoError(Error):
    """A file cannot be read or written."""

    code = Code.IO


class OutOfMemory(Error, MemoryError):
    code = Code.OUT_OF_MEMORY


class Internal(Error):
    """A fault of corf's own."""

    code = Code.INTERNAL


class OverLimit(Error):
    """More work, memory or nodes than the options "limits.*" allow."""

    code = Code.OVER_LIMIT


class Cancelled(Error):
    code = Code.CANCELLED


_CLASSES: dict[int, type[Error]] = {
    kind.code: kind for kind in (InvalidModel, Unsupported, InvalidArgument, IoError, OutOfMemory,
                                 Internal, OverLimit, Cancelled)}


def make_error(code: int, message: str) -> Error:
    """The exception of a corf_code; of one that a later library has, an Error."""
    kind = _CLASSES.get(code)
    return kind(message) if kind is not None else Error(message)
