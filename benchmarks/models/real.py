"""Measures models out of Python packages (scripts/fetch_models real): corf, ONNX Runtime, OpenVINO.

How: engines/contest.py. Run by build/venv-peers/bin/python (scripts/setup_peers). Outputs are
compared with ONNX Runtime's, each by itself: the column "off" has the worst relative L2 distance.
"""

import argparse
import json
import pathlib
import statistics
import sys

import numpy as np
import onnx
from onnx import helper

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1]
if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))

from engines.contest import (REPOSITORY, add_arguments, best_peer, complaints,  # noqa: E402
                             measure_model, settings, speedup)
from engines.pace import Loops, Pace  # noqa: E402
from engines.table import Table, milliseconds, number  # noqa: E402

LIST = REPOSITORY / "scripts" / "real_models.json"
PEERS = ["onnxruntime", "openvino"]


def make_inputs(path, specs, seed=0):
    """{input name: array}. specs: {name: shape, or {"shape" and "value", or "low" and "high"}}.

    Without more than a shape floats are standard normal; with bounds uniform, integers if both
    bounds are.
    """
    graph = onnx.load(path, load_external_data=False).graph
    random = np.random.default_rng(seed)
    arrays = {}
    for value in graph.input:
        if value.name not in specs:
            continue  # an initialiser
        spec = specs[value.name]
        if isinstance(spec, list):
            spec = {"shape": spec}
        shape = spec["shape"]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if "value" in spec:
            array = np.full(shape, spec["value"])
        elif "high" not in spec:
            array = random.standard_normal(shape)
        elif isinstance(spec["high"], float):
            array = random.uniform(spec["low"], spec["high"], shape)
        else:
            array = random.integers(spec["low"], spec["high"], shape)
        arrays[value.name] = array.astype(dtype)
    return arrays


def worst(results):
    """The largest relative L2 distance of an output of corf's from ONNX Runtime's, or None."""
    offs = results.get("onnxruntime", {}).get("output_differences")
    return max(offs) if offs and None not in offs else None


def print_row(table, name, results, engines):
    off, peer = worst(results), best_peer(results)
    table.row([name, *[milliseconds(results.get(engine, {})) for engine in engines],
               number(speedup(results, peer) if peer else None),
               "-" if off is None else f"{off:.1e}"])
    for line in complaints(name, results):
        print(line, file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="NAME", help="of the list; all by default")
    parser.add_argument("--folder", type=pathlib.Path,
                        default=REPOSITORY / "build" / "models" / "real", metavar="DIR",
                        help="where scripts/fetch_models put them (%(default)s)")
    add_arguments(parser, ["corf", *PEERS])
    arguments = parser.parse_args()
    specs = {name: model["inputs"] for package in json.loads(LIST.read_text())
             for name, model in package["models"].items()}
    unknown = [name for name in arguments.models if name not in specs]
    if unknown:
        parser.error(f"{', '.join(unknown)}: not in {LIST}")

    report = {**settings(arguments), "models": {}}
    engines, models = arguments.engines, report["models"]
    table = Table(["model (ms)", *engines, "vs best", "off"], arguments.markdown)
    if arguments.files:
        for file in arguments.files:
            models.update(json.loads(file.read_text())["models"])
        for name in sorted(models, key=list(specs).index):
            print_row(table, name, models[name], engines)
    else:
        with Pace(Loops(arguments.threads)) as pace:
            for name in arguments.models or specs:
                path = arguments.folder / f"{name}.onnx"
                models[name] = measure_model(path, arguments, {}, pace,
                                             make_inputs(path, specs[name]))
                print_row(table, name, models[name], engines)
    ratios = [speedup(results, best_peer(results)) for results in models.values()
              if best_peer(results)]
    ratios = [ratio for ratio in ratios if ratio]
    if ratios:
        print(f"\ncorf is {statistics.geometric_mean(ratios):.2f} times as fast as the best peer "
              f"(geometric mean of {len(ratios)} models; least {min(ratios):.2f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
