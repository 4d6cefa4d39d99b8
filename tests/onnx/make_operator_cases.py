"""Writes operator_cases.txt: small nodes, and what ONNX Runtime gives for them.

Run by a Python with onnx and onnxruntime (build/venv-peers, scripts/setup_peers); the tests read
the file, they do not need this program.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper

MICROSOFT = "com.microsoft"
NAMES = {np.dtype(key): name for key, name in (
    ("float32", "f32"), ("float64", "f64"), ("float16", "f16"), ("int64", "i64"), ("int32", "i32"),
    ("int8", "i8"), ("uint8", "u8"), ("bool", "bool"))}
HEADER = """\
# Nodes, and what ONNX Runtime gives for them; made by make_operator_cases.py.
#   OPERATOR OPSET | inputs | attributes | outputs | tolerance, of an output's largest element
# A tensor is TYPE[EXTENTxEXTENT...]{VALUES}, "=" in front of one that the model holds, "-" for none.
# A value begins with its type, as in operator_templates.txt.
"""


class Known:
    """An input that the model holds."""

    def __init__(self, value):
        self.value = np.asarray(value)


class Cases:
    """Lines of the file. Random numbers are short, so that they are exact in the text."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.lines = []

    def normal(self, *shape, dtype=np.float32, scale=1.0):
        return (np.round(self.random.standard_normal(shape) * scale * 64) / 64).astype(dtype)

    def integers(self, low, high, *shape, dtype=np.int64):
        return self.random.integers(low, high, shape).astype(dtype)

    def add(self, op, inputs, num_outputs=1, wanted=None, domain=MICROSOFT, opset=17, tolerance=1e-5,
            **attributes):
        """`wanted`: the outputs that are asked for, of num_outputs; all if it is None."""
        wanted = range(num_outputs) if wanted is None else wanted
        outputs = [f"y{i}" if i in wanted else "" for i in range(num_outputs)]
        arrays = {f"x{i}": value for i, value in enumerate(inputs) if value is not None}
        names = [f"x{i}" if value is not None else "" for i, value in enumerate(inputs)]
        node = helper.make_node(op, names, outputs, domain=domain, **attributes)
        fed = {name: value for name, value in arrays.items() if not isinstance(value, Known)}
        graph = helper.make_graph(
            [node], "case",
            [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype),
                                           value.shape) for name, value in fed.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs if name],
            [onnx.numpy_helper.from_array(value.value, name) for name, value in arrays.items()
             if isinstance(value, Known)])
        imports = [helper.make_opsetid("", opset)]
        if domain:
            imports.append(helper.make_opsetid(domain, 1))
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        results = iter(session.run(None, fed))
        self.lines.append(" | ".join([
            f"{domain + '.' if domain else ''}{op} {opset}",
            " ".join(map(tensor_text, inputs)),
            " ".join(f"{name}={value_text(value)}" for name, value in attributes.items()),
            " ".join(tensor_text(next(results)) if name else "-" for name in outputs),
            f"{tolerance:g}"]))


def tensor_text(value):
    if value is None:
        return "-"
    if isinstance(value, Known):
        return "=" + tensor_text(value.value)
    value = np.asarray(value)
    shape = "x".join(map(str, value.shape))
    numbers = ",".join(number_text(number) for number in value.ravel().tolist())
    return f"{NAMES[value.dtype]}[{shape}]{{{numbers}}}"


def number_text(number):
    return f"{number:.7g}" if isinstance(number, float) else str(int(number))


def value_text(value):
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, float):
        return f"f{value:.9g}"
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, onnx.TensorProto):
        return "t" + tensor_text(onnx.numpy_helper.to_array(value))
    letter = {str: "S", float: "F", int: "I"}[type(value[0])]
    return letter + ",".join(f"{entry:.9g}" if letter == "F" else str(entry) for entry in value)


def add_products(cases):
    a, b = cases.normal(2, 3, 4), cases.normal(2, 4, 5)
    cases.add("FusedMatMul", [a, b], alpha=0.5)
    cases.add("FusedMatMul", [a, cases.normal(5, 4)], transB=1)
    cases.add("FusedMatMul", [cases.normal(2, 4, 3), b], transA=1, alpha=2.0)
    # Batches second to last, as attention without a transpose has them.
    cases.add("FusedMatMul", [cases.normal(3, 2, 4), cases.normal(4, 2, 5)], transBatchA=1,
              transBatchB=1)
    cases.add("FusedMatMul", [cases.normal(3, 2, 2, 4), cases.normal(5, 2, 2, 4)], transBatchA=1,
              transBatchB=1, transB=1)
    a, b, c = cases.normal(3, 4), cases.normal(5, 4), cases.normal(5)
    for kind, parameters in (("Relu", {}), ("Tanh", {}), ("LeakyRelu", {"activation_alpha": 0.2}),
                             ("HardSigmoid", {"activation_alpha": 0.25, "activation_beta": 0.375}),
                             ("Sigmoid", {}), ("Elu", {"activation_alpha": 0.5})):
        cases.add("FusedGemm", [a, b, c], transB=1, alpha=0.5, beta=2.0, activation=kind,
                  **parameters)
    x, w, bias = cases.normal(1, 4, 5, 5), cases.normal(4, 4, 3, 3), cases.normal(4)
    pads = [1, 1, 1, 1]
    cases.add("FusedConv", [x, w, bias], activation="Relu", pads=pads)
    cases.add("FusedConv", [x, w], activation="Clip", activation_params=[-0.5, 1.5], pads=pads)
    cases.add("FusedConv", [x, w, bias], activation="LeakyRelu", activation_params=[0.25],
              strides=[2, 2])
    cases.add("FusedConv", [x, w, bias, cases.normal(1, 4, 5, 5)], activation="Relu", pads=pads)
    cases.add("FusedConv", [x, cases.normal(4, 1, 3, 3), bias], activation="HardSigmoid",
              activation_params=[0.25, 0.5], group=4, pads=pads)


def add_activations(cases):
    x, bias = cases.normal(2, 3, 8, scale=2.0), cases.normal(8)
    cases.add("BiasGelu", [x, bias])
    cases.add("Gelu", [x])
    cases.add("FastGelu", [x])
    cases.add("FastGelu", [x, bias])
    cases.add("QuickGelu", [x])
    cases.add("QuickGelu", [x], alpha=1.0)


def add_normalizations(cases):
    x, skip = cases.normal(2, 3, 8), cases.normal(2, 3, 8)
    gamma, beta, bias = cases.normal(8), cases.normal(8), cases.normal(8)
    cases.add("SkipLayerNormalization", [x, skip, gamma, beta], epsilon=1e-5)
    cases.add("SkipLayerNormalization", [x, skip, gamma])
    cases.add("SkipLayerNormalization", [x, skip, gamma, beta, bias], 4, [0, 3])
    cases.add("SkipLayerNormalization", [x, cases.normal(1, 3, 8), gamma, beta, bias])
    cases.add("SkipLayerNormalization", [x, cases.normal(3, 8), gamma, None, bias])
    cases.add("SkipSimplifiedLayerNormalization", [x, skip, gamma], 4, [0, 3], epsilon=1e-6)
    cases.add("SkipSimplifiedLayerNormalization", [x, skip, gamma, bias])
    # ONNX Runtime has both in the default domain.
    cases.add("SimplifiedLayerNormalization", [x, gamma], domain="", axis=-1, epsilon=1e-6)
    cases.add("LayerNormalization", [x, gamma, beta], domain="", opset=11, axis=-1)
    ids, segments = cases.integers(0, 6, 2, 4, dtype=np.int32), cases.integers(0, 2, 2, 4,
                                                                              dtype=np.int32)
    tables = [cases.normal(rows, 8) for rows in (6, 5, 2)]
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], np.int32)
    cases.add("EmbedLayerNormalization", [ids, segments, *tables, gamma, beta, mask], 3)
    cases.add("EmbedLayerNormalization", [ids, segments, *tables, gamma, beta], 2, epsilon=1e-5)
    cases.add("EmbedLayerNormalization", [ids, None, tables[0], tables[1], None, gamma, beta, None,
                                          np.array([[3, 2, 1, 0]], np.int32)], 2, [0])


def add_others(cases):
    x = cases.normal(2, 3, 4)
    cases.add("Trilu", [x, Known(np.int64(1))], upper=1)
    cases.add("Trilu", [x], upper=0)


def main():
    cases = Cases(27)
    for add in (add_products, add_activations, add_normalizations, add_others):
        add(cases)
    path = pathlib.Path(__file__).with_name("operator_cases.txt")
    path.write_text(HEADER + "\n".join(cases.lines) + "\n")
    print(f"{len(cases.lines)} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
