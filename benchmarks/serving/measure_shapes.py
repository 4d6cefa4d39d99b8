"""How long one loaded model takes for shapes that it meets for the first time, and how much memory
the process has then, beside ONNX Runtime and OpenVINO.

Usage: build/venv-peers/bin/python benchmarks/serving/measure_shapes.py MODEL INPUT=1x3x48x{}
       [--values 20 40 ...] [--engines corf onnxruntime openvino]

The input's dimension {} takes one value after the other; every engine has a process of its own and
keeps all that it has made (corf: cache_size=64, nothing from disk). Prints milliseconds of the first
run of a shape: the first one with loading, then the median of those behind the third; of a second run
of the last shape; and MB resident after the first shape and after all.

Without arguments: MODEL is the encoder of encoder.py, over twenty lengths.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
LENGTHS = [16 + 11 * i for i in range(20)]
ENGINES = ["corf", "onnxruntime", "openvino"]


def resident_mb():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_engine(engine, model):
    """run({name: array})"""
    if engine == "corf":
        import corf
        options = corf.SessionOptions()
        options.add_session_config_entry("corf.executable_cache", "")
        options.add_session_config_entry("corf.cache_size", "64")
        session = corf.InferenceSession(model, options)
        return lambda feed: session.run(None, feed)
    if engine == "onnxruntime":
        import onnxruntime
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return lambda feed: session.run(None, feed)
    import openvino
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU",
                                  {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    return request.infer


def worker(engine, model, shape, values):
    """In a process of its own: measures, and prints what main() shows."""
    import numpy as np
    import onnx
    name, dims = shape.split("=")
    given = {i.name: i.type.tensor_type.elem_type
             for i in onnx.load(model, load_external_data=False).graph.input}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(given[name])
    random = np.random.default_rng(0)
    times, first_mb = [], None
    start = time.perf_counter()
    run = open_engine(engine, model)
    for value in values:
        extents = [int(extent) for extent in dims.replace("{}", str(value)).split("x")]
        array = (random.standard_normal(extents) if np.issubdtype(dtype, np.floating)
                 else random.integers(0, 2, extents)).astype(dtype)
        run({name: array})
        now = time.perf_counter()
        times.append((now - start) * 1e3)
        first_mb = first_mb or resident_mb()
        start = time.perf_counter()
    run({name: array})
    again_ms = (time.perf_counter() - start) * 1e3
    print(json.dumps({"first_ms": times[0], "new_ms": statistics.median(times[3:]),
                      "again_ms": again_ms, "first_mb": first_mb, "all_mb": resident_mb()}))


def measure(engine, model, shape, values):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "build" / "python")}
    command = [sys.executable, __file__, "--worker", engine, str(model), shape,
               "--values", *map(str, values)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return {"error": (result.stderr.strip().splitlines() or ["ended without a word"])[-1]}
    return json.loads(result.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("shape", nargs="?", default="ids=1x{}")
    parser.add_argument("--values", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--worker", choices=ENGINES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.worker, arguments.model, arguments.shape, arguments.values)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model
        if model is None:
            model = str(pathlib.Path(folder) / "encoder.onnx")
            encoder = pathlib.Path(__file__).with_name("encoder.py")
            subprocess.run([sys.executable, str(encoder), model], check=True)
        print("| engine | first shape ms | new shape ms | again ms | MB, one shape | MB, all "
              "| times |\n|---|---|---|---|---|---|---|")
        for engine in arguments.engines:
            result = measure(engine, model, arguments.shape, arguments.values)
            if "error" in result:
                print(f"| {engine} | {result['error']} |")
                continue
            print(f"| {engine} | {result['first_ms']:.0f} | {result['new_ms']:.1f} "
                  f"| {result['again_ms']:.2f} | {result['first_mb']:.0f} | {result['all_mb']:.0f} "
                  f"| {result['all_mb'] / result['first_mb']:.2f} |")


if __name__ == "__main__":
    main()
