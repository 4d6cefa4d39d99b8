"""Where memory ends while a model is compiled or run, the command says so: no signal, in whatever stage
and thread it happens.

Usage: CORF_COMMAND=build/corf python little_memory_test.py
"""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST_MIB, MOST_MIB, STEP_MIB = 64, 240, 8


def convolutions():
    """Kernels enough for several modules, whose code is generated in several threads."""
    rng = np.random.default_rng(1)
    nodes, constants, value = [], [], "x"
    for i in range(12):
        weights = rng.standard_normal((16 + i, 16 + i - (i > 0), 3, 3)).astype(np.float32) / 12
        constants.append(numpy_helper.from_array(weights, f"w{i}"))
        nodes.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], pads=[1] * 4))
        nodes.append(helper.make_node("Sin" if i % 2 else "Softmax", [f"c{i}"], [f"v{i}"]))
        value = f"v{i}"
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 24, 24])],
                              [helper.make_empty_tensor_value_info(value)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def large_values():
    nodes = [helper.make_node("Concat", ["x"] * 8, ["c"], axis=0), helper.make_node("Softmax", ["c"], ["s"], axis=0),
             helper.make_node("Transpose", ["s"], ["y"], perm=[1, 0])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [512, 1024])],
                              [helper.make_empty_tensor_value_info("y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def run(corf, path, mib):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))

    return subprocess.run([corf, "run", "--threads", "2", str(path)], capture_output=True, preexec_fn=limit)


def main():
    corf = os.environ["CORF_COMMAND"]
    faults, ran, refused = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for make in (convolutions, large_values):
            path = pathlib.Path(folder) / f"{make.__name__}.onnx"
            onnx.save(make(), path)
            subprocess.run([corf, "run", str(path)], stdout=subprocess.DEVNULL, check=True)  # calibrates
            for mib in range(LEAST_MIB, MOST_MIB, STEP_MIB):
                done = run(corf, path, mib)
                # Before main the dynamic loader speaks for itself.
                if done.returncode == 127 and b"shared librar" in done.stderr:
                    continue
                ran += done.returncode == 0
                refused += done.returncode == 1
                if done.returncode not in (0, 1) or (done.returncode == 1 and b"corf: error:" not in done.stderr):
                    faults.append(f"{make.__name__} with {mib} MiB: exit code {done.returncode}, {done.stderr[:200]!r}")
    print(f"{ran} ran, {refused} were refused, {len(faults)} did neither")
    print("\n".join(faults))
    sys.exit(1 if faults or not ran or not refused else 0)


if __name__ == "__main__":
    main()
