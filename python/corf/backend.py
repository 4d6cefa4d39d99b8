"""corf as a backend of the onnx package (`pip install corf[onnx]`).

    import onnx, corf.backend
    results = corf.backend.prepare(onnx.load("model.onnx")).run([image])
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from corf._errors import Error
from corf._session import InferenceSession
from corf._settings import SessionOptions


class CorfBackendRep(BackendRep):
    """A prepared model."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Any, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """`inputs`: a sequence in the model's order, a dict by name, or the only array. The results
        in order, by name too.

        Errors: those of InferenceSession.run.
        """
        names = [info.name for info in self._session.get_inputs()]
        if not isinstance(inputs, dict):
            if isinstance(inputs, np.ndarray):
                inputs = [inputs]
            inputs = dict(zip(names, inputs))
        results = self._session.run(None, inputs)
        outputs = [info.name for info in self._session.get_outputs()]
        return namedtupledict("Outputs", outputs)(*results)


class CorfBackend(Backend):
    """`threads=N` and the other options of corf.compile are keywords of prepare and its like."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be compiled, as far as can be told before its inputs are known."""
        try:
            cls.prepare(model, device, **kwargs)
        except Error:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> CorfBackendRep:
        """Errors: those of InferenceSession; ValueError for another device than the CPU."""
        if not cls.supports_device(device):
            raise ValueError(f"there is no device {device}; models run on the CPU")
        options = SessionOptions()
        for key, value in kwargs.items():
            options.add_session_config_entry(f"corf.{key}", value)
        return CorfBackendRep(InferenceSession(model, options))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU",
                  **kwargs: Any) -> tuple[np.ndarray, ...]:
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU",
                 outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
                 **kwargs: Any) -> tuple[np.ndarray, ...]:
        """One operator on its inputs, of the newest opset unless `opset_version=N` says otherwise.
        Without `outputs_info` its outputs are float32."""
        opset = kwargs.pop("opset_version", min(onnx.defs.onnx_opset_version(), 25))
        if not isinstance(inputs, dict):
            inputs = dict(zip([name for name in node.input if name], inputs))
        declare = onnx.helper.make_tensor_value_info
        to_type = onnx.helper.np_dtype_to_tensor_dtype
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        kinds = [np.dtype(dtype) for dtype, _ in outputs_info] if outputs_info else \
            [np.dtype(np.float32)] * len(node.output)
        graph = onnx.helper.make_graph(
            [node], "node",
            [declare(name, to_type(array.dtype), array.shape) for name, array in arrays.items()],
            [declare(name, to_type(kind), None) for name, kind in zip(node.output, kinds)])
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid(node.domain, opset)])
        return cls.run_model(model, arrays, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        try:
            return Device(device).type == DeviceType.CPU
        except (AttributeError, ValueError):
            return False


is_compatible = CorfBackend.is_compatible
prepare = CorfBackend.prepare
run_model = CorfBackend.run_model
run_node = CorfBackend.run_node
supports_device = CorfBackend.supports_device
