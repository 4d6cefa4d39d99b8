"""Measures quantised models: corf, beside its own float32 and bf16, ONNX Runtime and OpenVINO.

How: engines/contest.py. Run by build/venv-peers/bin/python (scripts/setup_peers). Without MODEL,
measures six networks of the zoo; each is quantised first (quantize.py) where that was not done.
"""

import argparse
import json
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
BENCHMARKS = HERE.parent
for folder in (str(BENCHMARKS), str(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from engines.contest import REPOSITORY, add_arguments, measure_model, settings  # noqa: E402
from engines.pace import Loops, Pace  # noqa: E402
from engines.table import Table, milliseconds, number  # noqa: E402
from quantize import quantize  # noqa: E402

MODELS = ["mobilenet_v2", "mobilenet_v3_large", "resnet18", "squeezenet1_1", "vit_tiny",
          "bert_base"]
PEERS = ["onnxruntime", "openvino"]
# Quotients near a tie are rounded to either side, and deep networks carry that on.
LARGEST_DIFFERENCE = 0.25


def quantized(model, arguments):
    """The path of the model in QDQ form."""
    out = arguments.quantized / f"{model.stem}_{arguments.activations}.onnx"
    if not out.exists():
        arguments.quantized.mkdir(parents=True, exist_ok=True)
        quantize(model, out, "qdq", arguments.activations, count=4)
    return out


def measure(model, arguments, pace):
    """{"f32", "bf16": corf's on the float model, engine: its result on the quantised one}."""
    engines, arguments.engines = arguments.engines, ["corf", "corf-bf16"]
    plain = measure_model(model, arguments, {}, pace)
    arguments.engines = engines
    return {"f32": plain["corf"], "bf16": plain["corf-bf16"],
            **measure_model(quantized(model, arguments), arguments, {}, pace)}


def ratio(results, other):
    """How many times as fast as the other corf is on the quantised model."""
    times = [results.get(name, {}).get("median_ms") for name in (other, "corf")]
    return times[0] / times[1] if all(times) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=pathlib.Path, metavar="MODEL",
                        help="in float32")
    parser.add_argument("--zoo", type=pathlib.Path, default=REPOSITORY / "build" / "zoo")
    parser.add_argument("--quantized", type=pathlib.Path, metavar="DIR",
                        default=REPOSITORY / "build" / "quantized",
                        help="where quantised models are kept (%(default)s)")
    parser.add_argument("--activations", choices=["u8", "s8"], default="u8")
    add_arguments(parser, ["corf", "corf-unfused", *PEERS])
    arguments = parser.parse_args()
    paths = arguments.models or [arguments.zoo / f"{name}.onnx" for name in MODELS]

    others = ["f32", *[name for name in arguments.engines if name != "corf"]]
    table = Table(["model (ms)", "f32", "bf16", *arguments.engines, *[f"vs {name}" for name in others]],
                  arguments.markdown)
    report = {**settings(arguments), "activations": arguments.activations, "models": {}}
    with Pace(Loops(arguments.threads)) as pace:
        for path in paths:
            results = report["models"][path.stem] = measure(path, arguments, pace)
            table.row([path.stem, *[milliseconds({**results.get(name, {}), "agrees": True})
                                    for name in ["f32", "bf16", *arguments.engines]],
                       *[number(ratio(results, name)) for name in others]])
            for name, result in results.items():
                off = result.get("difference")
                if "error" in result or (off is not None and off > LARGEST_DIFFERENCE):
                    print(f"{path.stem}: {name}: {result.get('error', f'differs by {off:.2g}')}",
                          file=sys.stderr)
    print()
    report["speedup"] = {}
    for name in others:
        ratios = [one for one in (ratio(results, name) for results in report["models"].values())
                  if one]
        if not ratios:
            continue
        report["speedup"][name] = statistics.geometric_mean(ratios)
        print(f"corf on bytes is {report['speedup'][name]:.2f} times as fast as {name} "
              f"(geometric mean of {len(ratios)} models)")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
