"""Lays the light_* models of the onnx package out as backend test folders.

The package ships model and output; its test runner makes the input, a ramp over [0, 1).
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper


def main(out):
    data = pathlib.Path(onnx.backend.test.__file__).parent / "data"
    for description in sorted(data.glob("real/*/data.json")):
        name = pathlib.Path(json.loads(description.read_text())["url"]).stem
        folder = out / name
        data_set = folder / "test_data_set_0"
        data_set.mkdir(parents=True)
        shutil.copy(data / "light" / f"{name}.onnx", folder / "model.onnx")
        shutil.copy(description, folder)  # tolerances
        shutil.copy(data / "light" / f"{name}_output_0.pb", data_set / "output_0.pb")
        graph = onnx.load(folder / "model.onnx").graph
        constants = {initializer.name for initializer in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        for i, value in enumerate(inputs):
            shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
            count = np.prod(shape)
            ramp = (np.arange(count).reshape(shape) / count).astype(np.float32)
            tensor = numpy_helper.from_array(ramp, value.name)
            (data_set / f"input_{i}.pb").write_bytes(tensor.SerializeToString())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
