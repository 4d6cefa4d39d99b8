"""A model in Ray: a deployment of Ray Serve, and a callable for map_batches of Ray Data.

    from ray import serve
    serve.run(corf.ray.deployment("mobilenet.onnx", threads=2, num_replicas=4))

    dataset.map_batches(corf.ray.Predictor, fn_constructor_args=("mobilenet.onnx",),
                        batch_size=8, concurrency=4, num_cpus=2)
"""

from __future__ import annotations

import asyncio
import io
from typing import Any, Mapping

import numpy as np
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from corf._errors import Error
from corf._session import InferenceSession
from corf._settings import SessionOptions


def _open(model: Any, threads: int, options: Mapping[str, Any]) -> InferenceSession:
    settings = SessionOptions()
    settings.intra_op_num_threads = threads
    for key, value in options.items():
        settings.add_session_config_entry(f"corf.{key}", str(value))
    return InferenceSession(model, settings)


class Model:
    """What a replica runs. Over HTTP it takes the arrays of an .npz archive, named as the inputs, and
    answers with one of the outputs; or, with the content type application/json, an object of nested
    lists. A handle (`handle.infer.remote({"x": array})`) passes arrays as they are."""

    def __init__(self, model: Any, threads: int, options: Mapping[str, Any]) -> None:
        self._session = _open(model, threads, options)
        self._types = {one.name: _numpy_type(one.type) for one in self._session.get_inputs()}
        self._names = [one.name for one in self._session.get_outputs()]

    async def infer(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = await asyncio.to_thread(self._session.run, None, dict(feed))
        return dict(zip(self._names, arrays))

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        is_json = request.headers.get("content-type", "").startswith("application/json")
        try:
            if is_json:
                given = await request.json()
                outputs = await self.infer({name: np.asarray(values, self._types.get(name))
                                            for name, values in given.items()})
                return JSONResponse({name: array.tolist() for name, array in outputs.items()})
            with np.load(io.BytesIO(body)) as arrays:  # never unpickles
                outputs = await self.infer(dict(arrays))
        except (Error, ValueError, OSError) as error:
            return Response(str(error), status_code=400, media_type="text/plain")
        archive = io.BytesIO()
        np.savez(archive, **outputs)
        return Response(archive.getvalue(), media_type="application/octet-stream")


def deployment(model: Any, threads: int = 1, options: Mapping[str, Any] | None = None,
               **deployment_options: Any) -> serve.Application:
    """An application for serve.run.

    model                 a path that every node can read, or the bytes of a model
    threads               workers of a replica, for which Ray keeps as many CPUs
    options               of corf.compile, e.g. {"plan": "unfused"}
    deployment_options    of serve.deployment: name, num_replicas, max_ongoing_requests, ...
    """
    actor_options = {"num_cpus": threads, **deployment_options.pop("ray_actor_options", {})}
    made = serve.deployment(Model, ray_actor_options=actor_options, **deployment_options)
    return made.bind(model, threads, options or {})


class Predictor:
    """For Dataset.map_batches, in actors: columns named as the model's inputs go in, those of its
    outputs come out beside the columns that are no inputs. A batch with fewer rows than the first
    one (a dataset's last) is filled up, so that nothing is compiled for it."""

    def __init__(self, model: Any, threads: int = 1, **options: Any) -> None:
        self._session = _open(model, threads, options)
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]
        self._num_rows = 0

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(batch[self._inputs[0]])
        self._num_rows = max(self._num_rows, count)
        feed = {name: _filled_up(batch[name], self._num_rows) for name in self._inputs}
        arrays = self._session.run(None, feed)
        others = {name: column for name, column in batch.items() if name not in feed}
        return {**others, **{name: array[:count] for name, array in zip(self._outputs, arrays)}}


def _numpy_type(arg_type: str) -> np.dtype:
    name = arg_type.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))


def _filled_up(column: np.ndarray, num_rows: int) -> np.ndarray:
    missing = num_rows - len(column)
    if missing == 0:
        return np.ascontiguousarray(column)
    return np.concatenate([column, np.repeat(column[-1:], missing, axis=0)])
