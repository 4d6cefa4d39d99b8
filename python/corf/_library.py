"""The C interface (corf/corf.h) by ctypes: all of it but the runs, which go through _corf.

tests/python/library_test.py compares the declarations with the header.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int64, c_size_t, c_void_p
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from corf import _corf
from corf._errors import InvalidArgument, make_error

Shapes = Mapping[str, "int | Sequence[int]"]


class corf_tensor_info(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_int), ("rank", c_size_t),
                ("extents", POINTER(c_int64)), ("symbols", POINTER(c_char_p)),
                ("has_shape", c_int)]


class corf_shape(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("rank", c_size_t), ("extents", POINTER(c_int64))]


class corf_tensor(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_int), ("rank", c_size_t),
                ("extents", POINTER(c_int64)), ("data", c_void_p)]


class corf_tuning(ctypes.Structure):
    _fields_ = [("num_measured", c_size_t), ("out_of_time", c_int), ("num_known", c_size_t)]


class corf_tuning_progress(ctypes.Structure):
    _fields_ = [("share", c_double), ("group", c_char_p), ("num_measured", c_size_t),
                ("num_known", c_size_t)]


class corf_explained_link(ctypes.Structure):
    _fields_ = [("producer", c_char_p), ("consumer", c_char_p), ("mapping", c_char_p),
                ("strategy", c_char_p), ("why", c_char_p)]


class corf_explained_group(ctypes.Structure):
    _fields_ = [("num_nodes", c_size_t), ("nodes", POINTER(c_char_p)), ("predicted_ms", c_double),
                ("num_steps", c_size_t), ("num_links", c_size_t)]


class corf_executable_info(ctypes.Structure):
    _fields_ = [("plan_hash", c_char_p), ("isa", c_char_p), ("threads", c_int64),
                ("compile_ms", c_double), ("work_flops", c_int64), ("executed_flops", c_int64),
                ("compulsory_bytes", c_int64), ("arena_bytes", c_int64),
                ("constant_bytes", c_int64), ("code_bytes", c_int64)]


class corf_step_profile(ctypes.Structure):
    _fields_ = [("label", c_char_p), ("start_ms", c_double), ("time_ms", c_double),
                ("work_flops", c_int64), ("executed_flops", c_int64),
                ("compulsory_bytes", c_int64), ("limit_ms", c_double)]


PROGRESS = ctypes.CFUNCTYPE(None, POINTER(corf_tuning_progress), c_void_p)
_OBJECT_OUT, _TEXT_OUT = POINTER(c_void_p), POINTER(c_void_p)
_SHAPES = (POINTER(corf_shape), c_size_t)
_TENSORS = (POINTER(corf_tensor), c_size_t)

# Functions that return a corf_error, and their parameters.
FALLIBLE = {
    "corf_options_create": (_OBJECT_OUT,),
    "corf_options_set": (c_void_p, c_char_p, c_char_p),
    "corf_session_load": (c_char_p, c_void_p, _OBJECT_OUT),
    "corf_session_load_bytes": (c_char_p, c_size_t, c_char_p, c_void_p, _OBJECT_OUT),
    "corf_session_input": (c_void_p, c_size_t, POINTER(corf_tensor_info)),
    "corf_session_output": (c_void_p, c_size_t, POINTER(corf_tensor_info)),
    "corf_session_metadata_at": (c_void_p, c_size_t, POINTER(c_char_p), POINTER(c_char_p)),
    "corf_session_operator_at": (c_void_p, c_size_t, POINTER(c_char_p), POINTER(c_int64)),
    "corf_session_compile": (c_void_p, *_SHAPES, _OBJECT_OUT),
    "corf_session_refused_operators": (c_void_p, _TEXT_OUT),
    "corf_session_run_values": (c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_void_p), c_size_t),
    "corf_value_of_tensor": (POINTER(corf_tensor), _OBJECT_OUT),
    "corf_value_create": (_OBJECT_OUT,),
    "corf_value_of_strings": (c_size_t, POINTER(c_int64), POINTER(c_char_p), POINTER(c_size_t),
                              c_size_t, _OBJECT_OUT),
    "corf_value_of_sequence": (POINTER(c_void_p), c_size_t, _OBJECT_OUT),
    "corf_value_tensor": (c_void_p, POINTER(corf_tensor)),
    "corf_value_item": (c_void_p, c_size_t, _OBJECT_OUT),
    "corf_value_string": (c_void_p, c_size_t, POINTER(c_char_p), POINTER(c_size_t)),
    "corf_session_inspect": (c_void_p, c_char_p, *_SHAPES, _TEXT_OUT),
    "corf_session_tune": (c_void_p, *_SHAPES, c_double, PROGRESS, c_void_p, POINTER(corf_tuning),
                          c_size_t),
    "corf_session_explain": (c_void_p, *_SHAPES, _OBJECT_OUT),
    "corf_explanation_group": (c_void_p, c_size_t, POINTER(corf_explained_group), c_size_t),
    "corf_explanation_link": (c_void_p, c_size_t, c_size_t, POINTER(corf_explained_link),
                              c_size_t),
    "corf_executable_input": (c_void_p, c_size_t, POINTER(corf_tensor_info)),
    "corf_executable_output": (c_void_p, c_size_t, POINTER(corf_tensor_info)),
    "corf_executable_write": (c_void_p, c_char_p),
    "corf_executable_describe": (c_void_p, POINTER(corf_executable_info), c_size_t),
    "corf_executable_limit_ms": (c_void_p, POINTER(c_double)),
    "corf_executable_run_profiled": (c_void_p, *_TENSORS, *_TENSORS, _OBJECT_OUT),
    "corf_profile_step": (c_void_p, c_size_t, POINTER(corf_step_profile), c_size_t),
}
# The others: result, parameters.
ANSWERING = {
    "corf_version": (c_char_p, ()),
    "corf_error_code": (c_int, (c_void_p,)),
    "corf_error_message": (c_char_p, (c_void_p,)),
    "corf_error_free": (None, (c_void_p,)),
    "corf_string_free": (None, (c_void_p,)),
    "corf_options_free": (None, (c_void_p,)),
    "corf_session_free": (None, (c_void_p,)),
    "corf_session_num_inputs": (c_size_t, (c_void_p,)),
    "corf_session_num_outputs": (c_size_t, (c_void_p,)),
    "corf_session_num_metadata": (c_size_t, (c_void_p,)),
    "corf_session_opset": (c_int64, (c_void_p,)),
    "corf_session_num_operators": (c_size_t, (c_void_p,)),
    "corf_session_threads": (c_int, (c_void_p,)),
    "corf_explanation_free": (None, (c_void_p,)),
    "corf_explanation_num_groups": (c_size_t, (c_void_p,)),
    "corf_value_free": (None, (c_void_p,)),
    "corf_session_input_kind": (c_int, (c_void_p, c_size_t)),
    "corf_session_output_kind": (c_int, (c_void_p, c_size_t)),
    "corf_value_kind": (c_int, (c_void_p,)),
    "corf_value_num_items": (c_size_t, (c_void_p,)),
    "corf_executable_num_inputs": (c_size_t, (c_void_p,)),
    "corf_executable_num_outputs": (c_size_t, (c_void_p,)),
    "corf_profile_free": (None, (c_void_p,)),
    "corf_profile_num_steps": (c_size_t, (c_void_p,)),
}


def _declare() -> ctypes.CDLL:
    library = ctypes.CDLL(_corf.library_path)
    for name, parameters in FALLIBLE.items():
        function = getattr(library, name)
        function.restype, function.argtypes = c_void_p, parameters
    for name, (result, parameters) in ANSWERING.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, parameters
    return library


LIBRARY = _declare()


def version() -> str:
    return LIBRARY.corf_version().decode()


def call(name: str, *arguments: Any) -> None:
    """Raises what the function returns, if it is an error."""
    error = getattr(LIBRARY, name)(*arguments)
    if error:
        exception = make_error(LIBRARY.corf_error_code(error),
                               LIBRARY.corf_error_message(error).decode("utf-8", "replace"))
        LIBRARY.corf_error_free(error)
        raise exception


def encode(text: str | os.PathLike[str]) -> bytes:
    """Names and paths as the C interface takes them."""
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise InvalidArgument(f"a zero byte in {text!r}")
    return encoded


def encode_text(text: Any) -> bytes:
    """An element of a tensor of strings."""
    return text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")


def decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


# ---- element types ----

def _bfloat16() -> np.dtype:
    """NumPy has none: that of ml_dtypes where it is installed, else the numbers' bits."""
    try:
        import ml_dtypes
    except ImportError:
        return np.dtype(np.uint16)
    return np.dtype(ml_dtypes.bfloat16)


# By corf_dtype: what ONNX calls the type, and NumPy's.
TYPE_NAMES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
              "float16", "bfloat16", "float", "double")
NUMPY_TYPES = (*(np.dtype(name) for name in TYPE_NAMES[:10]), _bfloat16(), np.dtype(np.float32),
               np.dtype(np.float64))


TENSOR, STRINGS, SEQUENCE, OPTIONAL = 1, 2, 3, 4  # corf_kind


class TensorInfo(NamedTuple):
    """What a model or executable declares of an input or output."""

    name: str
    dtype: np.dtype
    type_name: str  # "float"
    shape: tuple[int | str | None, ...]  # a symbol's name, None: one without name
    has_shape: bool  # False: not even the rank is declared
    kind: int = TENSOR  # corf_kind

    def empty(self) -> np.ndarray:
        """A new array for it; all of its extents must be numbers."""
        extents = [extent for extent in self.shape if isinstance(extent, int)]
        assert len(extents) == len(self.shape)
        return np.empty(extents, self.dtype)


def _info(raw: corf_tensor_info) -> TensorInfo:
    shape: list[int | str | None] = []
    for i in range(raw.rank):
        symbol = decode(raw.symbols[i])
        shape.append(raw.extents[i] if raw.extents[i] >= 0 else None if symbol == "?" else symbol)
    return TensorInfo(decode(raw.name), NUMPY_TYPES[raw.dtype], TYPE_NAMES[raw.dtype],
                      tuple(shape), bool(raw.has_shape))


def _infos(owner: str, address: Any, kind: str) -> list[TensorInfo]:
    """Of a "session" or an "executable": its tensors of the kind "input" or "output"."""
    raw, result = corf_tensor_info(), []
    for i in range(getattr(LIBRARY, f"corf_{owner}_num_{kind}s")(address)):
        call(f"corf_{owner}_{kind}", address, i, byref(raw))
        info = _info(raw)
        if owner == "session":
            info = info._replace(kind=getattr(LIBRARY, f"corf_session_{kind}_kind")(address, i))
        result.append(info if info.kind != STRINGS else info._replace(type_name="string"))
    return result


def to_shapes(shapes: Shapes | None) -> tuple[Any, int]:
    """As `const corf_shape*` and their number."""
    items = list((shapes or {}).items())
    list_ = (corf_shape * len(items))()
    for entry, (name, extents) in zip(list_, items):
        values = (extents,) if isinstance(extents, int) else tuple(extents)
        entry.name, entry.rank = encode(name), len(values)
        entry.extents = (c_int64 * len(values))(*values)
    return list_, len(items)


def to_tensors(infos: Sequence[TensorInfo], arrays: Sequence[np.ndarray]) -> tuple[Any, int]:
    """As `const corf_tensor*`, each at its position; the arrays must outlive it."""
    list_ = (corf_tensor * len(arrays))()
    for entry, info, array in zip(list_, infos, arrays):
        entry.dtype, entry.rank = TYPE_NAMES.index(info.type_name), array.ndim
        entry.extents = (c_int64 * array.ndim)(*array.shape)
        entry.data = array.ctypes.data
    return list_, len(arrays)


def _to_value(given: Any) -> c_void_p:
    """A corf_value, which the caller frees, of what _to_python gives."""
    value = c_void_p()
    if given is None:
        call("corf_value_create", byref(value))
    elif isinstance(given, list):
        items = [_to_value(item) for item in given]
        try:
            list_ = (c_void_p * len(items))(*(item.value for item in items))
            call("corf_value_of_sequence", list_, len(items), byref(value))
        finally:
            for item in items:
                LIBRARY.corf_value_free(item)
    elif given.dtype == object:
        texts = [encode_text(text) for text in given.ravel()]
        extents = (c_int64 * given.ndim)(*given.shape)
        call("corf_value_of_strings", given.ndim, extents, (c_char_p * len(texts))(*texts),
             (c_size_t * len(texts))(*map(len, texts)), len(texts), byref(value))
    else:
        tensor = corf_tensor()
        tensor.dtype, tensor.rank = NUMPY_TYPES.index(given.dtype), given.ndim
        tensor.extents = (c_int64 * given.ndim)(*given.shape)
        tensor.data = given.ctypes.data
        call("corf_value_of_tensor", byref(tensor), byref(value))
    return value


def _to_python(value: int | None) -> Any:
    """An array, a list of what a sequence holds, or None; strings as an array of objects."""
    kind, raw = LIBRARY.corf_value_kind(value), corf_tensor()
    if kind == SEQUENCE:
        items = []
        for i in range(LIBRARY.corf_value_num_items(value)):
            item = c_void_p()
            call("corf_value_item", value, i, byref(item))
            items.append(_to_python(item.value))
            LIBRARY.corf_value_free(item)
        return items
    if kind not in (TENSOR, STRINGS):
        return None
    call("corf_value_tensor", value, byref(raw))
    shape = [raw.extents[i] for i in range(raw.rank)]
    if kind == TENSOR:
        array = np.empty(shape, NUMPY_TYPES[raw.dtype])
        ctypes.memmove(array.ctypes.data, raw.data, array.nbytes)
        return array
    text, size, texts = c_char_p(), c_size_t(), []
    for i in range(LIBRARY.corf_value_num_items(value)):
        call("corf_value_string", value, i, byref(text), byref(size))
        texts.append(decode(ctypes.string_at(text, size.value)))
    array = np.empty(len(texts), object)
    array[:] = texts
    return array.reshape(shape)


class Session:
    """A corf_session. `model`: a path, or a model's bytes (external data in `directory`)."""

    def __init__(self, model: str | bytes, options: Mapping[str, str | Sequence[str]],
                 directory: str = "") -> None:
        self._address: int | None = None
        settings, session = c_void_p(), c_void_p()
        call("corf_options_create", byref(settings))
        try:
            for key, value in options.items():
                for one in [value] if isinstance(value, str) else value:
                    call("corf_options_set", settings, encode(key), encode(one))
            if isinstance(model, bytes):
                call("corf_session_load_bytes", model, len(model), encode(directory), settings,
                     byref(session))
            else:
                call("corf_session_load", encode(model), settings, byref(session))
        finally:
            LIBRARY.corf_options_free(settings)
        self._address = session.value

    def __del__(self, free: Any = LIBRARY.corf_session_free) -> None:
        if self._address is not None:
            free(self._address)

    def inputs(self) -> list[TensorInfo]:
        return _infos("session", self._address, "input")

    def outputs(self) -> list[TensorInfo]:
        return _infos("session", self._address, "output")

    def metadata(self) -> dict[str, str]:
        key, value, result = c_char_p(), c_char_p(), {}
        for i in range(LIBRARY.corf_session_num_metadata(self._address)):
            call("corf_session_metadata_at", self._address, i, byref(key), byref(value))
            result[decode(key.value or b"")] = decode(value.value or b"")
        return result

    def operators(self) -> dict[str, int]:
        name, count, result = c_char_p(), c_int64(), {}
        for i in range(LIBRARY.corf_session_num_operators(self._address)):
            call("corf_session_operator_at", self._address, i, byref(name), byref(count))
            result[decode(name.value or b"")] = count.value
        return result

    def opset(self) -> int:
        return LIBRARY.corf_session_opset(self._address)

    def threads(self) -> int:
        return LIBRARY.corf_session_threads(self._address)

    def compile(self, shapes: Shapes | None, constants: Sequence[tuple] = ()) -> Executable:
        address = c_void_p()
        call("corf_session_compile", self._address, *to_shapes(shapes), byref(address))
        return Executable(address.value or 0, constants)

    def run_values(self, given: Sequence[Any]) -> list[Any]:
        """The outputs of a run piece by piece. Values: arrays, of objects for strings; lists for
        sequences; None for nothing."""
        outputs = (c_void_p * LIBRARY.corf_session_num_outputs(self._address))()
        inputs = (c_void_p * len(given))()
        try:
            for i, value in enumerate(given):
                inputs[i] = _to_value(value).value
            call("corf_session_run_values", self._address, inputs, len(inputs), outputs,
                 len(outputs))
            return [_to_python(output) for output in outputs]
        finally:
            for one in [*inputs, *outputs]:
                LIBRARY.corf_value_free(one)

    def refused_operators(self) -> str:
        """Those that no shapes and no values would make it run, one on each line."""
        text = c_void_p()
        call("corf_session_refused_operators", self._address, byref(text))
        try:
            return decode(ctypes.string_at(text.value or 0))
        finally:
            LIBRARY.corf_string_free(text)

    def inspect(self, stage: str, shapes: Shapes | None) -> str:
        text = c_void_p()
        call("corf_session_inspect", self._address, encode(stage), *to_shapes(shapes), byref(text))
        try:
            return decode(ctypes.string_at(text.value or 0))
        finally:
            LIBRARY.corf_string_free(text)

    def tune(self, shapes: Shapes | None, time_limit_s: float, progress: Any) -> dict[str, Any]:
        tuning = corf_tuning()
        told = PROGRESS(lambda now, _: progress(now[0].share)) if progress else PROGRESS()
        call("corf_session_tune", self._address, *to_shapes(shapes), time_limit_s, told, None,
             byref(tuning), ctypes.sizeof(tuning))
        return {"num_measured": tuning.num_measured, "num_known": tuning.num_known,
                "out_of_time": bool(tuning.out_of_time)}

    def explain(self, shapes: Shapes | None) -> list[dict[str, Any]]:
        """The groups, as Explanation has them."""
        explanation = c_void_p()
        call("corf_session_explain", self._address, *to_shapes(shapes), byref(explanation))
        try:
            return [_group(explanation, i)
                    for i in range(LIBRARY.corf_explanation_num_groups(explanation))]
        finally:
            LIBRARY.corf_explanation_free(explanation)


def _group(explanation: c_void_p, position: int) -> dict[str, Any]:
    group, link, links = corf_explained_group(), corf_explained_link(), []
    call("corf_explanation_group", explanation, position, byref(group), ctypes.sizeof(group))
    for k in range(group.num_links):
        call("corf_explanation_link", explanation, position, k, byref(link), ctypes.sizeof(link))
        links.append({name: decode(getattr(link, name)) for name, *_ in link._fields_})
    return {"nodes": [decode(group.nodes[k]) for k in range(group.num_nodes)],
            "predicted_ms": group.predicted_ms, "num_steps": group.num_steps, "links": links}


class Executable:
    """A corf_executable, which it owns. `constants`: inputs of the model that are compiled in, as
    (name, number of the dtype, shape, bytes); runs with other values are not its own."""

    def __init__(self, address: int, constants: Sequence[tuple] = ()) -> None:
        self.runner = _corf.Runner(address, NUMPY_TYPES, np.empty, make_error, tuple(constants))
        self.run, self.run_into = self.runner.run, self.runner.run_into

    def inputs(self) -> list[TensorInfo]:
        return _infos("executable", self.runner.address, "input")

    def outputs(self) -> list[TensorInfo]:
        return _infos("executable", self.runner.address, "output")

    def write(self, path: str | os.PathLike[str]) -> None:
        call("corf_executable_write", self.runner.address, encode(path))

    def describe(self) -> dict[str, Any]:
        info = corf_executable_info()
        call("corf_executable_describe", self.runner.address, byref(info), ctypes.sizeof(info))
        result = {name: getattr(info, name) for name, *_ in info._fields_}
        return {name: decode(value) if isinstance(value, bytes) else value
                for name, value in result.items()}

    def limit_ms(self) -> float:
        limit = c_double()
        call("corf_executable_limit_ms", self.runner.address, byref(limit))
        return limit.value

    def profile(self, inputs: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """The steps of a run, as Profile has them. `inputs`: C-contiguous, in order."""
        infos = self.outputs()
        outputs = [info.empty() for info in infos]
        profile, step, steps = c_void_p(), corf_step_profile(), []
        call("corf_executable_run_profiled", self.runner.address,
             *to_tensors(self.inputs(), inputs), *to_tensors(infos, outputs), byref(profile))
        try:
            for i in range(LIBRARY.corf_profile_num_steps(profile)):
                call("corf_profile_step", profile, i, byref(step), ctypes.sizeof(step))
                values = {name: getattr(step, name) for name, *_ in step._fields_}
                steps.append({**values, "label": decode(values["label"])})
            return steps
        finally:
            LIBRARY.corf_profile_free(profile)
