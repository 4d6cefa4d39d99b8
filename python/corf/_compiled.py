"""corf.compile: a model compiled for one set of shapes."""

from __future__ import annotations

import os
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from corf import _report
from corf._errors import InvalidArgument
from corf._library import Executable, Session, Shapes, TensorInfo
from corf._model import to_array, to_options, to_source


class CompiledModel:
    """As corf.compile makes it. May be called from several threads at once, whose runs go side by
    side as option "streams" says; the interpreter's lock is released meanwhile. Pickles as the
    model's path or bytes, its shapes and options, and is compiled again where it is unpickled."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]

    def __init__(self, source: str | bytes, shapes: Shapes | None,
                 options: dict[str, str | list[str]]) -> None:
        self._source, self._shapes, self._options = source, dict(shapes or {}), options
        self._session = Session(source, options)
        self._executable: Executable = self._session.compile(self._shapes)
        self.inputs, self.outputs = self._executable.inputs(), self._executable.outputs()

    def __call__(self, *arrays: Any, **named: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """The results, a single one alone. Inputs in order, or by name."""
        if len(arrays) > len(self.inputs):
            raise InvalidArgument(f"{len(arrays)} inputs given, the model has {len(self.inputs)}")
        feed = {info.name: array for info, array in zip(self.inputs, arrays)}
        results = self.run({**feed, **named})
        return results[0] if len(results) == 1 else tuple(results)

    def run(self, feed: Mapping[str, Any]) -> list[np.ndarray]:
        """The results in the order of `outputs`, in new arrays. Inputs are read where they are if
        they are C-contiguous arrays of the right type (by DLPack, the buffer protocol or an array
        interface), else they are copied.

        Errors: InvalidArgument naming the input and what it should be.
        """
        results = self._executable.run(feed)
        if results is None:
            results = self._executable.run(self._checked(feed))
            assert results is not None
        return results

    def run_into(self, feed: Mapping[str, Any], outputs: Sequence[np.ndarray]) -> None:
        """As run, into the caller's arrays: writable, C-contiguous, of the outputs' shapes and
        types, and apart from each other and the inputs."""
        if not self._executable.run_into(feed, tuple(outputs)):
            self._executable.run_into(self._checked(feed), tuple(outputs))

    def _checked(self, feed: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The inputs as the executable takes them, or the fault in words."""
        names = [info.name for info in self.inputs]
        for name in names:
            if feed.get(name) is None:
                raise InvalidArgument(f"input '{name}' is missing; there are {list(feed)}")
        for name in feed:
            if name not in names:
                raise InvalidArgument(f"the model has no input '{name}'; it has {names}")
        checked = {info.name: to_array(feed[info.name], info) for info in self.inputs}
        for info in self.inputs:
            if checked[info.name].shape != info.shape:
                raise InvalidArgument(f"input '{info.name}' has the shape "
                                      f"{checked[info.name].shape}, but the model was compiled "
                                      f"for {info.shape}")
        return checked

    @property
    def info(self) -> dict[str, Any]:
        """plan_hash, isa, threads, compile_ms, work_flops, executed_flops, compulsory_bytes,
        arena_bytes, constant_bytes, code_bytes: those of corf_executable_info."""
        return self._executable.describe()

    def limit_ms(self) -> float:
        """The least time in which this machine could run the model (measured on the first call)."""
        return self._executable.limit_ms()

    def explain(self) -> _report.Explanation:
        return _report.explanation(self._session.explain(self._shapes))

    def profile(self, *arrays: Any, **named: Any) -> _report.Profile:
        """The time of each step of one run."""
        feed = {info.name: array for info, array in zip(self.inputs, arrays)}
        checked = self._checked({**feed, **named})
        return _report.profile(self._executable.profile([checked[i.name] for i in self.inputs]))

    def inspect(self, stage: str) -> str:
        """The pipeline up to `stage` as text: graph, mapping, plan, loop, llvm or asm."""
        return self._session.inspect(stage, self._shapes)

    def tune(self, time_limit_s: float,
             progress: Callable[[float], None] | None = None) -> dict[str, Any]:
        """Searches for the fastest plan by measuring, keeps it in the plan cache and carries it
        out from here on. `progress` is told the share of the time limit that has passed."""
        result = self._session.tune(self._shapes, time_limit_s, progress)
        self._executable = self._session.compile(self._shapes)
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """To a file that corf.compile and InferenceSession take in the model's place. It holds
        machine code: load only what you would run."""
        self._executable.write(path)

    def __reduce__(self) -> tuple:
        return CompiledModel, (self._source, self._shapes, self._options)


def compile(model: Any, shapes: Shapes | None = None, **options: Any) -> CompiledModel:  # noqa: A001
    """Compiles a model for this machine's CPU.

    model     a path (.onnx, or what `save` wrote), the bytes of a model, or an onnx.ModelProto
    shapes    extents by the name of an input, or of a symbolic dimension (one extent):
              {"x": (1, 3, 224, 224)} or {"batch": 1}; not needed where the model's are fixed
    options   those of corf_options_set in corf.h: threads=2, isa="avx2", plan="unfused",
              winograd=False, ...; constants={"sr": 16000} and limits={"memory": 4096} as dicts.
              What is compiled is kept on disk, where the next process finds it;
              executable_cache="" switches that off

    Errors: Unsupported naming every node that cannot be compiled; InvalidArgument if a dimension is
    left open; the others of corf.Error.
    """
    return CompiledModel(to_source(model), shapes, to_options(options))
