"""Throughput and latency of one loaded model that several threads run at once, beside peers.

Usage: build/venv-peers/bin/python benchmarks/serving/measure_concurrency.py [MODEL...]
       [--callers 1 2 4] [--rounds N] [--min-time SECONDS] [--json FILE]

Each engine is measured with each of its settings: corf with its streams (auto, throughput, latency),
ONNX Runtime with 1 and all CPUs for a run, OpenVINO with one stream and one for each CPU. Every
engine has a process of its own; they take turns as in the other contests (benchmarks/README.md).
Prints runs a second and the 99th percentile of their times for corf's "auto", its best setting and
each peer's best one, medians over the rounds.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))
from engines.engine import Engine, EngineError  # noqa: E402
from engines.inputs import make_inputs  # noqa: E402
from engines.pace import Loops, Pace  # noqa: E402
from engines.turns import take_turns  # noqa: E402

CPUS = len(os.sched_getaffinity(0))
SETTINGS = {"corf": ["auto", "throughput", "latency"], "onnxruntime": ["1", str(CPUS)],
            "openvino": ["1", str(CPUS)]}
DEFAULT_MODELS = ["mobilenet_v2", "shufflenet_v2_1_0", "resnet18", "vit_tiny"]


def measure(model, callers, arguments, pace):
    """{(engine, setting): {"runs_per_second", "p50_ms", "p99_ms"} or {"error"}}."""
    os.environ["PYTHONPATH"] = str(REPOSITORY / "build" / "python")
    worker = str(pathlib.Path(__file__).with_name("worker.py"))
    engines, results = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        inputs_path = str(pathlib.Path(folder) / "inputs.npz")
        np.savez(inputs_path, **make_inputs(model, {}))
        try:
            for engine, settings in SETTINGS.items():
                for setting in settings:
                    command = [sys.executable, worker, engine, setting, str(model), inputs_path,
                               str(callers)]
                    try:
                        engines[engine, setting] = Engine(command)
                    except EngineError as error:
                        results[engine, setting] = {"error": str(error)}
            turns = take_turns(engines, arguments.rounds, arguments.min_time, pace, retakes=4)
        finally:
            for engine in engines.values():
                engine.close()
    for key, taken in turns.items():
        if isinstance(taken, str):
            results[key] = {"error": taken}
            continue
        results[key] = {"runs_per_second": statistics.median(t["runs_per_second"] for t in taken),
                        "p50_ms": statistics.median(t["median_ms"] for t in taken),
                        "p99_ms": statistics.median(t["p99_ms"] for t in taken)}
    return results


def best(results, engine):
    """(setting, result) of the most runs a second; None where the engine failed."""
    own = [(setting, result) for (name, setting), result in results.items()
           if name == engine and "error" not in result]
    return max(own, key=lambda pair: pair[1]["runs_per_second"], default=None)


def row(model, callers, results):
    cells = [model, str(callers)]
    chosen = {"auto": ("auto", results["corf", "auto"])}
    chosen |= {engine: best(results, engine) for engine in SETTINGS}
    for name, pair in chosen.items():
        if pair is None or "error" in pair[1]:
            cells += ["-", "-"]
            continue
        setting, result = pair
        named = "" if name == "auto" else f" ({setting})"
        cells += [f"{result['runs_per_second']:.0f}{named}", f"{result['p99_ms']:.2f}"]
    peers = [pair[1]["runs_per_second"] for name, pair in chosen.items()
             if name in ("onnxruntime", "openvino") and pair is not None]
    ratio = chosen["auto"][1].get("runs_per_second", 0) / max(peers) if peers else None
    return [*cells, "-" if ratio is None else f"{ratio:.2f}"]


HEAD = ["model", "callers", "corf auto, runs/s", "p99 ms", "corf's best", "p99 ms", "onnxruntime",
        "p99 ms", "openvino", "p99 ms", "auto vs best peer"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=pathlib.Path,
                        default=[REPOSITORY / "build" / "zoo" / f"{m}.onnx" for m in DEFAULT_MODELS])
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--min-time", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    everything = {}
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    with Pace(Loops(CPUS)) as pace:
        for model in arguments.models:
            for callers in arguments.callers:
                results = measure(model, callers, arguments, pace)
                everything[f"{model.stem}, {callers}"] = {" ".join(k): v
                                                          for k, v in results.items()}
                print("| " + " | ".join(row(model.stem, callers, results)) + " |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
