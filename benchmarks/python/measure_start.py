"""How long a process waits for a model: loading, compiling and the first run, in the first process
and in the second, which finds what the first has compiled.

Usage: PYTHONPATH=build/python measure_start.py MODEL...

Models need fixed shapes. Prints milliseconds, and those of ONNX Runtime and OpenVINO where they are
installed (session creation and first run), with the megabytes that are resident then; corf's second
process has its weights in the page cache, which other processes share: those of its own stand behind
a plus. NumPy is imported before the clock starts. Medians of 5 processes.
"""

import importlib.util
import pathlib
import statistics
import subprocess
import sys
import tempfile

PROCESSES = 5
PROGRAM = """
import sys, time
import numpy
engine, model, folder = sys.argv[1:]
start = time.perf_counter()
if engine == "corf":
    import corf
elif engine == "onnxruntime":
    import onnxruntime
else:
    import openvino
imported = time.perf_counter()
types = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64}
if engine == "openvino":
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    compiled.create_infer_request().infer(
        {i.any_name: numpy.zeros(tuple(i.shape), i.element_type.to_dtype()) for i in compiled.inputs})
else:
    if engine == "corf":
        options = corf.SessionOptions()
        options.add_session_config_entry("corf.executable_cache", folder)
        session = corf.InferenceSession(model, options)
    else:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    session.run(None, {i.name: numpy.zeros(i.shape, types[i.type]) for i in session.get_inputs()})
end = time.perf_counter()
memory = dict(line.split(":") for line in open("/proc/self/status"))
kb = [int(memory[key].split()[0]) for key in ("VmRSS", "RssAnon")]
print((imported - start) * 1e3, (end - imported) * 1e3, (kb[0] - kb[1]) / 1e3, kb[1] / 1e3)
"""
PEERS = ["onnxruntime", "openvino"]


def start(engine, model, folder):
    """Milliseconds of importing the engine, and of all that follows; megabytes of files and of memory
    of the process's own."""
    output = subprocess.run([sys.executable, "-c", PROGRAM, engine, model, folder], check=True,
                            capture_output=True, text=True).stdout
    return [float(word) for word in output.split()]


def median(engine, model, folder):
    times = [start(engine, model, folder) for _ in range(PROCESSES)]
    return tuple(statistics.median(column) for column in zip(*times))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    peers = [peer for peer in PEERS if importlib.util.find_spec(peer) is not None]
    print("| model | first ms | second ms | import ms | MB |"
          + "".join(f" {peer} ms | import ms | MB |" for peer in peers))
    print("|---" * (5 + 3 * len(peers)) + "|", flush=True)
    for model in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            start("corf", model, "")  # the machine is measured, files are in the page cache
            first = start("corf", model, folder + "/executables")[1]
            imported, second, files, own = median("corf", model, folder + "/executables")
        row = [pathlib.Path(model).stem, *(f"{ms:.0f}" for ms in (first, second, imported)),
               f"{files:.0f} + {own:.0f}"]
        for peer in peers:
            imported, session, files, own = median(peer, model, "")
            row += [f"{session:.0f}", f"{imported:.0f}", f"{files + own:.0f}"]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
