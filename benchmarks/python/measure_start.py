"""How long a process waits for a model: loading, compiling and the first run, in the first process
and in the second, which finds what the first has compiled.

Usage: PYTHONPATH=build/python measure_start.py MODEL...

Models need fixed shapes. Prints milliseconds, and those of ONNX Runtime where it is installed
(session creation and first run). NumPy is imported before the clock starts. Medians of 5 processes.
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
start = time.perf_counter()
if sys.argv[1] == "corf":
    import corf as engine
    options = engine.SessionOptions()
    options.add_session_config_entry("corf.executable_cache", sys.argv[3])
else:
    import onnxruntime as engine
    options = engine.SessionOptions()
imported = time.perf_counter()
session = engine.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
types = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64}
session.run(None, {i.name: numpy.zeros(i.shape, types[i.type]) for i in session.get_inputs()})
print((imported - start) * 1e3, (time.perf_counter() - imported) * 1e3)
"""


def start(engine, model, folder):
    """Milliseconds of importing the engine, and of all that follows."""
    output = subprocess.run([sys.executable, "-c", PROGRAM, engine, model, folder], check=True,
                            capture_output=True, text=True).stdout
    return [float(word) for word in output.split()]


def median(engine, model, folder):
    times = [start(engine, model, folder) for _ in range(PROCESSES)]
    return tuple(statistics.median(column) for column in zip(*times))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    has_peer = importlib.util.find_spec("onnxruntime") is not None
    print(f"{'model (ms)':<24} {'first':>8} {'second':>8} {'import':>8}"
          f"{'  onnxruntime   import' if has_peer else ''}")
    for model in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            start("corf", model, "")  # the machine is measured, files are in the page cache
            _, first = start("corf", model, folder + "/executables")
            imported, second = median("corf", model, folder + "/executables")
        line = f"{pathlib.Path(model).stem:<24} {first:8.0f} {second:8.0f} {imported:8.0f}"
        if has_peer:
            imported, peer = median("onnxruntime", model, "")
            line += f" {peer:12.0f} {imported:8.0f}"
        print(line)


if __name__ == "__main__":
    main()
