"""Compares each heavy stage of the unfused plan with what the machine allows it.

A stage's limit is min(FMA peak, arithmetic intensity x bandwidth), of the arithmetic that its kernel
executes and the bytes that it has to move, both measured by corf's calibration. Dense stages
(convolutions, matrix products) of at least 50 MFLOP and all depthwise convolutions are listed.
Run by build/venv/bin/python (scripts/setup_python). Without MODEL, goes through the zoo.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import onnx

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1]
if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))

from engines.table import Table, number  # noqa: E402

REPOSITORY = BENCHMARKS.parent
DENSE_FLOPS = 50e6
BARS = {"dense": 0.8, "depthwise": 0.6}


def depthwise_nodes(model):
    """Names of the convolutions with one input channel for each group, more than one group."""
    graph = onnx.load(model, load_external_data=False).graph
    channels = {weights.name: weights.dims[1] for weights in graph.initializer
                if len(weights.dims) > 2}
    names = set()
    for node in graph.node:
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        if node.op_type == "Conv" and group > 1 and channels.get(node.input[1]) == 1:
            names.add(node.name)
    return names


def profile(arguments, model):
    command = [str(arguments.corf), "bench", str(model), "--plan", "unfused", "--profile", "--json",
               "--threads", str(arguments.threads), "--min-time", str(arguments.min_time)]
    if arguments.isa:
        command += ["--isa", arguments.isa]
    for shape in arguments.shape:
        command += ["--shape", shape]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{model}: {done.stderr.strip()}")
    return json.loads(done.stdout)["profile"]


def stages(arguments, model):
    depthwise = depthwise_nodes(model)
    for stage in profile(arguments, model):
        # Winograd's products count as what they execute.
        flops = stage["executed_flops"]
        kind = "depthwise" if stage["label"].split(" +")[0] in depthwise else "dense"
        if stage["work_flops"] == 0 or (kind == "dense" and flops < DENSE_FLOPS):
            continue
        yield {"model": model.stem, "stage": stage["label"], "kind": kind, "mflop": flops / 1e6,
               "time_ms": stage["time_ms"], "gflops": flops / stage["time_ms"] / 1e6,
               "limit_gflops": flops / stage["limit_ms"] / 1e6,
               "fraction": stage["limit_ms"] / stage["time_ms"]}


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", metavar="MODEL", nargs="*", type=pathlib.Path)
    parser.add_argument("--zoo", type=pathlib.Path, default=REPOSITORY / "build" / "zoo")
    parser.add_argument("--corf", type=pathlib.Path, default=REPOSITORY / "build" / "corf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", choices=["sse2", "avx2", "avx2vnni", "avx512",
                                             "avx512vnni", "avx512bf16", "amx"])
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1x3x224x224")
    parser.add_argument("--min-time", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--below", action="store_true", help="list only stages below their bar")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args(argv)


def main(argv):
    arguments = parse(argv)
    models = arguments.models or sorted(arguments.zoo.glob("*.onnx"))
    if not models:
        print(f"no models in {arguments.zoo}: write them with benchmarks/zoo", file=sys.stderr)
        return 1
    table = Table(["model: stage", "kind", "MFLOP", "ms", "GFLOP/s", "limit GFLOP/s", "of limit"],
                  arguments.markdown)
    found = []
    for model in models:
        for stage in stages(arguments, model):
            found.append(stage)
            if arguments.below and stage["fraction"] >= BARS[stage["kind"]]:
                continue
            table.row([f"{stage['model']}: {stage['stage']}", stage["kind"], number(stage["mflop"]),
                       number(stage["time_ms"]), number(stage["gflops"]),
                       number(stage["limit_gflops"]), number(stage["fraction"])])
    print()
    for kind, bar in BARS.items():
        fractions = [stage["fraction"] for stage in found if stage["kind"] == kind]
        if not fractions:
            continue
        reached = sum(fraction >= bar for fraction in fractions)
        print(f"{kind}: {reached} of {len(fractions)} stages reach {bar:.0%} of their limit; "
              f"median {statistics.median(fractions):.0%}, least {min(fractions):.0%}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
