"""Quantises models with ONNX Runtime's tool: QDQ or QOperator form, weights in i8 by channel.

Calibration draws its inputs with a fixed seed, as the zoo draws its weights: the numbers mean
nothing, but every engine has the same to do. Run by build/venv-peers/bin/python
(scripts/setup_peers).
"""

import argparse
import pathlib
import tempfile

import numpy as np
import onnx
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                      quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process

SEED = 7
FORMS = {"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}
TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}


class SeededInputs(CalibrationDataReader):
    """A few inputs of the model: normal numbers, or small integers where it takes those."""

    def __init__(self, model, count):
        random = np.random.default_rng(SEED)
        graph = onnx.load(model, load_external_data=False).graph
        self.batches = iter([{value.name: self.draw(random, value) for value in graph.input}
                             for _ in range(count)])

    @staticmethod
    def draw(random, value):
        tensor = value.type.tensor_type
        shape = [dim.dim_value or 1 for dim in tensor.shape.dim]
        if tensor.elem_type == onnx.TensorProto.FLOAT:
            return random.standard_normal(shape).astype(np.float32)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        return random.integers(0, 2, shape).astype(dtype)

    def get_next(self):
        return next(self.batches, None)


def quantize(model, out, form, activations, count):
    """Writes the model `out`, of activations in u8 or s8."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        quantize_static(str(prepared), str(out), SeededInputs(prepared, count), per_channel=True,
                        quant_format=FORMS[form], activation_type=TYPES[activations],
                        weight_type=QuantType.QInt8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--form", choices=FORMS, default="qdq")
    parser.add_argument("--activations", choices=TYPES, default="u8")
    parser.add_argument("--count", type=int, default=4, metavar="INPUTS",
                        help="drawn for calibration (%(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for model in arguments.models:
        out = arguments.out / model.name
        quantize(model, out, arguments.form, arguments.activations, arguments.count)
        print(out)


if __name__ == "__main__":
    main()
