"""Seeded inputs for a model, the same for every engine."""

import numpy as np
import onnx
from onnx import helper


def make_inputs(path, shapes, seed=0):
    """{input name: array} for the model at `path`.

    shapes: {input name: dims}, needed for inputs with symbolic dimensions. Floats are standard
    normal; integers are 0 or 1, which are valid as token ids, masks and indices alike.
    """
    graph = onnx.load(path, load_external_data=False).graph
    constants = {initializer.name for initializer in graph.initializer}
    random = np.random.default_rng(seed)
    arrays = {}
    for value in graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        shape = shapes.get(value.name) or [dim.dim_value for dim in tensor.shape.dim]
        if 0 in shape:
            raise ValueError(f"{path}: input {value.name} has symbolic dimensions; "
                             f"give --shape {value.name}=1x3x224x224")
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if np.issubdtype(dtype, np.floating):
            arrays[value.name] = random.standard_normal(shape).astype(dtype)
        else:
            arrays[value.name] = random.integers(0, 2, shape).astype(dtype)
    return arrays


def parse_shape(text):
    """("x", [1, 3, 48, 320]) from "x=1x3x48x320"."""
    name, _, dims = text.rpartition("=")
    if not name:
        raise ValueError(f"{text}: not of the form NAME=1x3x224x224")
    return name, [int(dim) for dim in dims.split("x")]
