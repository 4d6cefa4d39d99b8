"""Nodes that ONNX does not allow, each with what the error has to say besides the node's name.

One table of sound nodes; from each of them faults are derived: attributes of a wrong type, too few
inputs, an input of an element type that corf does not have. Below it, faults of single operators.
"""

import numpy as np
from onnx import TensorProto, helper

F, I64, I32, U8, I8, BOOL, F64, STRING = (
    TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8,
    TensorProto.BOOL, TensorProto.DOUBLE, TensorProto.STRING)


def f(*shape):
    """An input of the model."""
    return (F, shape)


def of(dtype, *shape):
    return (dtype, shape)


def ints(*values):
    """A constant."""
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, np.float32)


def const(*shape):
    return np.full(shape, 0.5, np.float32)


# operator: inputs, attributes, outputs (1 unless given)
SOUND = {
    "Conv": ([f(1, 3, 8, 8), const(4, 3, 3, 3)],
             dict(strides=[1, 1], pads=[1, 1, 1, 1], dilations=[1, 1], group=1,
                  kernel_shape=[3, 3], auto_pad="NOTSET")),
    "ConvTranspose": ([f(1, 3, 8, 8), const(3, 4, 3, 3)],
                      dict(strides=[2, 2], pads=[0, 0, 0, 0], dilations=[1, 1], group=1,
                           output_padding=[0, 0])),
    "MaxPool": ([f(1, 3, 8, 8)], dict(kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0],
                                      ceil_mode=0)),
    "AveragePool": ([f(1, 3, 8, 8)], dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0,
                                          count_include_pad=1)),
    "LpPool": ([f(1, 3, 8, 8)], dict(kernel_shape=[2, 2], p=2)),
    "GlobalAveragePool": ([f(1, 3, 8, 8)], {}),
    "MatMul": ([f(2, 3), f(3, 4)], {}),
    "Gemm": ([f(2, 3), f(3, 4), f(4)], dict(alpha=1.0, beta=1.0, transA=0, transB=0)),
    "Add": ([f(2, 3), f(2, 3)], {}),
    "Sub": ([f(2, 3), f(2, 3)], {}),
    "Mul": ([f(2, 3), f(2, 3)], {}),
    "Div": ([f(2, 3), f(2, 3)], {}),
    "Pow": ([f(2, 3), f(2, 3)], {}),
    "Equal": ([f(2, 3), f(2, 3)], {}),
    "Where": ([of(BOOL, 2, 3), f(2, 3), f(2, 3)], {}),
    "Relu": ([f(2, 3)], {}),
    "Sigmoid": ([f(2, 3)], {}),
    "Exp": ([f(2, 3)], {}),
    "Sqrt": ([f(2, 3)], {}),
    "Elu": ([f(2, 3)], dict(alpha=1.0)),
    "LeakyRelu": ([f(2, 3)], dict(alpha=0.1)),
    "HardSigmoid": ([f(2, 3)], dict(alpha=0.2, beta=0.5)),
    "Selu": ([f(2, 3)], dict(alpha=1.6, gamma=1.05)),
    "Gelu": ([f(2, 3)], dict(approximate="none")),
    "PRelu": ([f(2, 3), f(3)], {}),
    "Clip": ([f(2, 3), floats(0)[0], floats(1)[0]], {}),
    "Cast": ([f(2, 3)], dict(to=I64)),
    "Softmax": ([f(2, 3)], dict(axis=1)),
    "LogSoftmax": ([f(2, 3)], dict(axis=1)),
    "ReduceSum": ([f(2, 3), ints(1)], dict(keepdims=1, noop_with_empty_axes=0)),
    "ReduceMean": ([f(2, 3), ints(1)], dict(keepdims=1)),
    "ReduceMax": ([f(2, 3), ints(1)], dict(keepdims=1)),
    "ArgMax": ([f(2, 3)], dict(axis=1, keepdims=1, select_last_index=0)),
    "CumSum": ([f(2, 3), ints(1)[0]], dict(exclusive=0, reverse=0)),
    "BatchNormalization": ([f(1, 3, 4, 4), const(3), const(3), const(3), const(3)],
                           dict(epsilon=1e-5)),
    "LayerNormalization": ([f(2, 3), const(3), const(3)], dict(axis=1, epsilon=1e-5)),
    "InstanceNormalization": ([f(1, 3, 4, 4), const(3), const(3)], dict(epsilon=1e-5)),
    "GroupNormalization": ([f(1, 4, 4, 4), const(4), const(4)], dict(num_groups=2, epsilon=1e-5)),
    "LRN": ([f(1, 3, 4, 4)], dict(size=3, alpha=1e-4, beta=0.75, bias=1.0)),
    "Reshape": ([f(2, 3), ints(3, 2)], dict(allowzero=0)),
    "Flatten": ([f(2, 3, 4)], dict(axis=1)),
    "Transpose": ([f(2, 3)], dict(perm=[1, 0])),
    "Squeeze": ([f(2, 1, 3), ints(1)], {}),
    "Unsqueeze": ([f(2, 3), ints(0)], {}),
    "Concat": ([f(2, 3), f(2, 3)], dict(axis=0)),
    "Split": ([f(2, 4), ints(2, 2)], dict(axis=1), 2),
    "Slice": ([f(4, 4), ints(0), ints(2), ints(0), ints(1)], {}),
    "Pad": ([f(2, 3), ints(0, 1, 0, 1)], dict(mode="constant")),
    "Tile": ([f(2, 3), ints(1, 2)], {}),
    "Expand": ([f(1, 3), ints(2, 3)], {}),
    "Gather": ([f(4, 3), ints(0, 1)], dict(axis=0)),
    "GatherElements": ([f(4, 3), np.zeros((2, 3), np.int64)], dict(axis=0)),
    "GatherND": ([f(4, 3), np.zeros((2, 1), np.int64)], dict(batch_dims=0)),
    "ScatterElements": ([f(4, 3), np.zeros((2, 3), np.int64), f(2, 3)], dict(axis=0)),
    "ScatterND": ([f(4, 3), np.zeros((2, 1), np.int64), f(2, 3)], {}),
    "OneHot": ([of(I64, 3), ints(4)[0], floats(0, 1)], dict(axis=-1)),
    "Trilu": ([f(3, 3)], dict(upper=1)),
    "Resize": ([f(1, 3, 4, 4), floats(), floats(1, 1, 2, 2)],
               dict(mode="nearest", coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor")),
    "GridSample": ([f(1, 3, 4, 4), f(1, 2, 2, 2)], dict(mode="linear", padding_mode="zeros",
                                                        align_corners=0)),
    "DepthToSpace": ([f(1, 8, 2, 2)], dict(blocksize=2, mode="DCR")),
    "SpaceToDepth": ([f(1, 2, 4, 4)], dict(blocksize=2)),
    "TopK": ([f(2, 5), ints(2)], dict(axis=1, largest=1, sorted=1), 2),
    "NegativeLogLikelihoodLoss": ([f(2, 3), np.zeros(2, np.int64)], dict(reduction="mean")),
    "SoftmaxCrossEntropyLoss": ([f(2, 3), np.zeros(2, np.int64)], dict(reduction="mean")),
    "DFT": ([f(1, 4, 1), ints(4)[0], ints(1)[0]], dict(inverse=0, onesided=0)),
    "Einsum": ([f(2, 3), f(3, 4)], dict(equation="ij,jk->ik")),
    "LSTM": ([f(3, 1, 4), const(1, 20, 4), const(1, 20, 5)],
             dict(hidden_size=5, direction="forward"), 3),
    "GRU": ([f(3, 1, 4), const(1, 15, 4), const(1, 15, 5)],
            dict(hidden_size=5, direction="forward", linear_before_reset=0), 2),
    "QuantizeLinear": ([f(2, 3), floats(0.1)[0], np.uint8(0)], dict(axis=1)),
    "DequantizeLinear": ([of(U8, 2, 3), floats(0.1)[0], np.uint8(0)], dict(axis=1)),
    "Attention": ([f(1, 2, 3, 4), f(1, 2, 3, 4), f(1, 2, 3, 4)],
                  dict(scale=0.5, is_causal=0, softcap=0.0)),
    "IsNaN": ([f(2, 3)], {}),
    "Not": ([of(BOOL, 2)], {}),
    "And": ([of(BOOL, 2), of(BOOL, 2)], {}),
    "Shape": ([f(2, 3)], dict(start=0)),
    "ConstantOfShape": ([ints(2, 3)], {}),
    "Range": ([ints(0)[0], ints(4)[0], ints(1)[0]], {}),
}
# Attributes that are not read where nothing depends on them, and operators of later opsets.
NOT_READ = {("Pad", "mode"), ("Conv", "kernel_shape"), ("QuantizeLinear", "axis"),
            ("DequantizeLinear", "axis"), ("TopK", "sorted"), ("Shape", "start"),
            ("ReduceSum", "noop_with_empty_axes")}
OPSETS = {"Attention": 23, "GroupNormalization": 21}
DEFAULT_OPSET = 20

# Faults of single operators: what is changed of the sound node, and what the error has to say.
# Keys that are numbers replace inputs, "inputs" all of them, others attributes.
FAULTS = {
    "Conv": [({1: const(4, 5, 3, 3)}, "3|5"), ({1: const(4, 3, 3)}, ""), ({0: f(1, 3, 8)}, ""),
             ({0: f(8)}, ""), ({"strides": [0, 1]}, "strides"), ({"strides": [-1, 1]}, "strides"),
             ({"strides": [1]}, "strides"), ({"dilations": [0, 1]}, "dilations"),
             ({"dilations": [1 << 62, 1 << 62]}, ""), ({"pads": [1, 1, 1]}, "pads"),
             ({"pads": [-9, -9, -9, -9]}, ""), ({"group": 0}, "group"), ({"group": 2}, ""),
             ({"group": -1}, "group"), ({"kernel_shape": [5, 5]}, "kernel"),
             ({"auto_pad": "SOMETIMES"}, "SOMETIMES"), ({0: f(1, 3, 2, 2), "pads": [0] * 4}, ""),
             ({"inputs": [f(1, 3, 8, 8), const(4, 3, 3, 3), const(5)]}, "5|bias"),
             ({"pads": [1 << 62] * 4}, ""), ({0: of(I64, 1, 3, 8, 8)}, "i64"),
             ({1: const(4, 3, 0, 3)}, "")],
    "ConvTranspose": [({1: const(5, 4, 3, 3)}, ""), ({"strides": [0, 2]}, "strides"),
                      ({"group": 2}, "group"),
                      ({"output_shape": [1]}, "output_shape"), ({"group": 0}, "group"),
                      ({"strides": [1 << 62, 1 << 62]}, "")],
    "MaxPool": [({"kernel_shape": [0, 2]}, "kernel"), ({"kernel_shape": [2]}, "kernel"),
                ({"kernel_shape": [9, 9]}, ""), ({"strides": [0, 0]}, "strides"),
                ({"kernel_shape": [-2, 2]}, "kernel"),
                ({0: f(3, 8)}, ""), ({"dilations": [0, 0]}, "dilations"),
                ({"kernel_shape": [1 << 40, 1 << 40]}, "")],
    "AveragePool": [({"kernel_shape": [0, 2]}, "kernel"), ({"strides": [0, 2]}, "strides"),
                    ({"kernel_shape": None}, "kernel"), ({"pads": [0, 0, 0]}, "pads"),
                    ({0: f(2)}, "")],
    "LpPool": [({"kernel_shape": [0, 0]}, "kernel"), ({"p": 0}, "p")],
    "GlobalAveragePool": [({0: f(3)}, "")],
    "MatMul": [({1: f(4, 4)}, "2x3.*4x4"), ({0: f()}, ""), ({1: of(I64, 3, 4)}, "f32.*i64"),
               ({0: f(2, 2, 3), 1: f(3, 3, 4)}, ""), ({0: f(4)}, "")],
    "Gemm": [({1: f(4, 4)}, ""), ({0: f(3)}, ""), ({2: f(5)}, ""), ({0: f(1, 2, 3)}, ""),
             ({"transB": 1}, "")],
    "Add": [({1: f(4)}, "2x3.*4"), ({1: of(I64, 2, 3)}, "f32.*i64"), ({0: f(5, 7)}, ""),
            ({0: of(BOOL, 2, 3), 1: of(BOOL, 2, 3)}, "bool")],
    "Sub": [({1: f(3, 2)}, ""), ({0: of(BOOL, 2, 3), 1: of(BOOL, 2, 3)}, "bool")],
    "Mul": [({1: f(2, 3, 4)}, "")],
    "Div": [({1: f(3, 2)}, "")],
    "Pow": [({1: f(3, 2)}, "")],
    "Equal": [({1: f(3, 2)}, ""), ({1: of(I64, 2, 3)}, "i64")],
    "Where": [({0: f(2, 3)}, "f32"), ({1: f(4, 4)}, ""), ({2: of(I64, 2, 3)}, "")],
    "Sigmoid": [({0: of(I64, 2, 3)}, "i64")],
    "Exp": [({0: of(I64, 2, 3)}, "i64"), ({0: of(BOOL, 2, 3)}, "bool")],
    "Sqrt": [({0: of(I32, 2, 3)}, "i32")],
    "Gelu": [({"approximate": "roughly"}, "roughly")],
    "PRelu": [({1: f(7)}, "")],
    "Clip": [({1: floats(0, 1)}, ""), ({1: ints(0)[0]}, "")],
    "Cast": [({"to": 99}, "99"), ({"to": None}, "to"), ({"to": 0}, ""),
             ({"to": 14}, "complex")],
    "Softmax": [({"axis": 2}, "axis"), ({"axis": -3}, "axis"), ({0: of(I64, 2, 3)}, "i64"),
                ({"axis": 1 << 62}, "axis")],
    "LogSoftmax": [({"axis": 2}, "axis")],
    "ReduceSum": [({1: ints(2)}, "ax"), ({1: ints(-3)}, "ax"), ({1: ints(0, 0)}, "ax"),
                  ({1: floats(1)}, "")],
    "ReduceMean": [({1: ints(5)}, "ax")],
    "ReduceMax": [({1: ints(5)}, "ax")],
    "ArgMax": [({"axis": 2}, "axis"), ({"axis": -9}, "axis")],
    "CumSum": [({1: ints(2)[0]}, "axis"), ({1: ints(0, 1)}, "")],
    "BatchNormalization": [({1: const(4)}, ""), ({3: const(2, 2)}, ""), ({0: f(3)}, "")],
    "LayerNormalization": [({"axis": 5}, "axis"), ({1: const(4)}, "")],
    "InstanceNormalization": [({1: const(4)}, ""), ({0: f(3)}, "")],
    "GroupNormalization": [({"num_groups": 3}, "num_groups|group"), ({"num_groups": 0}, "group"),
                           ({"num_groups": None}, "group")],
    "LRN": [({"size": 0}, "size"), ({"size": None}, "size"), ({"size": -3}, "size")],
    "Reshape": [({1: ints(4, 2)}, "4"), ({1: ints(-1, -1)}, "-1"), ({1: ints(-2, 3)}, "-2"),
                ({1: ints(0, 0, 0)}, ""), ({1: ints(-1, 4)}, ""), ({1: floats(2, 3)}, ""),
                ({1: ints(1 << 62, 1 << 62)}, "")],
    "Flatten": [({"axis": 4}, "axis"), ({"axis": -4}, "axis")],
    "Transpose": [({"perm": [0, 0]}, "axis"), ({"perm": [0]}, "perm"), ({"perm": [0, 2]}, "axis")],
    "Squeeze": [({1: ints(0)}, ""), ({1: ints(3)}, "ax"), ({1: ints(1, 1)}, "")],
    "Unsqueeze": [({1: ints(3)}, "ax"), ({1: ints(0, 0)}, "ax"), ({1: ints(-4)}, "ax")],
    "Concat": [({"axis": 2}, "axis"), ({"axis": None}, "axis"), ({1: f(2, 4)}, ""),
               ({1: f(2)}, ""), ({1: of(I64, 2, 3)}, "")],
    "Split": [({1: ints(2, 3)}, ""), ({1: ints(-1, 5)}, ""), ({"axis": 2}, "axis"),
              ({1: ints(2, 1, 1)}, "")],
    "Slice": [({4: ints(0)}, "step"), ({3: ints(2)}, "ax"), ({1: ints(0, 0)}, ""),
              ({3: ints(0, 0)}, ""), ({2: floats(2)}, "")],
    "Pad": [({1: ints(0, 1)}, "pads"), ({"mode": "sideways"}, "sideways"),
            ({1: ints(-2, -2, -2, -2)}, ""),
            ({1: ints(1 << 62, 0, 1 << 62, 0)}, "")],
    "Tile": [({1: ints(2)}, "repeats"), ({1: ints(-1, 1)}, "repeats|-1"),
             ({1: ints(1 << 62, 1 << 62)}, "")],
    "Expand": [({1: ints(2, 4)}, ""), ({1: ints(-1, 3)}, "-1"), ({1: ints(1 << 62, 3)}, "")],
    "Gather": [({"axis": 2}, "axis"), ({1: ints(7)}, "7"), ({1: ints(-5)}, "-5"),
               ({1: floats(0)}, "f32")],
    "GatherElements": [({"axis": 2}, "axis"), ({1: ints(0)}, ""),
                       ({1: np.full((2, 3), 9, np.int64)}, "9")],
    "GatherND": [({"batch_dims": 2}, "batch_dims|dim"), ({"batch_dims": -1}, "batch_dims|dim"),
                 ({1: np.zeros((2, 3), np.int64)}, "")],
    "ScatterElements": [({"axis": 5}, "axis"), ({2: f(3, 3)}, ""), ({"reduction": "xor"}, "xor")],
    "ScatterND": [({2: f(5, 5)}, ""), ({1: np.zeros((2, 3), np.int64)}, ""),
                  ({"reduction": "xor"}, "xor")],
    "OneHot": [({"axis": 5}, "axis"), ({2: floats(0, 1, 2)}, ""), ({1: ints(-1)[0]}, "")],
    "Trilu": [({0: f(3)}, "")],
    "Resize": [({2: floats(1, 1, 2)}, ""), ({2: floats(1, 1, -2, 2)}, ""),
               ({"mode": "magic"}, "magic"), ({2: floats(1, 1, 0, 0)}, ""),
               ({"coordinate_transformation_mode": "sideways"}, "sideways"),
               ({2: floats(1, 1, np.nan, 1)}, ""), ({2: floats(1, 1, 1e30, 1)}, ""),
               ({"inputs": [f(1, 3, 4, 4)]}, ""), ({"nearest_mode": "any"}, "any")],
    "GridSample": [({1: f(1, 2, 2, 3)}, ""), ({"mode": "magic"}, "magic"),
                   ({"padding_mode": "wall"}, "wall"), ({1: f(2, 2, 2, 2)}, "")],
    "DepthToSpace": [({"blocksize": 3}, ""), ({"blocksize": 0}, "blocksize"),
                     ({"blocksize": None}, "blocksize"), ({"mode": "ABC"}, "ABC"),
                     ({0: f(8, 2, 2)}, "")],
    "SpaceToDepth": [({"blocksize": 3}, ""), ({"blocksize": -1}, "blocksize")],
    "TopK": [({1: ints(6)}, "6"), ({1: ints(-1)}, "-1"), ({"axis": 2}, "axis")],
    "NegativeLogLikelihoodLoss": [({"reduction": "most"}, "most"),
                                  ({1: np.zeros(3, np.int64)}, "")],
    "SoftmaxCrossEntropyLoss": [({"reduction": "most"}, "most"), ({0: f(2)}, "")],
    "DFT": [({2: ints(7)[0]}, "axis"), ({0: f(1, 4, 3)}, "")],
    "Einsum": [({"equation": "ij,jk"}, None), ({"equation": "ij->ij"}, ""),
               ({"equation": "ij,jk->iz"}, ""), ({"equation": "i?,jk->ik"}, ""),
               ({"equation": "ij,ij->ij"}, ""), ({"equation": None}, "equation"),
               ({"equation": "ijk,jk->ik"}, "")],
    "LSTM": [({1: const(1, 19, 4)}, ""), ({2: const(1, 20, 6)}, ""), ({0: f(3, 4)}, ""),
             ({"direction": "upward"}, "upward"), ({"hidden_size": 6}, ""),
             ({"activations": ["Sigmoid"]}, ""), ({"activations": ["No", "No", "No"]}, "No"),
             ({"hidden_size": -5}, ""), ({"clip": -1.0}, "clip"),
             ({"input_forget": 2}, "input_forget")],
    "GRU": [({1: const(1, 14, 4)}, ""), ({"direction": "upward"}, "upward"), ({0: f(3)}, ""),
            ({"clip": float("nan")}, "clip"), ({"layout": 2}, "layout"),
            ({"linear_before_reset": -1}, "linear_before_reset")],
    "QuantizeLinear": [({1: floats(1, 2, 3, 4)}, ""), ({2: np.float32(0)}, "")],
    "DequantizeLinear": [({1: floats(1, 2, 3, 4)}, ""), ({2: np.int8(0)}, ""), ({0: f(2, 3)}, "")],
    "Attention": [({1: f(1, 2, 3, 5)}, ""), ({1: f(1, 2)}, ""), ({2: f(1, 2, 7, 4)}, ""),
                  ({"q_num_heads": 3, "kv_num_heads": 2, "inputs": [f(1, 2, 9)] * 3}, "")],
    "IsNaN": [({0: of(I64, 2)}, "i64")],
    "Not": [({0: f(2)}, "f32")],
    "And": [({1: f(2)}, "f32"), ({1: of(BOOL, 3)}, "")],
    "ConstantOfShape": [({0: ints(-1)}, "-1"), ({0: ints(1 << 62, 1 << 62)}, "")],
    "Range": [({2: ints(0)[0]}, "delta|step|0"), ({1: ints(1 << 62)[0]}, "")],
}


def wrong_type(content):
    """An attribute of another type."""
    return "text" if not isinstance(content, str) else 7


def build(operator, inputs, attributes, num_outputs):
    """Nodes, inputs, outputs and constants of a model around one node, 'subject'."""
    names, declared, constants = [], [], []
    for i, entry in enumerate(inputs):
        names.append(f"in{i}")
        if isinstance(entry, tuple):
            declared.append((names[-1], entry))
        else:
            constants.append((names[-1], np.asarray(entry)))
    given = {key: content for key, content in attributes.items() if content is not None}
    outputs = [f"out{i}" for i in range(num_outputs)]
    return helper.make_node(operator, names, outputs, name="subject", **given), declared, constants


def changed(operator, change):
    inputs, attributes, *rest = SOUND[operator]
    inputs, attributes = list(change.get("inputs", inputs)), dict(attributes)
    for key, content in change.items():
        if isinstance(key, int):
            inputs[key] = content
        elif key != "inputs":
            attributes[key] = content
    return build(operator, inputs, attributes, rest[0] if rest else 1)


def sound_nodes():
    for operator in SOUND:
        yield operator, changed(operator, {})


def bad_nodes():
    """(name, operator, (node, inputs, constants), what the error says)."""
    for operator, (inputs, attributes, *_) in SOUND.items():
        for key, content in attributes.items():
            if (operator, key) not in NOT_READ:
                yield (f"{operator}-{key}-of-wrong-type", operator,
                       changed(operator, {key: wrong_type(content)}),
                       f"attribute '{key}'|{key}")
        yield (f"{operator}-without-inputs", operator, changed(operator, {"inputs": []}), "input")
        first = inputs[0]
        if isinstance(first, tuple):
            yield (f"{operator}-of-strings", operator,
                   changed(operator, {0: of(STRING, *first[1])}), "tensor of strings")
        for number, (change, says) in enumerate(FAULTS.get(operator, [])):
            if says is not None:
                yield f"{operator}-fault-{number}", operator, changed(operator, change), says


def opset_of(operator):
    return OPSETS.get(operator, DEFAULT_OPSET)
