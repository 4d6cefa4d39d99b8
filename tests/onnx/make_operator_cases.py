"""Writes operator_cases.txt: small nodes, and what ONNX Runtime gives for them.

Run by a Python with onnx and onnxruntime (build/venv-peers, scripts/setup_peers); the tests read
the file, they do not need this program.

Longer than 500 lines because it lists cases of every operator, which share one row of random numbers.
"""

import math
import pathlib
import sys

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import helper

MICROSOFT = "com.microsoft"
LEARNING = "ai.onnx.ml"
NAMES = {np.dtype(key): name for key, name in (
    ("float32", "f32"), ("float64", "f64"), ("float16", "f16"), ("int64", "i64"), ("int32", "i32"),
    ("int8", "i8"), ("uint8", "u8"), ("uint16", "u16"), ("bool", "bool"))}
NAMES |= {np.dtype(ml_dtypes.int4): "i8", np.dtype(ml_dtypes.uint4): "u8"}
HEADER = """\
# Nodes, and what ONNX Runtime gives for them; made by make_operator_cases.py.
#   OPERATOR OPSET | inputs | attributes | outputs | tolerance, of an output's largest element
# A tensor is TYPE[EXTENTxEXTENT...]{VALUES}, "=" in front of one that the model holds, - for none.
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
        return (np.round(self.random.standard_normal(shape) * scale * 8) / 8).astype(dtype)

    def integers(self, low, high, *shape, dtype=np.int64):
        return self.random.integers(low, high, shape).astype(dtype)

    def add(self, op, inputs, num_outputs=1, wanted=None, domain=MICROSOFT, version=1,
            model_opset=17, tolerance=1e-5, **attributes):
        """`wanted`: the outputs that are asked for, of num_outputs; all if it is None."""
        wanted = range(num_outputs) if wanted is None else wanted
        # Labels that are strings need a name, though nobody asks for them.
        outputs = [f"y{i}" if i in wanted or domain == LEARNING else "" for i in range(num_outputs)]
        inputs = [value if value is None or isinstance(value, Known) else np.asarray(value)
                  for value in inputs]
        arrays = {f"x{i}": value for i, value in enumerate(inputs) if value is not None}
        names = [f"x{i}" if value is not None else "" for i, value in enumerate(inputs)]
        node = helper.make_node(op, names, outputs, domain=domain, **attributes)
        fed = {name: value for name, value in arrays.items() if not isinstance(value, Known)}
        graph = helper.make_graph(
            [node], "case",
            [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype),
                                           value.shape) for name, value in fed.items()],
            [onnx.ValueInfoProto(name=outputs[i]) for i in wanted],
            [initializer(value.value, name) for name, value in arrays.items()
             if isinstance(value, Known)])
        imports = [helper.make_opsetid("", model_opset)]
        if domain:
            imports.append(helper.make_opsetid(domain, version))
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        self.add_line(op, inputs, session.run(None, fed), num_outputs, wanted, domain, model_opset,
                      tolerance, attributes)

    def add_given(self, op, inputs, outputs, **attributes):
        """Of an operator that ONNX Runtime has for other devices only: `outputs` from its text."""
        count = len(outputs)
        self.add_line(op, inputs, outputs, count, range(count), MICROSOFT, 17, 1e-5, attributes)

    def add_line(self, op, inputs, results, num_outputs, wanted, domain, model_opset, tolerance,
                 attributes):
        results = iter(results)
        self.lines.append(" | ".join([
            f"{domain + '.' if domain else ''}{op} {model_opset}",
            " ".join(map(tensor_text, inputs)),
            " ".join(f"{name}={value_text(value)}" for name, value in attributes.items()),
            " ".join(tensor_text(next(results)) if i in wanted else "-"
                     for i in range(num_outputs)),
            f"{tolerance:g}"]))


def initializer(value, name):
    if value.dtype.name not in ("int4", "uint4"):
        return onnx.numpy_helper.from_array(value, name)
    kind = getattr(onnx.TensorProto, value.dtype.name.upper())
    return helper.make_tensor(name, kind, value.shape, value.astype(np.int64).ravel().tolist())


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
    cases.add("LayerNormalization", [x, gamma, beta], domain="", model_opset=11, axis=-1)
    ids, segments = cases.integers(0, 6, 2, 4, dtype=np.int32), cases.integers(0, 2, 2, 4,
                                                                              dtype=np.int32)
    tables = [cases.normal(rows, 8) for rows in (6, 5, 2)]
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], np.int32)
    cases.add("EmbedLayerNormalization", [ids, segments, *tables, gamma, beta, mask], 3)
    cases.add("EmbedLayerNormalization", [ids, segments, *tables, gamma, beta], 2, epsilon=1e-5)
    cases.add("EmbedLayerNormalization", [ids, None, tables[0], tables[1], None, gamma, beta, None,
                                          np.array([[3, 2, 1, 0]], np.int32)], 2, [0])


def add_attention(cases):
    x, w, b = cases.normal(2, 3, 8), cases.normal(8, 24, scale=0.5), cases.normal(24)
    cases.add("Attention", [x, w, b], num_heads=2)
    cases.add("Attention", [x, w, b], num_heads=2, unidirectional=1, scale=0.25)
    for mask in ([[1, 1, 0], [1, 0, 0]], [2, 3], [2, 3, 0, 1],
                 np.triu(np.ones((2, 3, 3))).transpose(0, 2, 1)):
        cases.add("Attention", [x, w, b, np.array(mask, np.int32)], num_heads=2)
    cases.add("Attention", [x, w, b, None, cases.normal(2, 2, 2, 4, 4)], 2, num_heads=2,
              unidirectional=1)
    cases.add("Attention", [x, w, b, None, None, cases.normal(1, 2, 3, 3)], num_heads=2)
    cases.add("Attention", [x, cases.normal(8, 20, scale=0.5), cases.normal(20)], num_heads=2,
              qkv_hidden_sizes=[8, 8, 4])
    q, k, v = cases.normal(2, 3, 8), cases.normal(2, 5, 8), cases.normal(2, 5, 8)
    cases.add("MultiHeadAttention", [q, k, v, b], num_heads=2)
    cases.add("MultiHeadAttention", [q, k, v, None, np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]],
                                                            np.int32)], num_heads=2)
    cases.add("MultiHeadAttention", [q, k, v, None, np.array([3, 5], np.int32),
                                     cases.normal(2, 1, 3, 5)], num_heads=2)
    cases.add("MultiHeadAttention", [q, cases.normal(2, 3, 8), cases.normal(2, 3, 8), b, None, None,
                                     cases.normal(2, 2, 2, 4), cases.normal(2, 2, 2, 4)], 3,
              num_heads=2, unidirectional=1)
    cases.add("MultiHeadAttention", [q, cases.normal(2, 2, 5, 4), cases.normal(2, 2, 5, 4)],
              num_heads=2)
    caches = rotations(2)
    cases.add("RotaryEmbedding", [x, np.array([3]), *caches], num_heads=2)
    cases.add("RotaryEmbedding", [x, cases.integers(0, 10, 2, 3), *caches], interleaved=1)
    cases.add("RotaryEmbedding", [cases.normal(2, 2, 3, 6), cases.integers(0, 10, 2, 3), *caches],
              num_heads=2, rotary_embedding_dim=4)


def rotations(pairs):
    """Cosines and sines of ten positions."""
    angles = np.arange(10)[:, None] * 0.5 ** np.arange(pairs)[None]
    return [np.round(function(angles) * 64).astype(np.float32) / 64
            for function in (np.cos, np.sin)]


def add_grouped(cases):
    """Two heads of queries share one of keys; a head has size 16."""
    def int32(value):
        return np.array(value, np.int32)

    def add(batch, rows, past, total, lengths, *more, capacity=None, packed=False, **attributes):
        qkv = [cases.normal(batch, rows, size) for size in (32, 16, 16)]
        if packed:
            qkv = [np.concatenate(qkv, axis=2), None, None]
        capacity = past if capacity is None else capacity
        pasts = [cases.normal(batch, 1, capacity, 16) if capacity else None for _ in range(2)]
        cases.add("GroupQueryAttention",
                  [*qkv, *pasts, int32(lengths), Known(int32(total)), *more], 3,
                  num_heads=2, kv_num_heads=1, **attributes)

    caches = rotations(8)
    add(2, 3, 0, 3, [2, 2])
    add(1, 3, 0, 3, [2], *caches, do_rotary=1, packed=True)
    add(1, 1, 4, 5, [4], *caches, do_rotary=1, scale=0.25)
    add(1, 2, 3, 5, [4], *caches, do_rotary=1, rotary_interleaved=1)
    add(2, 1, 4, 5, [4, 2], *caches, do_rotary=1)
    add(1, 1, 4, 5, [4], capacity=8)
    add(1, 4, 0, 4, [3], local_window_size=2, softcap=1.5)
    add(1, 1, 4, 5, [4], None, None, None, cases.normal(1, 2, 1, 5))
    add(1, 2, 0, 2, [1], None, None, None, None, cases.normal(2))
    add(1, 2, 0, 2, [1], smooth_softmax=1)


def add_quantized(cases):
    a, b = cases.integers(0, 256, 2, 3, 8, dtype=np.uint8), cases.integers(-128, 128, 8, 4,
                                                                          dtype=np.int8)
    scale, zero = np.float32(0.0625), np.uint8(117)
    scales, zeros = np.array([0.25, 0.5, 0.125, 1], np.float32), np.array([3, -5, 0, 7], np.int8)
    bias = cases.normal(4)
    cases.add("MatMulIntegerToFloat", [a, b, scale, np.float32(0.5), zero, np.int8(-3)])
    cases.add("MatMulIntegerToFloat", [a, b, scale, scales, zero, zeros, bias])
    cases.add("MatMulIntegerToFloat", [a, b, scale, scales])
    x = cases.normal(2, 3, 8)
    cases.add("DynamicQuantizeMatMul", [x, b, np.float32(0.0625), np.int8(-3), bias])
    cases.add("DynamicQuantizeMatMul", [x, b, scales, zeros])
    # ONNX Runtime rounds inputs and states to bytes: hence the tolerance.
    x = cases.normal(5, 2, 6)
    for directions, by_row in ((1, False), (2, True)):
        rows = 4 * 4
        shape = (directions, rows) if by_row else (directions,)
        factors = [np.full(shape, 1 / 256, np.float32),
                   np.zeros(shape, np.int8) if by_row else np.full(shape, 131, np.uint8)]
        weights = [cases.integers(-128, 128, directions, size, rows).astype(factors[1].dtype)
                   for size in (6, 4)]
        bias = cases.normal(directions, 2 * rows)
        cases.add("DynamicQuantizeLSTM",
                  [x, *map(Known, weights), bias, None, None, None, None,
                   *map(Known, factors), *map(Known, factors)], 3,
                  hidden_size=4, direction="bidirectional" if directions == 2 else "forward",
                  tolerance=3e-2)


def add_bytes(cases):
    """The last digit may be another one where a quotient is about halfway between two."""
    def real(value):
        return np.float32(value)

    last_digit = {"tolerance": 1 / 100}
    for dtype, zero in ((np.uint8, 128), (np.int8, -3)):
        low = 0 if dtype == np.uint8 else -128
        a, b = (cases.integers(low, low + 256, *shape, dtype=dtype)
                for shape in ((2, 3, 8), (3, 8)))
        zero, other = dtype(zero), dtype(7)
        x = [a, real(0.05), zero]
        y = [real(0.11), other]
        for op in ("QLinearAdd", "QLinearMul"):
            cases.add(op, [*x, b, real(0.07), other, real(0.31), zero], **last_digit)
        cases.add("QLinearLeakyRelu", [*x, *y], alpha=0.3, **last_digit)
        cases.add("QLinearSigmoid", [*x, real(1 / 255), dtype(low)], **last_digit)
        cases.add("QLinearGlobalAveragePool", [*x, *y], **last_digit)
        cases.add("QLinearSoftmax", [*x, real(1 / 256), dtype(low)], opset=13, axis=-1,
                  **last_digit)
    for dtype, low, high in ((np.int8, -128, 128), (np.uint16, 0, 1 << 16)):
        bytes_ = cases.integers(low, high, 2, 4, dtype=dtype)
        cases.add("DequantizeLinear", [bytes_, real(0.25), dtype(7)])
        cases.add("QuantizeLinear", [cases.normal(2, 4), real(0.034), dtype(7)], **last_digit)
    cases.add("QLinearConcat", [real(0.1), np.uint8(3), *[
        part for scale, zero in ((0.05, 128), (0.2, 100))
        for part in (cases.integers(0, 256, 2, 3, dtype=np.uint8), real(scale), np.uint8(zero))]],
              axis=1, **last_digit)
    x, scales = cases.normal(2, 40), Known(np.abs(cases.normal(3 * 3)) + real(0.125))
    for bits, block in ((4, 16), (8, 16)):
        weights = Known(cases.integers(0, 256, 3, 3, block * bits // 8, dtype=np.uint8))
        zeros = Known(cases.integers(0, 256, 3 * (2 if bits == 4 else 3), dtype=np.uint8))
        for inputs in ([x, weights, scales], [x, weights, scales, zeros]):
            cases.add("MatMulNBits", inputs, K=40, N=3, bits=bits, block_size=block)


def add_features(cases):
    x = cases.normal(3, 4, scale=2.0)
    ml = {"domain": LEARNING}
    for value in (x, cases.integers(-5, 5, 3, 4)):
        cases.add("Scaler", [value], offset=[0.5, -1.0, 0.0, 2.0], scale=[2.0, 0.5, 1.0, -1.0],
                  **ml)
        cases.add("Normalizer", [value], norm="L1", **ml)
    cases.add("Scaler", [x], offset=[0.5], scale=[2.0], **ml)
    x[1] = 0
    for norm in ("MAX", "L2"):
        cases.add("Normalizer", [x], norm=norm, **ml)
    cases.add("Binarizer", [x], threshold=0.5, **ml)
    gaps = x.copy()
    gaps[0, 1] = gaps[2, 3] = np.nan
    cases.add("Imputer", [gaps], imputed_value_floats=[1.0, 2.0, 3.0, 4.0],
              replaced_value_float=float("nan"), **ml)
    cases.add("Imputer", [x], imputed_value_floats=[7.0], replaced_value_float=0.0, **ml)
    cases.add("Imputer", [cases.integers(0, 3, 3, 4)], imputed_value_int64s=[9],
              replaced_value_int64=1, **ml)
    cases.add("ArrayFeatureExtractor", [x, np.array([[3, 0]])], **ml)
    cases.add("ArrayFeatureExtractor", [x[0], Known([2])], **ml)
    cases.add("FeatureVectorizer", [x, cases.normal(3, 2)], inputdimensions=[4, 2], **ml)
    cases.add("OneHotEncoder", [cases.integers(0, 5, 2, 3)], cats_int64s=[0, 2, 4], zeros=1, **ml)
    cases.add("LabelEncoder", [cases.integers(0, 5, 6)], keys_int64s=[0, 3, 4],
              values_int64s=[10, -7, 5], default_int64=-1, version=2, **ml)
    cases.add("LabelEncoder", [np.array([1, np.nan, 0.5, 3], np.float32)],
              keys_floats=[0.5, float("nan"), 1.0], values_floats=[2.0, 4.0, 8.0],
              default_float=-1.5, version=4, **ml)
    cases.add("LabelEncoder", [cases.integers(0, 5, 6)], keys_int64s=[0, 3],
              values_floats=[0.5, 2.0], default_float=9.0, version=2, **ml)


def add_linear_models(cases):
    x = cases.normal(5, 3)
    ml = {"domain": LEARNING}
    weights = cases.normal(9).tolist()
    for transform in ("NONE", "LOGISTIC", "SOFTMAX", "PROBIT"):
        if transform != "PROBIT":
            cases.add("LinearClassifier", [x], 2, coefficients=weights, intercepts=[0.5, -0.5, 0.0],
                      classlabels_ints=[3, 7, 5], post_transform=transform, **ml)
            cases.add("LinearClassifier", [x], 2, coefficients=weights[:6], intercepts=[0.5, -0.5],
                      classlabels_ints=[0, 1], post_transform=transform, **ml)
        scale = 0.125 if transform == "PROBIT" else 1.0  # of numbers between 0 and 1
        cases.add("LinearRegressor", [scale * np.abs(x)],
                  coefficients=np.abs(weights[:6]).tolist() if scale < 1 else weights[:6],
                  intercepts=[0.25, 0.125], targets=2, post_transform=transform, **ml)
    for transform in ("NONE", "LOGISTIC"):
        cases.add("LinearClassifier", [x], 2, coefficients=weights[:3], intercepts=[0.25],
                  classlabels_ints=[4, 2], post_transform=transform, **ml)
    cases.add("LinearClassifier", [x], 2, [1], coefficients=weights, intercepts=[0.5, -0.5, 0.0],
              classlabels_strings=["a", "b", "c"], **ml)
    cases.add("LinearRegressor", [x], coefficients=weights[:3], **ml)
    vectors = cases.normal(12).tolist()
    for kernel, parameters in (("LINEAR", [0.0, 0.0, 0.0]), ("POLY", [0.5, 1.0, 3.0]),
                               ("RBF", [0.5, 0.0, 3.0]), ("SIGMOID", [0.25, 0.5, 3.0])):
        cases.add("SVMRegressor", [x], kernel_type=kernel, kernel_params=parameters, n_supports=4,
                  support_vectors=vectors, coefficients=[1.0, -0.5, 0.25, -1.0], rho=[0.125], **ml)
    cases.add("SVMRegressor", [x], kernel_type="RBF", kernel_params=[0.5, 0.0, 3.0], n_supports=4,
              support_vectors=vectors, coefficients=[1.0, -0.5, 0.25, -1.0], rho=[0.125],
              one_class=1, **ml)


def add_classifying_machines(cases):
    x = cases.normal(5, 3)
    ml = {"domain": LEARNING, "kernel_type": "RBF", "kernel_params": [0.5, 0.0, 3.0]}
    cases.add("SVMClassifier", [x], 2, classlabels_ints=[4, 2, 9], vectors_per_class=[2, 1, 3],
              support_vectors=cases.normal(18).tolist(), coefficients=cases.normal(12).tolist(),
              rho=[0.125, -0.25, 0.0], **ml)
    two = {"vectors_per_class": [2, 2], "support_vectors": cases.normal(12).tolist(),
           "coefficients": [1.0, 0.5, -0.75, -1.25], "rho": [0.125], "classlabels_ints": [4, 2]}
    cases.add("SVMClassifier", [x], 2, **two, **ml)
    # ONNX Runtime's probabilities come from an iteration that ends early.
    cases.add("SVMClassifier", [x], 2, prob_a=[-1.5], prob_b=[0.25], tolerance=5e-3, **two, **ml)
    linear = {"domain": LEARNING, "kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 0.0]}
    cases.add("SVMClassifier", [x], 2, classlabels_ints=[4, 2, 9],
              coefficients=cases.normal(9).tolist(), rho=[0.5], **linear)


def random_trees(cases, count, prefix, targets, modes=("BRANCH_LEQ",), positive=False):
    """Attributes of trees of three inner nodes over three features; leaves add to all targets."""
    result = {f"nodes_{name}": [] for name in (
        "treeids", "nodeids", "featureids", "truenodeids", "falsenodeids", "modes", "values",
        "missing_value_tracks_true")}
    leaves = {f"{prefix}_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(count):
        for node, children in enumerate([(1, 2), (3, 4), (5, 6), None, None, None, None]):
            row = (tree, node, int(cases.integers(0, 3)) if children else 0,
                   *(children or (0, 0)), modes[node % len(modes)] if children else "LEAF",
                   float(cases.normal()) if children else 0.0, int(cases.integers(0, 2)))
            for name, value in zip(result, row):
                result[name].append(value)
            for target in targets if children is None else []:
                weight = float(cases.normal())
                row = (tree, node, target, abs(weight) if positive else weight)
                for name, value in zip(leaves, row):
                    leaves[name].append(value)
    return result | leaves


def add_trees(cases):
    """Where it departs from the standard, ONNX Runtime is not asked.

    It takes no transform of a single target, no base of targets that no leaf adds to, and of two
    classes with scores of their own not the one with the larger.
    """
    x = cases.normal(6, 3)
    x[2, 1] = np.nan
    ml = {"domain": LEARNING, "version": 3}
    modes = [f"BRANCH_{name}" for name in ("LEQ", "LT", "GTE", "GT", "NEQ")]
    for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
        cases.add("TreeEnsembleRegressor", [x], n_targets=2, aggregate_function=aggregate,
                  base_values=[0.5, -0.25], **random_trees(cases, 3, "target", [0, 1], modes), **ml)
    cases.add("TreeEnsembleRegressor", [x], n_targets=2, post_transform="LOGISTIC",
              **random_trees(cases, 2, "target", [0, 1]), **ml)
    cases.add("TreeEnsembleClassifier", [cases.integers(-2, 3, 4, 3)], 2,
              classlabels_int64s=[0, 1, 2], **random_trees(cases, 2, "class", [0, 1, 2]), **ml)
    cases.add("TreeEnsembleRegressor", [cases.normal(4, 3, dtype=np.float64)], n_targets=1,
              **random_trees(cases, 2, "target", [0]), **ml)
    for transform in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"):
        cases.add("TreeEnsembleClassifier", [x], 2, classlabels_int64s=[4, 2, 9],
                  post_transform=transform, **random_trees(cases, 2, "class", [0, 1, 2]), **ml)
        if transform in ("NONE", "LOGISTIC"):
            for positive in (False, True):
                cases.add("TreeEnsembleClassifier", [x], 2, classlabels_int64s=[4, 2],
                          post_transform=transform,
                          **random_trees(cases, 2, "class", [0], positive=positive), **ml)

    def tensor(values, dtype=np.float32):
        return onnx.numpy_helper.from_array(np.array(values, dtype), "t")

    # Node 0 asks for a set, a tree is a leaf.
    x[:, 0] = [1, 2, 3, 0, 2, 5]
    cases.add("TreeEnsemble", [x], domain=LEARNING, version=5, model_opset=21, n_targets=2,
              tree_roots=[0, 2], nodes_featureids=[0, 2, 0],
              nodes_modes=tensor([6, 0, 0], np.uint8),
              nodes_splits=tensor([0, 0.25, 0]), nodes_truenodeids=[0, 1, 3],
              nodes_falsenodeids=[1, 2, 3], nodes_trueleafs=[1, 1, 1], nodes_falseleafs=[0, 1, 1],
              membership_values=tensor([1, 2, np.nan]), leaf_targetids=[0, 1, 0, 1],
              leaf_weights=tensor([1, 2, 4, 0.5]))


def add_others(cases):
    x = cases.normal(2, 3, 4)
    cases.add("Trilu", [x, Known(np.int64(1))], upper=1)
    cases.add("Trilu", [x], upper=0)
    cases.add("Inverse", [cases.normal(2, 4, 4) + 4 * np.eye(4, dtype=np.float32)])


def add_more_bytes(cases):
    def real(value):
        return np.float32(value)

    a, b = (cases.integers(0, 256, *shape, dtype=np.uint8) for shape in ((3, 8), (4, 8)))
    signed = Known(cases.integers(-128, 128, 8, 4, dtype=np.int8))
    c = cases.integers(-9999, 9999, 4, dtype=np.int32)
    x = [a, real(0.05), np.uint8(121)]
    scales = Known(np.array([0.25, 0.5, 0.125, 1], np.float32))
    zeros = Known(np.array([3, -5, 0, 7], np.int8))
    last_digit = {"tolerance": 1 / 100}
    cases.add("QGemm", [*x, b, real(0.07), np.uint8(99), c, real(1.3), np.uint8(101)], transB=1,
              alpha=0.5, **last_digit)
    cases.add("QGemm", [*x, signed, scales, zeros, c])
    cases.add("QGemm", [*x, signed, scales, zeros, None, real(1.7), np.uint8(11)], **last_digit)
    cases.add("QLinearWhere", [cases.integers(0, 2, 3, 8, dtype=bool), *x, b[:1], real(0.11),
                               np.uint8(7), real(0.09), np.uint8(100)], **last_digit)


def add_pools_and_attention_of_bytes(cases):
    def real(value):
        return np.float32(value)

    last_digit = {"tolerance": 1 / 100}
    for dtype, low, high in ((np.uint8, 0, 256), (np.int8, -128, 128)):
        zero, other = dtype(low + 121), dtype(low + 99)
        for last, shape in ((0, (2, 3, 7, 6)), (1, (2, 7, 6, 3))):
            x = cases.integers(low, high, *shape, dtype=dtype)
            scales = [x, real(0.05), zero, real(0.043), other]
            cases.add("QLinearAveragePool", scales, kernel_shape=[3, 2], strides=[2, 1],
                      pads=[1, 0, 1, 1], count_include_pad=last, channels_last=last, **last_digit)
            cases.add("QLinearAveragePool", scales, kernel_shape=[3, 3], strides=[2, 2],
                      ceil_mode=1, channels_last=last, **last_digit)
    x = cases.integers(0, 256, 2, 5, 8, dtype=np.uint8)
    w = Known(cases.integers(-128, 128, 8, 24, dtype=np.int8))
    bias = cases.normal(24)
    scale, zero = real(0.0125), np.uint8(121)
    cases.add("QAttention", [x, w, bias, scale, real(0.01), None, zero, Known(np.int8(3))],
              num_heads=2)
    cases.add("QAttention", [x, w, bias, scale, real(0.01), np.array([5, 3], np.int32), zero,
                             np.int8(0)], num_heads=4, unidirectional=1)
    past = cases.normal(2, 2, 2, 3, 4)
    mask = np.array([[1] * 8, [0, 0] + [1] * 6], np.int32)
    scales = Known(np.abs(cases.normal(24, scale=0.01)) + real(0.005))
    zeros = Known(np.zeros(24, np.int8))
    cases.add("QAttention", [x, w, bias, scale, scales, mask, zero, zeros, past], num_outputs=2,
              num_heads=2)
    unsigned = Known(cases.integers(0, 256, 8, 24, dtype=np.uint8))
    cases.add("QAttention", [x, unsigned, bias, scale, real(0.01), None, zero, np.uint8(130)],
              num_heads=2)


def add_single_sequences(cases):
    """Of one sequence ONNX Runtime rounds states to bytes as corf does.

    The range of x is a prime number of steps, so that none of its quotients is a tie.
    """
    x, hidden = cases.integers(-500, 521, 5, 1, 6), 20
    x[0, 0, :2] = -500, 521
    x = x.astype(np.float32) / 256
    for directions, dtype in ((1, np.uint8), (2, np.int8)):
        low = 0 if dtype == np.uint8 else -128
        weights = [cases.integers(low, low + 256, directions, size, 4 * hidden, dtype=dtype)
                   for size in (6, hidden)]
        factors = [Known(np.full(directions, 1 / 256, np.float32)),
                   Known(np.full(directions, 116 if dtype == np.uint8 else 0, dtype))]
        states = [cases.normal(directions, 1, hidden, scale=0.25) for _ in range(2)]
        cases.add("DynamicQuantizeLSTM",
                  [x, *map(Known, weights), cases.normal(directions, 8 * hidden), None, *states,
                   cases.normal(directions, 3 * hidden), *factors, *factors], 3,
                  hidden_size=hidden, direction="bidirectional" if directions == 2 else "forward")


def add_regions(cases):
    """As many samples as a region's size asks for: some empty, beyond the image, turned round."""
    x, image_of = cases.normal(2, 2, 9, 7), np.array([0, 1, 0, 1, 0], np.int64)
    regions = np.array([[0, 0, 6, 8], [1.25, 2, 5, 5.5], [-2, -3, 4, 20], [3, 3, 3, 3],
                        [5, 5, 2, 1]], np.float32)
    for mode in ("avg", "max"):
        for transform in ("half_pixel", "output_half_pixel"):
            cases.add("RoiAlign", [x, regions, image_of], domain="", output_height=3,
                      output_width=2, spatial_scale=0.875, mode=mode,
                      coordinate_transformation_mode=transform)


def add_trees_of_second_class(cases):
    x = cases.normal(6, 3)
    for transform in ("NONE", "LOGISTIC", "SOFTMAX"):
        for positive in (False, True):
            cases.add("TreeEnsembleClassifier", [x], 2, classlabels_int64s=[4, 2],
                      post_transform=transform, domain=LEARNING, version=3,
                      **random_trees(cases, 2, "class", [1], positive=positive))


def add_diffusion_and_distances(cases):
    a, b = cases.normal(2, 4, 3), cases.normal(2, 4, 5)
    cases.add("TransposeMatMul", [a, b], transA=1, alpha=0.5)
    rows, others = cases.normal(3, 4), cases.normal(5, 4)
    others[1] = rows[2]
    for metric in ("euclidean", "sqeuclidean"):
        cases.add("CDist", [rows, others], metric=metric)
    cases.add("CDist", [rows, others])
    x, bias, skip = cases.normal(2, 3, 8), cases.normal(8), cases.normal(2, 3, 8)
    cases.add_given("BiasAdd", [x, bias, skip], [x + bias + skip])
    left, right = np.split((x + bias).astype(np.float64), 2, axis=-1)
    gelu = right * (1 + np.vectorize(math.erf)(right / math.sqrt(2))) / 2
    cases.add_given("BiasSplitGelu", [x, bias], [(left * gelu).astype(np.float32)])


def group_norm(x, gamma, beta, groups, epsilon, activation):
    """Channels stand last."""
    split = x.astype(np.float64).reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    centred = split - split.mean((1, 3), keepdims=True)
    y = centred / np.sqrt((centred ** 2).mean((1, 3), keepdims=True) + epsilon)
    y = y.reshape(x.shape) * gamma + beta
    return (y / (1 + np.exp(-y)) if activation else y).astype(np.float32)


def add_group_norms(cases):
    x, gamma, beta = cases.normal(2, 3, 2, 6), cases.normal(6), cases.normal(6)
    for activation in (0, 1):
        cases.add_given("GroupNorm", [x, gamma, beta],
                        [group_norm(x, gamma, beta, 3, 1e-5, activation)], groups=3,
                        activation=activation)
    first = np.ascontiguousarray(np.moveaxis(x, 3, 1))
    y = np.moveaxis(group_norm(x, gamma, beta, 2, 0.25, 1), 3, 1)
    cases.add_given("GroupNorm", [first, gamma, beta], [y], groups=2, activation=1, epsilon=0.25,
                    channels_last=0)
    bias = cases.normal(6)
    for skip in (cases.normal(2, 3, 2, 6), cases.normal(2, 1, 1, 6), cases.normal(2, 6)):
        whole = x + (skip if skip.ndim == 4 else skip.reshape(2, 1, 1, 6))
        for inputs, total in (([skip], whole), ([skip, bias], whole + bias)):
            cases.add_given("SkipGroupNorm", [x, gamma, beta, *inputs],
                            [group_norm(total, gamma, beta, 3, 1e-5, 1), total], groups=3,
                            activation=1)


def add_tables_of_few_bits(cases):
    """Tensors of 4-bit integers are written as bytes, as which they are imported."""
    places = cases.integers(-7, 7, 2, 3)

    def gather(table, blocks, zeros=None, **attributes):
        scales = np.abs(cases.normal(*blocks)) + np.float32(0.125)
        inputs = [Known(table), places, Known(scales)]
        if zeros is not None:
            inputs.append(Known(zeros))
        cases.add("GatherBlockQuantized", inputs, **attributes)

    pairs = cases.integers(0, 256, 7, 20, dtype=np.uint8)
    gather(pairs, (7, 3), gather_axis=0, quantize_axis=1, block_size=16)
    gather(pairs, (7, 3), cases.integers(0, 256, 7, 2, dtype=np.uint8), gather_axis=0,
           quantize_axis=1, block_size=16)
    for kind, low in ((ml_dtypes.uint4, 0), (ml_dtypes.int4, -8)):
        table = cases.integers(low, low + 16, 7, 40).astype(kind)
        zeros = cases.integers(low, low + 16, 7, 3).astype(kind)
        gather(table, (7, 3), gather_axis=0, quantize_axis=1, block_size=16)
        gather(table, (7, 3), zeros, gather_axis=0, quantize_axis=1, block_size=16)
        deep = cases.integers(low, low + 16, 2, 7, 20).astype(kind)
        gather(deep, (1, 7, 20), gather_axis=1, quantize_axis=0, block_size=16)
        gather(deep, (2, 7, 2), gather_axis=-2, quantize_axis=-1, block_size=16)


def add_images_with_channels_last(cases):
    for dtype, low in ((np.uint8, 0), (np.int8, -128)):
        x = cases.integers(low, low + 256, 2, 6, 7, 3, dtype=dtype)
        cases.add("NhwcMaxPool", [x], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
        cases.add("NhwcMaxPool", [x], kernel_shape=[2, 2], strides=[3, 2], ceil_mode=1)
        w = Known(cases.integers(-127, 128, 4, 3, 3, 3, dtype=np.int8))
        point = np.array(low + 117, dtype)
        scales = [np.float32(0.02), Known(np.float32([0.01, 0.02, 0.005, 0.03]))]
        inputs = [x, scales[0], point, w, scales[1], Known(np.zeros(4, np.int8)), np.float32(0.25),
                  point, Known(cases.integers(-900, 900, 4, dtype=np.int32))]
        for last in (1, 0):
            image = x if last else np.ascontiguousarray(np.moveaxis(x, 3, 1))
            cases.add("QLinearConv", [image, *inputs[1:]], channels_last=last, pads=[1, 1, 0, 1],
                      strides=[2, 1])


def main():
    cases = Cases(27)
    for add in (add_products, add_activations, add_normalizations, add_attention, add_grouped,
                add_quantized, add_bytes, add_features, add_linear_models,
                add_classifying_machines, add_trees, add_others, add_single_sequences,
                add_more_bytes, add_pools_and_attention_of_bytes, add_regions,
                add_trees_of_second_class, add_diffusion_and_distances,
                add_group_norms, add_tables_of_few_bits,
                add_images_with_channels_last):
        add(cases)
    path = pathlib.Path(__file__).with_name("operator_cases.txt")
    path.write_text(HEADER + "\n".join(cases.lines) + "\n")
    print(f"{len(cases.lines)} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
