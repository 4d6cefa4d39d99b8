"""Measures corf beside ONNX Runtime and OpenVINO, float32, NCHW in and out.

Every engine has a process of its own. They take turns, in another order each round, and all but
the one whose turn it is are stopped, so that no idle worker thread takes time from another. What
is reported is the median over the rounds of each turn's median.

Run by build/venv-peers/bin/python (scripts/setup_peers). Without MODEL, measures the zoo.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from inputs import make_inputs, parse_shape

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PEERS = ["onnxruntime", "openvino"]


class EngineError(Exception):
    """An engine that cannot load or run the model; the message is its last line."""


class Peer:
    """An engine of engine.py, stopped except during its turns."""

    def __init__(self, engine, model, inputs_path, threads):
        command = [sys.executable, str(HERE / "engine.py"), engine, str(model), str(inputs_path),
                   str(threads)]
        self.errors = tempfile.TemporaryFile()
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=self.errors, text=True)
        try:
            self.about = self._answer()
        except EngineError:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def turn(self, seconds):
        self._signal(signal.SIGCONT)
        print(seconds, file=self.child.stdin, flush=True)
        answer = self._answer()
        self._signal(signal.SIGSTOP)
        return answer

    def close(self):
        self.child.kill()
        self.child.communicate()
        self.errors.close()

    def _answer(self):
        line = self.child.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise EngineError(last_line(self.errors.read().decode(errors="replace")))
        return json.loads(line)

    def _signal(self, number):
        if self.child.poll() is None:
            os.kill(self.child.pid, number)


class Corf:
    """`corf bench`, started anew for each turn."""

    def __init__(self, corf, model, shapes, threads):
        self.command = [str(corf), "bench", str(model), "--json", "--threads", str(threads)]
        for name, dims in shapes.items():
            self.command += ["--shape", f"{name}={'x'.join(map(str, dims))}"]
        first = self._run(0.0)  # finds out early whether the model compiles
        self.about = {"load_ms": first.get("compile_ms"), "plan_hash": first.get("plan_hash")}

    def turn(self, seconds):
        return self._run(seconds)

    def close(self):
        pass

    def _run(self, seconds):
        try:
            result = subprocess.run(self.command + ["--min-time", str(seconds)],
                                    capture_output=True, text=True, check=False)
        except OSError as error:
            raise EngineError(str(error)) from error
        if result.returncode != 0:
            raise EngineError(last_line(result.stderr))
        return json.loads(result.stdout)


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "ended without a word"


def measure_model(model, arguments):
    """{engine: {"median_ms", "min_ms", "rounds_ms", "load_ms", ...} or {"error"}}."""
    shapes = dict(arguments.shape)
    with tempfile.TemporaryDirectory() as folder:
        inputs_path = pathlib.Path(folder) / "inputs.npz"
        np.savez(inputs_path, **make_inputs(model, shapes))
        engines, results = {}, {}
        try:
            for name in arguments.engines:
                try:
                    engines[name] = (
                        Corf(arguments.corf, model, shapes, arguments.threads) if name == "corf"
                        else Peer(name, model, inputs_path, arguments.threads))
                except EngineError as error:
                    results[name] = {"error": str(error)}
            turns = take_turns(engines, arguments.rounds, arguments.min_time)
            for name, engine in engines.items():
                if not isinstance(turns[name], list):
                    results[name] = {"error": turns[name]}
                    continue
                rounds = [turn["median_ms"] for turn in turns[name]]
                results[name] = {"median_ms": statistics.median(rounds), "rounds_ms": rounds,
                                 "min_ms": min(turn["min_ms"] for turn in turns[name]),
                                 **engine.about}
        finally:
            for engine in engines.values():
                engine.close()
    return results


def take_turns(engines, rounds, seconds):
    """{engine: its turns' results}, or a message in place of them where the engine failed."""
    turns = {name: [] for name in engines}
    order = list(engines)
    for _ in range(rounds):
        for name in order:
            if isinstance(turns[name], list):
                try:
                    turns[name].append(engines[name].turn(seconds))
                except EngineError as error:
                    turns[name] = str(error)
        order = order[1:] + order[:1]
    return turns


def speedups(models):
    """{peer: {"geomean", "models"}}: how many times faster than the peer corf is."""
    summary = {}
    for peer in PEERS:
        ratios = [results[peer]["median_ms"] / results["corf"]["median_ms"]
                  for results in models.values()
                  if all("median_ms" in results.get(name, {}) for name in ("corf", peer))]
        if ratios:
            summary[peer] = {"geomean": statistics.geometric_mean(ratios), "models": len(ratios)}
    return summary


def print_row(name, results, engines):
    cells = []
    for engine in engines:
        result = results.get(engine, {})
        cells.append(f"{result['median_ms']:16.3f}" if "median_ms" in result else f"{'-':>16}")
    for peer in PEERS:
        both = [results.get(engine, {}).get("median_ms") for engine in (peer, "corf")]
        if peer in engines and "corf" in engines:
            cells.append(f"{both[0] / both[1]:16.2f}" if all(both) else f"{'-':>16}")
    print(f"{name:28}" + "".join(cells), flush=True)
    for engine, result in results.items():
        if "error" in result:
            print(f"{name}: {engine}: {result['error']}", file=sys.stderr)


def print_header(engines):
    columns = [f"{engine} ms" for engine in engines]
    columns += [f"vs {peer}" for peer in PEERS if peer in engines and "corf" in engines]
    print(f"{'model':28}" + "".join(f"{column:>16}" for column in columns))


def zoo_models(folder):
    """Paths of the zoo's models, written first where they are missing."""
    subprocess.run([sys.executable, "-m", "zoo", "--out", str(folder)], check=True,
                   cwd=HERE.parent)
    return sorted(folder.glob("*.onnx"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--zoo", type=pathlib.Path, default=REPOSITORY / "build" / "zoo",
                        metavar="DIR", help="where the zoo is, or is written (%(default)s)")
    parser.add_argument("--corf", type=pathlib.Path, default=REPOSITORY / "build" / "corf")
    parser.add_argument("--engines", nargs="+", default=["corf", *PEERS],
                        choices=["corf", *PEERS])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--min-time", type=float, default=1.0, metavar="SECONDS",
                        help="length of a turn (%(default)s)")
    parser.add_argument("--shape", action="append", type=parse_shape, default=[],
                        metavar="NAME=1x3x224x224", help="for symbolic dimensions")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results too")
    arguments = parser.parse_args()

    models = {}
    paths = arguments.models or zoo_models(arguments.zoo)
    print_header(arguments.engines)
    for path in paths:
        models[path.stem] = measure_model(path, arguments)
        print_row(path.stem, models[path.stem], arguments.engines)
    summary = speedups(models)
    for peer, result in summary.items():
        print(f"corf is {result['geomean']:.2f} times as fast as {peer} "
              f"(geometric mean of {result['models']} models)")
    if arguments.json:
        report = {"threads": arguments.threads, "rounds": arguments.rounds,
                  "min_time_s": arguments.min_time, "models": models, "speedup": summary}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
