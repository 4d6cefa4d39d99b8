"""Models tuned for Apache TVM, kept from one measurement to the next."""

import hashlib
import pathlib
import shutil
import subprocess

from .engine import EngineError, last_line

TUNING = pathlib.Path(__file__).resolve().with_name("tvm_tuning.py")


def tuned_model(model, inputs, inputs_path, arguments):
    """A copy of the model with its tuning records beside it; tuned where there are none yet."""
    if not arguments.tvm_python.exists():
        raise EngineError("not installed; run scripts/setup_peers --tvm")
    shapes = {name: array.shape for name, array in inputs.items()}
    digest = hashlib.sha256(pathlib.Path(model).read_bytes())
    digest.update(f"{shapes} {arguments.threads} {arguments.tvm_trials}".encode())
    name = f"{pathlib.Path(model).stem}-{digest.hexdigest()[:12]}"
    folder = arguments.tvm_dir / name
    if not folder.exists():
        # Only a model that is tuned to the end has a folder of this name.
        partial = folder.with_name(f"{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        shutil.copyfile(model, partial / "model.onnx")
        _tune([arguments.tvm_python, TUNING, partial / "model.onnx", inputs_path,
               arguments.threads, arguments.tvm_trials])
        partial.rename(folder)
    return folder / "model.onnx"


def _tune(command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            errors="replace", check=False)
    if result.returncode != 0:
        raise EngineError(f"tuning failed: {last_line(result.stderr)}")
