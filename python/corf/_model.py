"""A loaded model and its executables: what InferenceSession and CompiledModel have in common."""

from __future__ import annotations

import collections
import itertools
import os
import threading
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from corf._errors import InvalidArgument, InvalidModel, Unsupported
from corf._library import (OPTIONAL, STRINGS, TENSOR, TYPE_NAMES, Executable, Session, Shapes,
                           TensorInfo)

# Numbers and lists of at most so many integers or truth values may decide shapes or branches, and
# are compiled in where the model cannot be compiled otherwise.
_MOST_CONSTANT_ELEMS = 16

Options = Mapping[str, Any]


def to_source(model: Any) -> str | bytes:
    """A path, or the bytes of a model: of `bytes` itself or of an onnx.ModelProto."""
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    if isinstance(model, (bytes, bytearray, memoryview)):
        return bytes(model)
    if hasattr(model, "SerializeToString"):
        return model.SerializeToString()
    raise TypeError(f"a path, the bytes of a model or an onnx.ModelProto is needed, not {model!r}")


random_seed: int | None = None  # of sessions that name none


def to_options(options: Options) -> dict[str, str | list[str]]:
    """Values as the C interface takes them: 0 and 1 for truth values; constants and limits, which
    are dicts, one by one. Executables are kept for other processes unless an option says
    otherwise."""
    result: dict[str, str | list[str]] = {"executable_cache": "default"}
    if random_seed is not None:
        result["random_seed"] = str(random_seed)
    for key, value in options.items():
        if key == "constants":
            result["constant"] = [f"{name}={_numbers(one)}" for name, one in value.items()]
        elif key == "limits":
            result.update({f"limits.{name}": str(one) for name, one in value.items()})
        elif isinstance(value, bool):
            result[key] = str(int(value))
        else:
            result[key] = value if isinstance(value, list) else os.fspath(value) \
                if isinstance(value, os.PathLike) else str(value)
    return result


def _numbers(values: Any) -> str:
    """For option "constant": a number, or one for each element."""
    array = np.asarray(values)
    if array.dtype == np.bool_:
        array = array.astype(np.int64)
    return ",".join(str(number) for number in array.ravel().tolist())


def to_array(value: Any, info: TensorInfo) -> np.ndarray:
    """As a C-contiguous array of the input's type: the caller's own memory where it is so already.
    Takes arrays, whatever has DLPack, the buffer protocol or an array interface, and lists.

    Strings become an array of objects. Errors: InvalidArgument for another element type.
    """
    if info.kind == STRINGS:
        return np.asarray(value).astype(object)
    if isinstance(value, (list, tuple, int, float)):
        array = np.asarray(value, info.dtype)
    elif isinstance(value, np.ndarray) or not hasattr(value, "__dlpack__"):
        array = np.asarray(value)
    else:
        array = np.from_dlpack(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype != info.dtype:
        raise InvalidArgument(f"input '{info.name}' has elements of type {array.dtype}, but the "
                              f"model takes {info.dtype}")
    return np.require(array, None, ["C", "A"])


def to_value(value: Any, info: TensorInfo) -> Any:
    """As Session.run_values takes it: of a sequence or optional its tensors as they are."""
    if info.kind in (TENSOR, STRINGS):
        return to_array(value, info)
    if isinstance(value, (list, tuple)):
        return [to_value(item, info) for item in value]
    if value is None:
        return None
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind == "U" else np.require(array, None, ["C", "A"])


def combinations(shapes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Of extents of which each may be several, all sets with one of each. A tuple is the shape of
    an input; a range or a list are several extents."""
    def is_one(extent: Any) -> bool:
        return isinstance(extent, (int, np.integer))

    choices = []
    for name, value in shapes.items():
        if is_one(value):
            choices.append([(name, int(value))])
        elif isinstance(value, tuple):
            extents = [[int(one)] if is_one(one) else [int(e) for e in one] for one in value]
            choices.append([(name, list(shape)) for shape in itertools.product(*extents)])
        else:
            choices.append([(name, int(one)) for one in value])
    for chosen in itertools.product(*choices):
        yield dict(chosen)


class LoadedModel:
    """`source`: as to_source gives it. Executables are kept for the last shapes, as many as option
    "cache_size" says. May be used from several threads at once."""

    def __init__(self, source: str | bytes, options: dict[str, str | list[str]]) -> None:
        self.source, self.options = source, options
        self.session = Session(source, options)
        self.inputs, self.outputs = self.session.inputs(), self.session.outputs()
        self.names = [info.name for info in self.inputs]
        self.most = int(str(options.get("cache_size", 8)))
        self._executables: collections.OrderedDict[Any, Executable] = collections.OrderedDict()
        # Sessions of the same model with inputs compiled in, by the options that say so.
        self._specialised: collections.OrderedDict[tuple, Session] = collections.OrderedDict()
        self._needs_constants = False
        self._lock = threading.Lock()

    def are_all_tensors(self) -> bool:
        return all(info.kind == TENSOR for info in [*self.inputs, *self.outputs])

    def arrays(self, feed: Mapping[str, Any]) -> list[Any]:
        """The inputs in the model's order; what is no tensor as to_value gives it.

        Errors: InvalidArgument naming inputs that are missing or that the model does not have.
        """
        missing = [info.name for info in self.inputs
                   if feed.get(info.name) is None
                   and (info.kind != OPTIONAL or info.name not in feed)]
        if missing:
            raise InvalidArgument(f"inputs {missing} are missing; there are {list(feed)}")
        unknown = [name for name in feed if name not in self.names]
        if unknown:
            raise InvalidArgument(f"the model has no inputs {unknown}; it has {self.names}")
        return [to_value(feed[info.name], info) for info in self.inputs]

    def executable(self, arrays: Sequence[np.ndarray]) -> Executable:
        """The one for inputs like these; compiles it where there is none."""
        shapes = tuple(array.shape for array in arrays)
        with self._lock:
            constants = self._constants(arrays) if self._needs_constants else ()
            key = (shapes, tuple(values for *_, values in constants))
            executable = self._executables.get(key)
            if executable is None:
                executable, key = self._compile(arrays, shapes, constants)
                self._executables[key] = executable
                while len(self._executables) > self.most:
                    self._executables.popitem(last=False)
            self._executables.move_to_end(key)
            return executable

    def run_in_pieces(self, values: Sequence[Any]) -> list[Any]:
        """The outputs of a model that cannot be compiled as a whole: its shapes depend on data, or
        its values are not all tensors."""
        return self.session.run_values(values)

    def _compile(self, arrays: Sequence[np.ndarray], shapes: tuple,
                 constants: tuple) -> tuple[Executable, tuple]:
        by_name = dict(zip(self.names, shapes))
        if not constants:
            try:
                return self.session.compile(by_name), (shapes, ())
            except (InvalidModel, Unsupported):
                # Of branches that do not count, one may even be wrong for these shapes.
                constants = self._constants(arrays)
                if not constants:
                    raise
        executable = self._session(arrays, constants).compile(
            {name: shape for name, shape in by_name.items()
             if name not in [constant[0] for constant in constants]}, constants)
        self._needs_constants = True
        return executable, (shapes, tuple(values for *_, values in constants))

    def _constants(self, arrays: Sequence[np.ndarray]) -> tuple:
        """The inputs that may decide shapes or branches, as Executable takes them."""
        return tuple((info.name, TYPE_NAMES.index(info.type_name), array.shape, array.tobytes())
                     for info, array in zip(self.inputs, arrays)
                     if array.dtype.kind in "biu" and array.ndim <= 1
                     and 0 < array.size <= _MOST_CONSTANT_ELEMS)

    def _session(self, arrays: Sequence[np.ndarray], constants: tuple) -> Session:
        names = [constant[0] for constant in constants]
        texts = tuple(f"{info.name}={_numbers(array)}" for info, array in zip(self.inputs, arrays)
                      if info.name in names)
        if texts not in self._specialised:
            given = self.options.get("constant", [])
            options = {**self.options,
                       "constant": [*([given] if isinstance(given, str) else given), *texts]}
            self._specialised[texts] = Session(self.source, options)
            while len(self._specialised) > self.most:
                self._specialised.popitem(last=False)
        return self._specialised[texts]

    def __reduce__(self) -> tuple:
        return LoadedModel, (self.source, self.options)
