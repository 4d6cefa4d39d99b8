"""What a call from Python costs beyond the C interface, for a small model.

Usage: PYTHONPATH=build/python measure_calls.py [--command build/corf] [--calls N]

Prints microseconds per call: the C interface's (`corf bench`), those of CompiledModel.run and
InferenceSession.run, and ONNX Runtime's where it is installed. One thread, medians of 9 rounds.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import corf

ROUNDS = 9


def small_model():
    """y = relu(x w + b), x [1, 16], w [16, 16]."""
    weights = np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16)
    declare = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["s"]),
         helper.make_node("Relu", ["s"], ["y"])],
        "small", [declare("x", TensorProto.FLOAT, [1, 16])],
        [declare("y", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array(weights, "w"),
         numpy_helper.from_array(np.ones(16, np.float32), "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model.SerializeToString()


def time_us(call, calls):
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(times)


def c_interface_us(command, data):
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(data)
        file.flush()
        output = subprocess.run([command, "bench", file.name, "--threads", "1", "--json"],
                                check=True, capture_output=True, text=True).stdout
    return json.loads(output)["median_ms"] * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--command", default="build/corf")
    parser.add_argument("--calls", type=int, default=20000)
    arguments = parser.parse_args()
    data, feed = small_model(), {"x": np.ones((1, 16), np.float32)}
    compiled = corf.compile(data, threads=1)
    options = corf.SessionOptions()
    options.intra_op_num_threads = 1
    session = corf.InferenceSession(data, options)
    output = [np.empty((1, 16), np.float32)]
    rows = {"C interface": c_interface_us(arguments.command, data),
            "CompiledModel.run": time_us(lambda: compiled.run(feed), arguments.calls),
            "CompiledModel.run_into": time_us(lambda: compiled.run_into(feed, output),
                                              arguments.calls),
            "InferenceSession.run": time_us(lambda: session.run(None, feed), arguments.calls)}
    try:
        import onnxruntime
    except ImportError:
        pass
    else:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        other = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        rows["ONNX Runtime's run"] = time_us(lambda: other.run(None, feed), arguments.calls)
    for name, microseconds in rows.items():
        print(f"{name:<24} {microseconds:6.2f} us")


if __name__ == "__main__":
    main()
