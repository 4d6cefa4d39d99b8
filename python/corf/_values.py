"""OrtValue and IOBinding with ONNX Runtime's names: arrays that the caller keeps from run to run."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from corf._errors import InvalidArgument
from corf._library import NUMPY_TYPES, TYPE_NAMES

if TYPE_CHECKING:
    from corf._session import InferenceSession


def type_text(dtype: np.dtype) -> str:
    """"tensor(float)"."""
    return f"tensor({TYPE_NAMES[NUMPY_TYPES.index(np.dtype(dtype))]})"


def _check_device(device: str) -> None:
    if device.lower() != "cpu":
        raise InvalidArgument(f"there is no device '{device}'; arrays are in the CPU's memory")


class OrtValue:
    """An array."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    @staticmethod
    def ortvalue_from_numpy(array: np.ndarray, device_type: str = "cpu",
                            device_id: int = 0) -> OrtValue:
        _check_device(device_type)
        return OrtValue(np.ascontiguousarray(array))

    @staticmethod
    def ortvalue_from_shape_and_type(shape: Sequence[int], element_type: Any,
                                     device_type: str = "cpu", device_id: int = 0) -> OrtValue:
        _check_device(device_type)
        return OrtValue(np.empty(tuple(shape), element_type))

    def numpy(self) -> np.ndarray:
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._array, dtype)

    def __dlpack__(self, **arguments: Any) -> Any:
        return self._array.__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def data_type(self) -> str:
        return type_text(self._array.dtype)

    def data_ptr(self) -> int:
        return self._array.ctypes.data

    def device_name(self) -> str:
        return "cpu"

    def has_value(self) -> bool:
        return True

    def is_tensor(self) -> bool:
        return True

    def update_inplace(self, array: np.ndarray) -> None:
        if array.shape != self._array.shape or array.dtype != self._array.dtype:
            raise InvalidArgument(f"the value is {self._array.dtype} {self._array.shape}, not "
                                  f"{array.dtype} {array.shape}")
        self._array[...] = array


def _array_at(address: int, shape: Sequence[int], element_type: Any) -> np.ndarray:
    """The caller's memory, which must outlive the array."""
    dtype = np.dtype(element_type)
    size_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = (ctypes.c_char * size_bytes).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)


class IOBinding:
    """Inputs and outputs of InferenceSession.run_with_iobinding. Outputs that are bound without an
    array get a new one in each run."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, np.ndarray | None] = {}
        self._results: list[np.ndarray] = []

    def bind_cpu_input(self, name: str, array: Any) -> None:
        self._inputs[name] = array

    def bind_input(self, name: str, device_type: str, device_id: int, element_type: Any,
                   shape: Sequence[int], buffer_ptr: int) -> None:
        _check_device(device_type)
        self._inputs[name] = _array_at(buffer_ptr, shape, element_type)

    def bind_ortvalue_input(self, name: str, value: OrtValue) -> None:
        self._inputs[name] = value.numpy()

    def bind_output(self, name: str, device_type: str = "cpu", device_id: int = 0,
                    element_type: Any = None, shape: Sequence[int] | None = None,
                    buffer_ptr: int | None = None) -> None:
        _check_device(device_type)
        self._outputs[name] = None if buffer_ptr is None else \
            _array_at(buffer_ptr, shape or (), element_type)

    def bind_ortvalue_output(self, name: str, value: OrtValue) -> None:
        self._outputs[name] = value.numpy()

    def synchronize_inputs(self) -> None:
        pass

    def synchronize_outputs(self) -> None:
        pass

    def clear_binding_inputs(self) -> None:
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        self._outputs.clear()

    def run(self) -> None:
        """As InferenceSession.run_with_iobinding."""
        names = list(self._outputs) or None
        arrays = list(self._outputs.values())
        if arrays and all(array is not None for array in arrays):
            self._session.run_into(names, self._inputs, [a for a in arrays if a is not None])
            self._results = [a for a in arrays if a is not None]
            return
        self._results = self._session.run(names, self._inputs)
        for i, array in enumerate(arrays):
            if array is not None:
                array[...] = self._results[i]
                self._results[i] = array

    def get_outputs(self) -> list[OrtValue]:
        return [OrtValue(array) for array in self._results]

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        return list(self._results)
