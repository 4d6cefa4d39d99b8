"""One engine in a process of its own, for measure.py.

Usage: engine.py ENGINE MODEL INPUTS.npz THREADS. Writes a line of JSON once the model is loaded,
then answers each line "SECONDS" on stdin, one turn, with a line of JSON.
"""

import json
import sys
import time

import numpy as np


def onnxruntime_runner(model, inputs, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return onnxruntime.__version__, lambda: session.run_with_iobinding(binding)


def openvino_runner(model, inputs, threads):
    import openvino
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape({name: list(array.shape) for name, array in inputs.items()})
    compiled = core.compile_model(network, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1})
    request = compiled.create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    return openvino.__version__, request.infer


RUNNERS = {"onnxruntime": onnxruntime_runner, "openvino": openvino_runner}


def run_for(run, seconds):
    """Times in ms of at least 3 runs over at least `seconds`."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def main():
    engine, model, inputs_path, threads = sys.argv[1:]
    inputs = {name: np.ascontiguousarray(array) for name, array in np.load(inputs_path).items()}
    start = time.perf_counter()
    version, run = RUNNERS[engine](model, inputs, int(threads))
    run()
    print(json.dumps({"version": version, "load_ms": (time.perf_counter() - start) * 1e3}),
          flush=True)
    for line in sys.stdin:
        seconds = float(line)
        run_for(run, seconds / 10)  # caches and clocks are another engine's when a turn begins
        times = run_for(run, seconds)
        print(json.dumps({"median_ms": float(np.median(times)), "min_ms": min(times)}), flush=True)


if __name__ == "__main__":
    main()
