"""Measures whole models: corf beside ONNX Runtime, OpenVINO, ncnn and, if asked, TVM.

How: engines/contest.py. Run by build/venv-peers/bin/python (scripts/setup_peers). Without MODEL,
measures the zoo; a folder stands for the models in it.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1]
if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))

from engines.contest import (PEERS, REPOSITORY, USUAL_PEERS, add_arguments,  # noqa: E402
                             best_peer, complaints, measure_model, settings, speedup)
from engines.inputs import parse_shape  # noqa: E402
from engines.pace import Loops, Pace  # noqa: E402
from engines.table import Table, milliseconds, number  # noqa: E402
from engines.turns import steadiness, steadiness_line  # noqa: E402


def against(engines):
    """The engines that corf is compared with."""
    return [name for name in engines if name != "corf"] if "corf" in engines else []


def print_row(table, name, results, engines):
    others = against(engines)
    cells = [name] + [milliseconds(results.get(engine, {})) for engine in engines]
    cells += [number(speedup(results, other)) for other in others]
    if set(others) & set(PEERS):
        peer = best_peer(results)
        cells.append(number(speedup(results, peer) if peer else None))
    table.row(cells)
    for line in complaints(name, results):
        print(line, file=sys.stderr)


def make_table(engines, markdown):
    others = against(engines)
    titles = ["model (ms)", *engines]
    titles += [f"vs {other}" for other in others]
    return Table(titles + (["vs best"] if set(others) & set(PEERS) else []), markdown)


def speedups(models, engines):
    """{engine: {"geomean", "models"}}: how many times as fast as the engine corf is."""
    columns = {other: [speedup(results, other) for results in models.values()]
               for other in against(engines)}
    best = [(results, best_peer(results)) for results in models.values()]
    columns["best peer"] = [speedup(results, peer) for results, peer in best if peer]
    means = {}
    for name, ratios in columns.items():
        ratios = [ratio for ratio in ratios if ratio]
        if ratios:
            means[name] = {"geomean": statistics.geometric_mean(ratios), "models": len(ratios)}
    return means


def zoo_models(folder):
    """Paths of the zoo's models, written first where they are missing."""
    subprocess.run([sys.executable, "-m", "zoo", "--out", str(folder)], check=True,
                   cwd=BENCHMARKS)
    return model_files([folder])


def model_files(paths):
    """The paths, with the models in them in place of folders."""
    return [file for path in paths
            for file in (sorted(path.glob("*.onnx")) if path.is_dir() else [path])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--zoo", type=pathlib.Path, default=REPOSITORY / "build" / "zoo",
                        metavar="DIR", help="where the zoo is, or is written (%(default)s)")
    parser.add_argument("--shape", action="append", type=parse_shape, default=[],
                        metavar="NAME=1x3x224x224", help="for symbolic dimensions")
    add_arguments(parser, ["corf", *USUAL_PEERS])
    arguments = parser.parse_args()

    report = {**settings(arguments), "models": {}}
    models, engines = report["models"], arguments.engines
    table = make_table(engines, arguments.markdown)
    for file in arguments.files or []:
        stored = json.loads(file.read_text())
        report.update({name: stored.get(name) for name in settings(arguments)})
        models.update(stored["models"])
    if arguments.files:
        for name, results in sorted(models.items()):
            print_row(table, name, results, engines)
    else:
        paths = (model_files(arguments.models) if arguments.models
                 else zoo_models(arguments.zoo))
        with Pace(Loops(arguments.threads)) as pace:
            for path in paths:
                models[path.stem] = measure_model(path, arguments, dict(arguments.shape), pace)
                print_row(table, path.stem, models[path.stem], engines)
    report.update(speedup=speedups(models, engines), turns=steadiness(models))
    print()
    for name, result in report["speedup"].items():
        print(f"corf is {result['geomean']:.2f} times as fast as {name} "
              f"(geometric mean of {result['models']} models)")
    print(steadiness_line(report["turns"]))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
