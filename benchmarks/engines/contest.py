"""Engines beside each other on one model, float32, NCHW in and out.

Every engine has a process of its own. They take turns, in another order each round, and all but
the one whose turn it is are stopped, so that no idle worker thread takes time from another. A turn
during which the machine was slow is taken again (turns.py). What is reported is the median over the
rounds of each turn's median. Outputs are compared with corf's.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx

from .engine import Engine, EngineError, last_line
from .inputs import make_inputs
from .ncnn_files import ConversionError, ncnn_param
from .turns import summary, take_turns
from .tvm_records import tuned_model

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PLANS = {"corf": "auto", "corf-unfused": "unfused", "corf-bf16": "auto"}
USUAL_PEERS = ["onnxruntime", "openvino", "ncnn"]
PEERS = [*USUAL_PEERS, "tvm"]  # TVM is tuned for minutes a model: only where it is asked for
LARGEST_DIFFERENCE = 1e-3  # relative L2; half precision somewhere in an engine exceeds it


def add_arguments(parser, engines):
    """Options of every contest; `engines` are those measured by default."""
    parser.add_argument("--corf", type=pathlib.Path, default=REPOSITORY / "build" / "corf")
    parser.add_argument("--engines", nargs="+", default=engines, choices=[*PLANS, *PEERS])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", choices=["sse2", "avx2", "avx2vnni", "avx512", "avx512vnni",
                                             "avx512bf16", "amx"],
                        help="of corf's code; the peers choose for themselves")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--min-time", type=float, default=1.0, metavar="SECONDS",
                        help="length of a turn (%(default)s)")
    parser.add_argument("--retakes", type=int, default=4, metavar="TIMES",
                        help="how often a turn is taken again while the machine is slow "
                        "(%(default)s)")
    parser.add_argument("--ncnn-dir", type=pathlib.Path, default=REPOSITORY / "build" / "ncnn",
                        metavar="DIR", help="where converted models are kept (%(default)s)")
    parser.add_argument("--tvm-python", type=pathlib.Path, metavar="FILE",
                        default=REPOSITORY / "build" / "venv-tvm" / "bin" / "python",
                        help="the Python that has TVM (%(default)s)")
    parser.add_argument("--tvm-dir", type=pathlib.Path, default=REPOSITORY / "build" / "tvm",
                        metavar="DIR", help="where tuned models are kept (%(default)s)")
    parser.add_argument("--tvm-trials", type=int, default=64, metavar="TRIALS",
                        help="schedules that TVM measures for each task (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results too")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--from", dest="files", type=pathlib.Path, nargs="+", metavar="FILE",
                        help="print what --json wrote, of several runs together; measure nothing")


def settings(arguments):
    """How it was measured, for the report."""
    return {"threads": arguments.threads, "isa": arguments.isa, "rounds": arguments.rounds,
            "min_time_s": arguments.min_time, "retakes": arguments.retakes}


def measure_model(model, arguments, shapes, pace, inputs=None):
    """{engine: {"median_ms", "rounds_ms", "min_ms", "difference", "agrees", ...} or {"error"}}.

    difference: relative L2 distance of the outputs from corf's, None where sizes differ;
    output_differences: of each output. pace: of the machine, the same for all models. inputs: as of
    make_inputs, which makes them if there are none.
    """
    inputs = make_inputs(model, shapes) if inputs is None else inputs
    engines, outputs, results = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in arguments.engines:
                try:
                    engines[name], outputs[name] = start(name, model, inputs, arguments,
                                                         pathlib.Path(folder))
                except (EngineError, ConversionError) as error:
                    results[name] = {"error": str(error)}
            turns = take_turns(engines, arguments.rounds, arguments.min_time, pace,
                               arguments.retakes)
            for name, engine in engines.items():
                if isinstance(turns[name], str):
                    results[name] = {"error": turns[name]}
                    continue
                expected = outputs.get("corf", outputs[name])
                off = difference(outputs[name], expected)
                results[name] = {**summary(turns[name]), **engine.about, "difference": off,
                                 "output_differences": [difference([one], [other]) for one, other
                                                        in zip(outputs[name], expected)],
                                 "agrees": off is not None and off <= LARGEST_DIFFERENCE}
        finally:
            for engine in engines.values():
                engine.close()
    return results


def start(name, model, inputs, arguments, folder):
    """The engine with the model loaded, and its outputs in the model's order."""
    if name in PLANS:
        for i, array in enumerate(inputs.values()):
            np.save(folder / f"{i}.npy", array)
        options = corf_options(arguments, inputs, PLANS[name])
        options += ["--precision", "bf16"] if name == "corf-bf16" else []
        for i, input_name in enumerate(inputs):
            options += ["--input", f"{input_name}={folder / str(i)}.npy"]
        outputs = corf_outputs(arguments.corf, model, options, folder / name)
        return Engine([str(arguments.corf), "bench", str(model), "--serve", *options]), outputs
    inputs_path, outputs_path = folder / "inputs.npz", folder / f"{name}.npz"
    np.savez(inputs_path, **inputs)
    python = sys.executable
    if name == "ncnn":
        model = ncnn_param(model, inputs, arguments.ncnn_dir)
    elif name == "tvm":
        model = tuned_model(model, inputs, inputs_path, arguments)
        python = arguments.tvm_python
    engine = Engine([str(python), str(HERE / "worker.py"), name, str(model), str(inputs_path),
                     str(outputs_path), str(arguments.threads)])
    return engine, list(np.load(outputs_path).values())


def corf_options(arguments, inputs, plan):
    options = ["--threads", str(arguments.threads), "--plan", plan]
    options += ["--isa", arguments.isa] if arguments.isa else []
    for name, array in inputs.items():
        options += ["--shape", f"{name}={'x'.join(map(str, array.shape)) or 'scalar'}"]
    return options


def run_corf(command):
    """What the command printed."""
    try:
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                                check=False)
    except OSError as error:
        raise EngineError(str(error)) from error
    if result.returncode != 0:
        raise EngineError(last_line(result.stderr))
    return result.stdout


def corf_outputs(corf, model, options, folder):
    run_corf([corf, "run", model, *options, "--output-dir", folder])
    names = [output.name for output in onnx.load(model, load_external_data=False).graph.output]
    # A file is named after its output; a name may hold what no file name can.
    return [np.load(folder / f"{name.replace('/', '_')}.npy") for name in names]


def difference(actual, expected):
    """Relative L2 distance over all outputs; None where they are not of the same sizes."""
    if [array.size for array in actual] != [array.size for array in expected]:
        return None
    error = norm = 0.0
    for a, e in zip(actual, expected):
        # ncnn's have no batch axis.
        a, e = a.ravel().astype(np.float64), e.ravel().astype(np.float64)
        error += float(np.sum((a - e) ** 2))
        norm += float(np.sum(e ** 2))
    return float(np.sqrt(error / max(norm, np.finfo(np.float64).tiny)))


def speedup(results, other):
    """How many times as fast as `other` corf is; None where one of them did not compute it."""
    both = [results.get(name, {}) for name in (other, "corf")]
    if not all(result.get("agrees") for result in both):
        return None
    return both[0]["median_ms"] / both[1]["median_ms"]


def best_peer(results):
    """The fastest peer's name, or None."""
    peers = [name for name in PEERS if results.get(name, {}).get("agrees")]
    return min(peers, key=lambda name: results[name]["median_ms"], default=None)


def complaints(title, results):
    """One line for each engine that failed or computed something else."""
    lines = []
    for name, result in results.items():
        if "error" in result:
            lines.append(f"{title}: {name}: {result['error']}")
        elif result["difference"] is None:
            lines.append(f"{title}: {name}: outputs of other sizes than corf's")
        elif not result["agrees"]:
            lines.append(f"{title}: {name}: outputs differ from corf's by "
                         f"{result['difference']:.1e} (relative L2); left out of the ratios")
    return lines
