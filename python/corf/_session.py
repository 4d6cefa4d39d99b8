"""InferenceSession with ONNX Runtime's signatures, so that a program changes one import."""

from __future__ import annotations

import concurrent.futures
import warnings
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from corf import _report
from corf._errors import InvalidArgument, InvalidModel, Unsupported
from corf._library import Executable, Shapes, TensorInfo
from corf._model import LoadedModel, combinations, to_options, to_source
from corf._model_notes import read_notes
from corf._settings import RunOptions, SessionOptions
from corf._values import IOBinding, OrtValue

PROVIDERS = ["CPUExecutionProvider"]


class NodeArg(NamedTuple):
    """An input or output: shape with a symbol's name, or None, where an extent is open; type as
    "tensor(float)"."""

    name: str
    shape: list[int | str | None]
    type: str


class ModelMetadata:
    """What the model says of itself."""

    def __init__(self, source: str | bytes, metadata: dict[str, str]) -> None:
        notes = read_notes(source)
        self.producer_name = str(notes["producer_name"])
        self.graph_name = str(notes["graph_name"])
        self.domain = str(notes["domain"])
        self.description = str(notes["description"])
        self.graph_description = str(notes["graph_description"])
        self.version = int(notes["version"])
        self.custom_metadata_map = metadata


def _check_providers(providers: Sequence[Any] | None) -> None:
    for provider in providers or ():
        name = provider if isinstance(provider, str) else provider[0]
        if name not in PROVIDERS:
            warnings.warn(f"there is no provider {name}; the model runs on the CPU", stacklevel=3)


class InferenceSession:
    """A model that compiles for the shapes that it is run with, and keeps the executables of the
    last eight (session option "corf.cache_size"). One whose shapes are fixed is compiled at once.
    What is compiled is kept on disk, where the next process finds it (session option
    "corf.executable_cache"; "" switches that off).

    path_or_bytes    a path (.onnx, or what corf.compile wrote), the bytes of a model, or an
                     onnx.ModelProto
    sess_options     see SessionOptions
    providers        "CPUExecutionProvider" is the only one; others give a warning

    May be run from several threads at once; the interpreter's lock is released meanwhile. Pickles
    as the model's path or bytes with its options.

    Errors: those of corf.Error.
    """

    def __init__(self, path_or_bytes: Any, sess_options: SessionOptions | None = None,
                 providers: Sequence[Any] | None = None,
                 provider_options: Sequence[Mapping[str, Any]] | None = None,
                 **kwargs: Any) -> None:
        _check_providers(providers)
        self._options = sess_options if sess_options is not None else SessionOptions()
        self._set(LoadedModel(to_source(path_or_bytes), to_options(self._options.options())))

    def _set(self, model: LoadedModel) -> None:
        self._model = model
        self._inputs = [self._bound(info) for info in model.inputs]
        self._outputs = [self._bound(info) for info in model.outputs]
        self._output_names = [info.name for info in model.outputs]
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None
        # The executable of the last run: most programs go on with the same shapes.
        self._latest: Executable | None = None
        self._in_pieces = not model.are_all_tensors()
        is_fixed = all(isinstance(extent, int) for info in self._inputs for extent in info.shape)
        if is_fixed and not self._in_pieces and all(info.has_shape for info in model.inputs):
            self._latest = self._first_executable()

    def _first_executable(self) -> Executable | None:
        """Of fixed shapes; None where values must be known as well."""
        if any(info.dtype.kind in "biu" and len(info.shape) <= 1 for info in self._model.inputs):
            return None
        arrays = [np.empty([int(str(extent)) for extent in arg.shape], info.dtype)
                  for arg, info in zip(self._inputs, self._model.inputs)]
        try:
            return self._model.executable(arrays)
        except Unsupported:
            if self._model.session.refused_operators():
                raise
            return None  # what else is in the way depends on data

    def _bound(self, info: TensorInfo) -> NodeArg:
        extents = self._options.extents()
        shape = [extents.get(extent, extent) if isinstance(extent, str) else extent
                 for extent in info.shape]
        return NodeArg(info.name, shape, f"tensor({info.type_name})")

    # ---- runs ----

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any],
            run_options: RunOptions | None = None) -> list[np.ndarray]:
        """The outputs of these names, or all, in new arrays.

        Inputs are read where they are if they are C-contiguous arrays of the right type (by DLPack,
        the buffer protocol or an array interface), else they are copied.

        Errors: InvalidArgument naming the input or output and what it should be; Unsupported where
        the model cannot be compiled for these shapes.
        """
        latest = self._latest
        results = latest.run(input_feed) if latest is not None else None
        if results is None:
            results = self._run_anew(input_feed)
        return results if not output_names else [results[i] for i in self._positions(output_names)]

    def _run_anew(self, input_feed: Mapping[str, Any]) -> list[Any]:
        """With an executable for these inputs, or piece by piece where there can be none."""
        if not self._in_pieces:
            try:
                executable, arrays = self._prepare(input_feed)
            except (InvalidModel, Unsupported):
                results = self._run_in_pieces(input_feed)
                self._in_pieces = True
                return results
            results = executable.run(arrays)
            if results is None:
                raise InvalidArgument("the inputs do not fit the model compiled for them")
            return results
        return self._run_in_pieces(input_feed)

    def _run_in_pieces(self, input_feed: Mapping[str, Any]) -> list[Any]:
        return self._model.run_in_pieces(self._model.arrays(self._to_arrays(input_feed)))

    def run_into(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any],
                 outputs: Sequence[np.ndarray]) -> None:
        """As run, into the caller's arrays: writable, C-contiguous, of the outputs' shapes and
        types, and apart from each other and the inputs."""
        executable, arrays = self._latest, input_feed
        given = tuple(outputs)
        if output_names and list(output_names) != self._output_names:
            executable, arrays = self._prepare(input_feed)
            positions = self._positions(output_names)
            given = tuple(outputs[positions.index(i)] if i in positions
                          else info.empty()
                          for i, info in enumerate(executable.outputs()))
        if executable is None or not executable.run_into(arrays, given):
            executable, arrays = self._prepare(input_feed)
            executable.run_into(arrays, given)

    def _prepare(self, input_feed: Mapping[str, Any]) -> tuple[Executable, dict[str, np.ndarray]]:
        arrays = self._model.arrays(self._to_arrays(input_feed))
        executable = self._model.executable(arrays)
        self._latest = executable
        return executable, dict(zip(self._model.names, arrays))

    @staticmethod
    def _to_arrays(input_feed: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value.numpy() if isinstance(value, OrtValue) else value
                for name, value in input_feed.items()}

    def _positions(self, names: Sequence[str]) -> list[int]:
        try:
            return [self._output_names.index(name) for name in names]
        except ValueError:
            unknown = [name for name in names if name not in self._output_names]
            raise InvalidArgument(f"the model has no outputs {unknown}; it has "
                                  f"{self._output_names}") from None

    def run_async(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any],
                  callback: Callable[[list[np.ndarray], Any, str], None], user_data: Any = None,
                  run_options: RunOptions | None = None) -> None:
        """Runs in another thread, which calls callback(results, user_data, error text)."""
        if self._threads is None:
            self._threads = concurrent.futures.ThreadPoolExecutor(1, "corf")

        def work() -> None:
            try:
                results = self.run(output_names, input_feed)
            except Exception as error:  # pylint: disable=broad-except
                callback([], user_data, str(error))
            else:
                callback(results, user_data, "")

        self._threads.submit(work)

    def run_with_ort_values(self, output_names: Sequence[str] | None,
                            input_dict_ort_values: Mapping[str, OrtValue],
                            run_options: RunOptions | None = None) -> list[OrtValue]:
        return [OrtValue(array) for array in self.run(output_names, input_dict_ort_values)]

    def io_binding(self) -> IOBinding:
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding,
                           run_options: RunOptions | None = None) -> None:
        iobinding.run()

    # ---- the model ----

    def get_inputs(self) -> list[NodeArg]:
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        return list(self._outputs)

    def get_overridable_initializers(self) -> list[NodeArg]:
        return []

    def get_modelmeta(self) -> ModelMetadata:
        return ModelMetadata(self._model.source, self._model.session.metadata())

    def get_session_options(self) -> SessionOptions:
        return self._options

    def get_providers(self) -> list[str]:
        return list(PROVIDERS)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {name: {} for name in PROVIDERS}

    def set_providers(self, providers: Sequence[Any] | None = None,
                      provider_options: Sequence[Mapping[str, Any]] | None = None) -> None:
        _check_providers(providers)

    def enable_fallback(self) -> None:
        pass

    def disable_fallback(self) -> None:
        pass

    # ---- what ONNX Runtime has no words for ----

    def compile(self, shapes: Mapping[str, Any]) -> int:
        """Compiles ahead of the runs, for all combinations of the extents; how many there are.

        shapes    by the name of a symbolic dimension its extent, or several as a range or list
                  ({"batch": 1, "tokens": range(32, 257, 32)}); by the name of an input its shape
                  as a tuple, of which each extent may be several ({"x": (1, 3, 48, [320, 640])})

        Errors: InvalidArgument where the session keeps fewer executables (session option
        "corf.cache_size"); those of a run for these shapes.
        """
        sets = list(combinations({**self._options.extents(), **shapes}))
        if len(sets) > self._model.most:
            raise InvalidArgument(f"these are {len(sets)} sets of shapes, of which the session "
                                  f"keeps {self._model.most}: the session option "
                                  "corf.cache_size says how many")
        for one in sets:
            self._model.session.compile(one)
        return len(sets)

    def explain(self, shapes: Shapes | None = None) -> _report.Explanation:
        """Which operators run as one kernel for these shapes, and why the others do not."""
        return _report.explanation(self._model.session.explain(
            {**self._options.extents(), **(shapes or {})}))

    def profile(self, input_feed: Mapping[str, Any]) -> _report.Profile:
        """The time of each step of one run."""
        executable, arrays = self._prepare(input_feed)
        return _report.profile(executable.profile([arrays[i.name] for i in executable.inputs()]))

    def __getstate__(self) -> tuple:
        return self._options, self._model

    def __setstate__(self, state: tuple) -> None:
        self._options = state[0]
        self._set(state[1])


def get_available_providers() -> list[str]:
    return list(PROVIDERS)


def get_all_providers() -> list[str]:
    return list(PROVIDERS)


def get_device() -> str:
    return "CPU"
