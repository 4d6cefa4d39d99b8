"""Writes the backend tests of single operators that the onnx package generates, as folders.

Usage: lay_out_node_tests.py OUT      OUT/test_NAME/model.onnx, OUT/test_NAME/test_data_set_0/*.pb

The package has generators in the place of the files that its backend test format describes. The
random inputs are drawn from a fixed seed, so that every machine has the same data.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
from onnx import numpy_helper
from onnx.backend.test.case import node

DEFAULT_TOLERANCE = (1e-3, 1e-7)  # relative and absolute, of a test that states none
# numpy transforms float32 in float32: where terms cancel, its roundings are what is left.
TRANSFORM_TOLERANCE = 1e-6  # of the largest element


def to_proto(data, declared):
    """What a test hands in or expects, as the message that its file holds."""
    if not isinstance(data, (np.ndarray, np.generic, list, dict, type(None))):
        return data  # a message already, as TensorProto is for types that numpy lacks
    convert = {
        "map_type": numpy_helper.from_dict,
        "sequence_type": numpy_helper.from_list,
        "optional_type": numpy_helper.from_optional,
    }.get(declared.type.WhichOneof("value"))
    if convert is not None:
        return convert(data, declared.name)
    return numpy_helper.from_array(np.asarray(data), declared.name)


def write_values(folder, prefix, values, declared):
    for i, value in enumerate(values):
        message = to_proto(value, declared[i])
        (folder / f"{prefix}_{i}.pb").write_bytes(message.SerializeToString())


def tolerance_of(case):
    relative, absolute = case.rtol, case.atol
    if case.name.startswith(("test_dft", "test_stft")):
        largest = max(np.abs(output).max() for _, outputs in case.data_sets for output in outputs)
        absolute = max(absolute, TRANSFORM_TOLERANCE * float(largest))
    return relative, absolute


def write_case(out, case):
    folder = out / case.name
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    relative, absolute = tolerance_of(case)
    if (relative, absolute) != DEFAULT_TOLERANCE:
        (folder / "data.json").write_text(json.dumps({"rtol": relative, "atol": absolute}))
    for i, (inputs, outputs) in enumerate(case.data_sets):
        data_set = folder / f"test_data_set_{i}"
        data_set.mkdir()
        write_values(data_set, "input", inputs, case.model.graph.input)
        write_values(data_set, "output", outputs, case.model.graph.output)


def main(out):
    np.random.seed(0)
    # The generators divide by zero and overflow on purpose.
    warnings.simplefilter("ignore", RuntimeWarning)
    for case in node.collect_testcases(None):
        write_case(out, case)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
