"""Models as ncnn reads them, converted from ONNX by pnnx."""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile

CONVERTER = pathlib.Path(sys.executable).with_name("pnnx")
CONVERTER_ARGUMENTS = ["fp16=0"]
# Dimensions given to pnnx are its inputs' element types too.
SUFFIXES = {"float32": "f32", "int64": "i64", "int32": "i32"}


class ConversionError(Exception):
    """pnnx does not take the model."""


def ncnn_param(model, inputs, folder):
    """Path of the .param file, its .bin beside it; both stay in `folder` for the next time."""
    digest = hashlib.sha256(pathlib.Path(model).read_bytes())
    arguments = CONVERTER_ARGUMENTS + [_input_shapes(inputs)]
    digest.update(" ".join(arguments).encode())
    param = pathlib.Path(folder) / f"{pathlib.Path(model).stem}-{digest.hexdigest()[:12]}.param"
    if not (param.exists() and param.with_suffix(".bin").exists()):
        param.parent.mkdir(parents=True, exist_ok=True)
        _convert(model, arguments, param)
    return param


def _input_shapes(inputs):
    """pnnx's inputshape argument: inputshape=[1,3,224,224]f32,..."""
    shapes = [f"[{','.join(map(str, array.shape))}]{SUFFIXES.get(array.dtype.name, 'f32')}"
              for array in inputs.values()]
    return "inputshape=" + ",".join(shapes)


def _convert(model, arguments, param):
    # pnnx writes nine files beside its input, and exits with 0 for some failures.
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "model.onnx")
        shutil.copyfile(model, copy)
        try:
            result = subprocess.run([str(CONVERTER), str(copy), *arguments], cwd=folder,
                                    capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise ConversionError(f"{error}; run scripts/setup_peers") from error
        converted = [copy.with_name(f"model.ncnn.{part}") for part in ("param", "bin")]
        if result.returncode != 0 or not all(path.exists() for path in converted):
            said = (result.stdout + result.stderr).strip().splitlines()
            raise ConversionError(f"pnnx: exit {result.returncode}: {said[-1] if said else ''}")
        for source, suffix in zip(reversed(converted), (".bin", ".param")):
            shutil.copyfile(source, param.with_suffix(suffix))
