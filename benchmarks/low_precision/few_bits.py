"""Measures a product with weights of four bits (MatMulNBits), rows of activations in float32.

A matrix of 4096 x 4096 in blocks of 32, with and without zero points, for a few numbers of rows;
beside it corf's and ONNX Runtime's times in turns (engines/contest.py), and how much of its weights
corf takes in a second. Run by build/venv-peers/bin/python (scripts/setup_peers).
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
BENCHMARKS = HERE.parent
for folder in (str(BENCHMARKS), str(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from engines.contest import REPOSITORY, add_arguments, measure_model, settings  # noqa: E402
from engines.pace import Loops, Pace  # noqa: E402
from engines.table import Table, milliseconds, number  # noqa: E402

EXTENT, BLOCK, BITS = 4096, 32, 4
SEED = 7
MICROSOFT = "com.microsoft"


def product(rows, layers, has_zero_points):
    """`layers` products, one after the other, and the bytes of their weights."""
    random = np.random.default_rng(SEED)
    blocks = EXTENT // BLOCK
    nodes, constants = [], []
    for layer in range(layers):
        weights = {"bytes": random.integers(0, 256, (EXTENT, blocks, BLOCK * BITS // 8), np.uint8),
                   "scales": random.uniform(0.001, 0.003, EXTENT * blocks).astype(np.float32)}
        if has_zero_points:
            weights["zeros"] = random.integers(0, 256, EXTENT * blocks * BITS // 8, np.uint8)
        names = [f"{name}{layer}" for name in weights]
        constants += [numpy_helper.from_array(array, name)
                      for name, array in zip(names, weights.values())]
        nodes.append(helper.make_node("MatMulNBits", [f"x{layer}", *names], [f"x{layer + 1}"],
                                      domain=MICROSOFT, K=EXTENT, N=EXTENT, bits=BITS,
                                      block_size=BLOCK))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, EXTENT])
              for name in ("x0", f"x{layers}")]
    graph = helper.make_graph(nodes, "product", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17),
                                                    helper.make_opsetid(MICROSOFT, 1)])
    model.ir_version = 8
    return model, sum(len(constant.raw_data) for constant in constants)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 128])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 8],
                        help="products one after the other: of several, no cache holds the weights")
    parser.add_argument("--models", type=pathlib.Path, metavar="DIR",
                        default=REPOSITORY / "build" / "quantized",
                        help="where models are kept (%(default)s)")
    add_arguments(parser, ["corf", "onnxruntime"])
    arguments = parser.parse_args()
    arguments.models.mkdir(parents=True, exist_ok=True)
    peers = [name for name in arguments.engines if name != "corf"]
    table = Table(["rows x products (ms)", "zero points", *arguments.engines,
                   *[f"vs {name}" for name in peers], "GB/s"], arguments.markdown)
    report = {**settings(arguments), "products": []}
    with Pace(Loops(arguments.threads)) as pace:
        for layers in arguments.layers:
            for rows in arguments.rows:
                for has_zero_points in (False, True):
                    model, size_bytes = product(rows, layers, has_zero_points)
                    path = arguments.models / "few_bits.onnx"
                    onnx.save(model, path)
                    results = measure_model(path, arguments, {}, pace)
                    report["products"].append({"rows": rows, "layers": layers, "results": results,
                                               "zero_points": has_zero_points})
                    times = {name: result.get("median_ms") for name, result in results.items()}
                    corf = times.get("corf")
                    table.row([f"{rows} x {layers}", "yes" if has_zero_points else "no",
                               *[milliseconds(results[name]) for name in arguments.engines],
                               *[number(times[name] / corf if corf and times[name] else None)
                                 for name in peers],
                               number(size_bytes / corf / 1e6 if corf else None)])
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
