"""One engine in a process of its own that several callers run at once, for measure_concurrency.py.

Usage: worker.py ENGINE SETTING MODEL INPUTS.npz CALLERS. Speaks as benchmarks/engines/worker.py
does: a line of JSON when it is ready, then one for each line "measure SECONDS" on stdin. Each
caller is a thread that runs the model again as soon as its last run has ended; the interpreter's
lock is released during runs by all engines.
"""

import json
import os
import sys
import threading
import time

import numpy as np

CPUS = len(os.sched_getaffinity(0))


def corf_runner(setting, model, inputs):
    import corf
    compiled = corf.compile(model, {name: array.shape for name, array in inputs.items()},
                            streams=setting, executable_cache="")

    def caller():
        outputs = compiled.run(inputs)
        return lambda: compiled.run_into(inputs, outputs)

    return caller


def onnxruntime_runner(setting, model, inputs):
    """`setting`: threads of a run, its caller among them."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(setting)
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def caller():
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for output in session.get_outputs():
            binding.bind_output(output.name, "cpu")
        return lambda: session.run_with_iobinding(binding)

    return caller


def openvino_runner(setting, model, inputs):
    """`setting`: streams; the CPUs are shared out evenly among them."""
    import openvino
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape({name: list(array.shape) for name, array in inputs.items()})
    streams = int(setting)
    compiled = core.compile_model(network, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": CPUS, "NUM_STREAMS": streams,
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT"})

    def caller():
        request = compiled.create_infer_request()
        for name, array in inputs.items():
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        return request.infer

    return caller


RUNNERS = {"corf": corf_runner, "onnxruntime": onnxruntime_runner, "openvino": openvino_runner}


def measure(runs, seconds):
    """Times in ms of all callers' runs, and the seconds from the first start to the last end."""
    start = time.perf_counter()
    end = start + seconds
    times = [[] for _ in runs]

    def call(run, own):
        now = time.perf_counter()
        while now < end or not own:
            run()
            after = time.perf_counter()
            own.append((after - now) * 1e3)
            now = after

    threads = [threading.Thread(target=call, args=pair) for pair in zip(runs, times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [time_ms for own in times for time_ms in own], time.perf_counter() - start


def main():
    engine, setting, model, inputs_path, callers = sys.argv[1:]
    inputs = {name: np.ascontiguousarray(array) for name, array in np.load(inputs_path).items()}
    new_caller = RUNNERS[engine](setting, model, inputs)
    runs = [new_caller() for _ in range(int(callers))]
    for run in runs:
        run()
    print(json.dumps({"cpus": CPUS}), flush=True)
    for line in sys.stdin:
        times, seconds = measure(runs, float(line.removeprefix("measure ")))
        p50, p99 = np.percentile(times, [50, 99])
        print(json.dumps({"median_ms": float(p50), "min_ms": min(times), "p99_ms": float(p99),
                          "mean_ms": float(np.mean(times)),
                          "runs_per_second": len(times) / seconds}), flush=True)


if __name__ == "__main__":
    main()
