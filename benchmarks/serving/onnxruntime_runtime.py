"""ONNX Runtime in MLServer, for comparison: what corf.mlserver does, with its session."""

import asyncio

import numpy as np
import onnxruntime
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec
from mlserver.utils import get_model_uri


class OnnxRuntime(MLModel):
    async def load(self) -> bool:
        path = await get_model_uri(self._settings)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(self._settings.parameters.extra["threads"])
        self._session = onnxruntime.InferenceSession(path, options,
                                                     providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        feed = {one.name: self.decode(one, default_codec=NumpyCodec) for one in payload.inputs}
        arrays = await asyncio.to_thread(self._session.run, None, feed)
        outputs = []
        for one, array in zip(self._session.get_outputs(), arrays):
            outputs.append(NumpyCodec.encode_output(one.name, array))
            outputs[-1].shape = list(np.shape(array))
        return types.InferenceResponse(model_name=self.name, outputs=outputs)
