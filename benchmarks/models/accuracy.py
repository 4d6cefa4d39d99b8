"""Compares corf's and ONNX Runtime's outputs with the same network evaluated in float64.

A model passes where corf's relative L2 error is at most twice ONNX Runtime's, or at most 1e-4
where corf used Winograd (--allow-winograd), and the largest element of each row is the same one.
Run by build/venv-peers/bin/python (scripts/setup_peers). Exits 1 where a model does not pass.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1]
if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))

from engines.inputs import make_inputs, parse_shape  # noqa: E402
from float64_truth import truth  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def onnxruntime_outputs(model, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def corf_outputs(corf, model, inputs, threads):
    """Raises RuntimeError with what the command said."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(corf), "run", str(model), "--threads", str(threads),
                   "--output-dir", f"{folder}/out"]
        for i, (name, array) in enumerate(inputs.items()):
            np.save(f"{folder}/{i}.npy", array)
            command += ["--input", f"{name}={folder}/{i}.npy"]
            command += ["--shape", f"{name}={'x'.join(map(str, array.shape))}"]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise RuntimeError(str(error)) from error
        if result.returncode != 0:
            raise RuntimeError(result.stderr.strip() or f"exit {result.returncode}")
        return {path.stem: np.load(path) for path in pathlib.Path(folder, "out").glob("*.npy")}


class Error:
    """Relative L2 error over all inputs: the norm of all differences over that of all truths."""

    def __init__(self):
        self.difference = self.norm = 0.0

    def add(self, actual, expected):
        """Infinite where the shapes differ."""
        if actual.shape != expected.shape:
            self.difference = float("inf")
            return
        self.difference += float(np.sum((actual.astype(np.float64) - expected) ** 2))
        self.norm += float(np.sum(expected ** 2))

    def relative(self):
        return float(np.sqrt(self.difference / max(self.norm, np.finfo(np.float64).tiny)))


def same_top1(actual, expected):
    """Elements of `expected` that are equal in float32 (saturated sigmoids) count as one."""
    if actual.shape != expected.shape:
        return False
    rounded = expected.astype(np.float32)
    chosen = np.take_along_axis(rounded, actual.argmax(axis=-1, keepdims=True), axis=-1)
    return bool(np.array_equal(chosen[..., 0], rounded.max(axis=-1)))


def check_model(model, arguments):
    """[{output, corf, onnxruntime, top1, passed}]; "error" instead where corf does not run it."""
    given = {name: np.load(file) for name, file in arguments.input}
    shapes = {**dict(arguments.shape), **{name: array.shape for name, array in given.items()}}
    rows, ours, peers = {}, {}, {}
    for seed in range(arguments.seed, arguments.seed + (1 if given else arguments.inputs)):
        inputs = {**make_inputs(model, shapes, seed), **given}
        expected = truth(model, inputs)
        peer = onnxruntime_outputs(model, inputs)
        try:
            actual = corf_outputs(arguments.corf, model, inputs, arguments.threads)
        except RuntimeError as error:
            actual, failure = {}, str(error)
        else:
            failure = "no such output"
        for name, array in expected.items():
            row = rows.setdefault(name, {"output": name, "top1": True})
            peers.setdefault(name, Error()).add(peer[name], array)
            # An output's file is named after it; a name may hold what no file name can.
            result = actual.get(name, actual.get(name.replace("/", "_")))
            if result is None:
                row["error"] = failure
                continue
            ours.setdefault(name, Error()).add(result, array)
            row["top1"] &= same_top1(result, array)
    for name, row in rows.items():
        row["onnxruntime"] = peers[name].relative()
        row["passed"] = False
        if "error" in row:
            continue
        row["corf"] = ours[name].relative()
        limit = 1e-4 if arguments.allow_winograd else 2 * row["onnxruntime"]
        row["passed"] = row["corf"] <= limit and row["top1"]
    return list(rows.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--corf", type=pathlib.Path, default=REPOSITORY / "build" / "corf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=1, metavar="N",
                        help="random inputs over which errors are taken together (few outputs "
                             "need many)")
    parser.add_argument("--shape", action="append", type=parse_shape, default=[],
                        metavar="NAME=1x3x224x224", help="for symbolic dimensions")
    parser.add_argument("--input", action="append", type=lambda text: text.rsplit("=", 1),
                        default=[], metavar="NAME=FILE.npy", help="instead of a random input")
    parser.add_argument("--allow-winograd", action="store_true")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results too")
    arguments = parser.parse_args()

    report = {}
    print(f"{'model':24}{'output':24}{'corf':>12}{'onnxruntime':>14}{'top-1':>8}")
    for model in arguments.models:
        # The models of backend test folders are all called model.onnx.
        title = model.parent.name if model.stem == "model" else model.stem
        report[title] = check_model(model, arguments)
        for row in report[title]:
            ours = f"{row['corf']:.2e}" if "corf" in row else "-"
            top1 = {True: "same", False: "differs"}.get(row.get("top1"), "-")
            print(f"{title:24}{row['output']:24}{ours:>12}{row['onnxruntime']:14.2e}"
                  f"{top1:>8}{'' if row['passed'] else '  FAILED'}", flush=True)
            if "error" in row:
                print(f"{title}: {row['error']}", file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(0 if all(row["passed"] for rows in report.values() for row in rows) else 1)


if __name__ == "__main__":
    main()
