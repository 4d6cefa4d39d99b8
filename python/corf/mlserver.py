"""A runtime of MLServer, which speaks the Open Inference Protocol over REST and gRPC (and so KServe
and Seldon). A model's folder holds model.onnx and this model-settings.json:

    {"name": "mobilenet",
     "implementation": "corf.mlserver.CorfRuntime",
     "parameters": {"uri": "./model.onnx", "extra": {"threads": 2}}}

`extra` holds options of corf.compile; "shapes", {"x": [1, 3, 224, 224]}, are compiled before the
server says that it is ready. Binary payloads go over gRPC (raw_input_contents).
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.utils import get_model_uri

from corf._errors import Error
from corf._session import InferenceSession
from corf._settings import SessionOptions

# Of the protocol, by the name that a NodeArg gives the type.
_DATATYPES = {"bool": "BOOL", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
              "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
              "float16": "FP16", "float": "FP32", "double": "FP64"}


class CorfRuntime(MLModel):
    """Loads the model in each of MLServer's workers; requests run side by side in threads."""

    async def load(self) -> bool:
        path = await get_model_uri(self._settings, wellknown_filenames=["model.onnx", "model.corf"])
        parameters = self._settings.parameters
        extra = dict((parameters.extra if parameters else None) or {})
        shapes = extra.pop("shapes", None)
        options = SessionOptions()
        for key, value in extra.items():
            options.add_session_config_entry(f"corf.{key}", str(value))
        self._session = await asyncio.to_thread(InferenceSession, path, options)
        self._names = [output.name for output in self._session.get_outputs()]
        if shapes:
            await asyncio.to_thread(self._run, self._zeros(shapes))
        self.inputs = self.inputs or [_tensor(one) for one in self._session.get_inputs()]
        self.outputs = self.outputs or [_tensor(one) for one in self._session.get_outputs()]
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        feed = {one.name: self.decode(one, default_codec=NumpyCodec) for one in payload.inputs}
        try:
            arrays = await asyncio.to_thread(self._run, feed)
        except Error as error:
            raise InferenceError(str(error)) from error
        wanted = {one.name for one in payload.outputs or ()} or set(self._names)
        return types.InferenceResponse(
            model_name=self.name, model_version=self.version, id=payload.id,
            outputs=[_output(name, array) for name, array in zip(self._names, arrays)
                     if name in wanted])

    def _run(self, feed: dict[str, np.ndarray]) -> list[Any]:
        return self._session.run(None, feed)

    def _zeros(self, shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
        types_of = {one.name: one.type for one in self._session.get_inputs()}
        return {name: np.zeros(shape, _numpy_type(types_of[name]))
                for name, shape in shapes.items()}


def _type_name(arg_type: str) -> str:
    return arg_type.removeprefix("tensor(").removesuffix(")")


def _numpy_type(arg_type: str) -> np.dtype:
    name = _type_name(arg_type)
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))


def _tensor(arg: Any) -> types.MetadataTensor:
    shape = [extent if isinstance(extent, int) else -1 for extent in arg.shape]
    return types.MetadataTensor(name=arg.name, shape=shape,
                                datatype=_DATATYPES.get(_type_name(arg.type), "BYTES"))


def _output(name: str, array: np.ndarray) -> types.ResponseOutput:
    output = NumpyCodec.encode_output(name, array)
    output.shape = list(array.shape)  # the codec gives vectors a second dimension
    return output
