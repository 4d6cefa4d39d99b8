"""Builds ONNX graphs node by node: opset 17, float32, NCHW, the operators PyTorch exporters write.

Weights are random but keep every activation O(1), so that errors are meaningful and no value is
denormal. They are scaled as in Brock et al., "High-Performance Large-Scale Image Recognition
Without Normalization", section 3, with half of each filter's mean taken away: with the whole mean
left in, deep networks forget their input; with none, they amplify every rounding error.
"""

import pathlib
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

MEAN_REMOVED = 0.5

# (variance, squared mean) of each activation of a standard normal variable.
_MOMENTS = {"linear": (1.0, 0.0), "relu": (0.341, 0.159), "relu6": (0.341, 0.159),
            "prelu": (0.418, 0.102), "silu": (0.313, 0.043), "hardswish": (0.292, 0.050),
            "gelu": (0.345, 0.080), "tanh": (0.394, 0.0)}

PRELU_SLOPE = 0.2  # on average; also that of the moments above

# Factor on weights of norm 1 that gives unit variance after each activation.
GAIN = {kind: (variance + (1 - MEAN_REMOVED) ** 2 * mean) ** -0.5
        for kind, (variance, mean) in _MOMENTS.items()}


class Builder:
    """One graph under construction. Methods add nodes and return the name of their output."""

    def __init__(self, model_name):
        self.model_name = model_name
        self.nodes = []
        self.initializers = []
        self.inputs = []
        self.outputs = []
        self.channels = {}  # tensor name -> size of axis 1, for tensors in NCHW
        self.activation_of = {}  # tensor name -> activation that made it, for the next gain
        self.node_names = set()

    # -- graph elements ---------------------------------------------------------------------

    def add_input(self, name, shape, elem_type=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, elem_type, shape))
        if len(shape) > 1:
            self.channels[name] = shape[1]
        return name

    def add_output(self, tensor, name, shape):
        """Renames `tensor`, the output of the node that makes it and input of any others."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, old in enumerate(names):
                    if old == tensor:
                        names[i] = name
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def initializer(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def normal(self, name, shape, std=1.0, mean=0.0):
        """Initializer of seeded normal values; the seed is the model's and the tensor's name."""
        return self.initializer(name, self._draw(name, shape) * np.float32(std) + np.float32(mean))

    def constant(self, name, value, dtype=np.float32):
        """A Constant node, as exporters write scalars, shapes and split sizes."""
        tensor = numpy_helper.from_array(np.asarray(value, dtype=dtype), "value")
        return self.op("Constant", [], name, value=tensor)

    def op(self, op_type, inputs, name, num_outputs=1, **attributes):
        assert name not in self.node_names, f"two nodes named {name}"
        self.node_names.add(name)
        outputs = ([f"{name}_output_{i}" for i in range(num_outputs)])
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, name=name, **attributes))
        for output in outputs:
            if inputs and inputs[0] in self.channels:
                self.channels[output] = self.channels[inputs[0]]
            if inputs and inputs[0] in self.activation_of:
                self.activation_of[output] = self.activation_of[inputs[0]]
        return outputs[0] if num_outputs == 1 else outputs

    # -- convolutional networks -------------------------------------------------------------

    def conv(self, x, out_channels, kernel, name, stride=1, groups=1, bias=False, gain=1.0,
             padding=None):
        """Square convolution; padding defaults to kernel // 2, and to 0 for patches."""
        in_channels = self.channels[x] // groups
        gain = gain * GAIN[self.activation_of.get(x, "linear")]
        weight = self.filters(f"{name}.weight", (out_channels, in_channels, kernel, kernel), gain)
        if padding is None:
            padding = 0 if kernel == stride else kernel // 2
        inputs = [x, weight]
        if bias:
            inputs.append(self.normal(f"{name}.bias", (out_channels,), 0.1))
        output = self.op("Conv", inputs, f"/{name}/Conv", kernel_shape=[kernel] * 2,
                         strides=[stride] * 2, pads=[padding] * 4, dilations=[1, 1], group=groups)
        self.channels[output] = out_channels
        self.activation_of[output] = "linear"
        return output

    def conv_transpose(self, x, out_channels, kernel, stride, name, padding=0, output_padding=0,
                       bias=False):
        """Square transposed convolution; stride * stride filter elements meet in one output."""
        shape = (out_channels, self.channels[x], kernel, kernel)
        gain = stride * GAIN[self.activation_of.get(x, "linear")]
        weight = self.filters(f"{name}.weight", shape, gain)
        self._transpose_last(1, 0, 2, 3)
        inputs = [x, weight]
        if bias:
            inputs.append(self.normal(f"{name}.bias", (out_channels,), 0.1))
        output = self.op("ConvTranspose", inputs, f"/{name}/ConvTranspose",
                         kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4,
                         output_padding=[output_padding] * 2, dilations=[1, 1], group=1)
        self.channels[output] = out_channels
        self.activation_of[output] = "linear"
        return output

    def batch_norm(self, x, name, scale=1.0):
        """Inference batch-norm whose statistics are near, but not at, mean 0 and variance 1."""
        count = self.channels[x]
        variance = 1.0 + 0.2 * np.tanh(self._draw(f"{name}.running_var", (count,)))
        inputs = [x,
                  self.normal(f"{name}.weight", (count,), 0.1 * scale, scale),
                  self.normal(f"{name}.bias", (count,), 0.1 * scale),
                  self.normal(f"{name}.running_mean", (count,), 0.1),
                  self.initializer(f"{name}.running_var", variance.astype(np.float32))]
        output = self.op("BatchNormalization", inputs, f"/{name}/BatchNormalization",
                         epsilon=1e-5, momentum=0.9)
        self.activation_of[output] = "linear"
        return output

    def activation(self, x, kind, name):
        """kind: relu, relu6, prelu, silu, hardswish, gelu (exact), tanh, linear (no node)."""
        if kind == "linear":
            return x
        if kind == "relu":
            output = self.op("Relu", [x], f"/{name}/Relu")
        elif kind == "relu6":
            low = self.constant(f"/{name}/Constant", 0.0)
            high = self.constant(f"/{name}/Constant_1", 6.0)
            output = self.op("Clip", [x, low, high], f"/{name}/Clip")
        elif kind == "prelu":
            slope = self.normal(f"{name}.weight", (self.channels[x], 1, 1), 0.05, PRELU_SLOPE)
            output = self.op("PRelu", [x, slope], f"/{name}/PRelu")
        elif kind == "silu":
            output = self.op("Mul", [x, self.op("Sigmoid", [x], f"/{name}/Sigmoid")],
                             f"/{name}/Mul")
        elif kind == "hardswish":
            output = self.op("HardSwish", [x], f"/{name}/HardSwish")
        elif kind == "gelu":
            output = self._gelu(x, name)
        else:
            output = self.op("Tanh", [x], f"/{name}/Tanh")
        self.activation_of[output] = kind
        return output

    def conv_bn(self, x, out_channels, kernel, name, stride=1, groups=1, activation="relu",
                scale=1.0, gain=1.0):
        """Conv, batch-norm, activation: children `.0`, `.1`, `.2` of `name`."""
        x = self.conv(x, out_channels, kernel, f"{name}.0", stride, groups, gain=gain)
        return self.activation(self.batch_norm(x, f"{name}.1", scale), activation, f"{name}.2")

    def squeeze_excite(self, x, squeezed, name, activation, gate):
        """x scaled per channel by a gate ("Sigmoid" or "HardSigmoid") of its global average."""
        pooled = self.op("GlobalAveragePool", [x], f"/{name}/avgpool/GlobalAveragePool")
        reduced = self.conv(pooled, squeezed, 1, f"{name}.fc1", bias=True)
        reduced = self.activation(reduced, activation, f"{name}.activation")
        expanded = self.conv(reduced, self.channels[x], 1, f"{name}.fc2", bias=True)
        attributes = {"alpha": 1.0 / 6.0} if gate == "HardSigmoid" else {}
        scale = self.op(gate, [expanded], f"/{name}/scale_activation/{gate}", **attributes)
        output = self.op("Mul", [scale, x], f"/{name}/Mul")
        self.activation_of[output] = self.activation_of.get(x, "linear")
        return output

    def add(self, x, y, name):
        output = self.op("Add", [x, y], f"/{name}/Add")
        self.activation_of[output] = "linear"
        return output

    def concat(self, tensors, name, axis=1):
        output = self.op("Concat", tensors, f"/{name}/Concat", axis=axis)
        self.channels[output] = sum(self.channels[t] for t in tensors)
        return output

    def pool(self, x, kind, kernel, stride, name, padding=0, ceil_mode=0):
        """kind: Max or Average."""
        extra = {"dilations": [1, 1]} if kind == "Max" else {"count_include_pad": 1}
        return self.op(f"{kind}Pool", [x], f"/{name}/{kind}Pool", kernel_shape=[kernel] * 2,
                       strides=[stride] * 2, pads=[padding] * 4, ceil_mode=ceil_mode, **extra)

    def classifier(self, x, classes, name):
        """GlobalAveragePool, Flatten, fully connected."""
        x = self.op("GlobalAveragePool", [x], "/avgpool/GlobalAveragePool")
        return self.fully_connected(self.op("Flatten", [x], "/Flatten", axis=1), classes, name)

    def fully_connected(self, x, out_features, name):
        """Gemm with the weight stored [out, in], as torch.nn.Linear of a matrix is exported."""
        gain = GAIN[self.activation_of.get(x, "linear")]
        weight = self.filters(f"{name}.weight", (out_features, self.channels[x]), gain)
        bias = self.normal(f"{name}.bias", (out_features,), 0.1)
        output = self.op("Gemm", [x, weight, bias], f"/{name}/Gemm", alpha=1.0, beta=1.0, transB=1)
        self.channels[output] = out_features
        self.activation_of[output] = "linear"
        return output

    # -- transformers -----------------------------------------------------------------------

    def linear(self, x, in_features, out_features, name, gain=1.0):
        """MatMul and Add, as torch.nn.Linear of a rank 3 tensor is exported."""
        weight = self.filters(f"{name}.weight", (out_features, in_features),
                              gain * GAIN[self.activation_of.get(x, "linear")])
        self._transpose_last(1, 0)
        product = self.op("MatMul", [x, weight], f"/{name}/MatMul")
        self.activation_of[product] = "linear"
        return self.op("Add", [self.normal(f"{name}.bias", (out_features,), 0.1), product],
                       f"/{name}/Add")

    def layer_norm(self, x, features, name, epsilon, decomposed):
        """Over the last axis; decomposed as exporters write it below opset 17."""
        scale = self.normal(f"{name}.weight", (features,), 0.1, 1.0)
        bias = self.normal(f"{name}.bias", (features,), 0.1)
        if not decomposed:
            return self.op("LayerNormalization", [x, scale, bias], f"/{name}/LayerNormalization",
                           axis=-1, epsilon=epsilon)
        mean = self.op("ReduceMean", [x], f"/{name}/ReduceMean", axes=[-1])
        centred = self.op("Sub", [x, mean], f"/{name}/Sub")
        two = self.constant(f"/{name}/Constant", 2.0)
        square = self.op("Pow", [centred, two], f"/{name}/Pow")
        variance = self.op("ReduceMean", [square], f"/{name}/ReduceMean_1", axes=[-1])
        offset = self.constant(f"/{name}/Constant_1", epsilon)
        deviation = self.op("Sqrt", [self.op("Add", [variance, offset], f"/{name}/Add")],
                            f"/{name}/Sqrt")
        normal = self.op("Div", [centred, deviation], f"/{name}/Div")
        return self.op("Add", [self.op("Mul", [normal, scale], f"/{name}/Mul"), bias],
                       f"/{name}/Add_1")

    def reshape(self, x, shape, name):
        """Axis 1 of the result becomes the channel count of `channels`."""
        output = self.op("Reshape", [x, self.constant(f"/{name}/Constant", shape, np.int64)],
                         f"/{name}/Reshape")
        if len(shape) > 1:
            self.channels[output] = shape[1]
        return output

    def transpose(self, x, permutation, name):
        return self.op("Transpose", [x], f"/{name}/Transpose", perm=permutation)

    # -- the end ----------------------------------------------------------------------------

    def model(self):
        graph = helper.make_graph(self.nodes, self.model_name, self.inputs, self.outputs,
                                  self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                                 ir_version=IR_VERSION, producer_name="corf-zoo")

    def filters(self, name, shape, gain):
        """Weights whose filters have norm `gain`, apart from their means (see the top)."""
        values = self._draw(name, shape)
        rows = values.reshape(shape[0], -1)
        if rows.shape[1] > 1:
            mean = rows.mean(axis=1, keepdims=True)
            rows -= np.float32(MEAN_REMOVED) * mean
            rows /= np.sqrt(((rows - mean * np.float32(1 - MEAN_REMOVED)) ** 2).sum(
                axis=1, keepdims=True))
        return self.initializer(name, values * np.float32(gain))

    def _transpose_last(self, *permutation):
        """Transposes the initializer added last, which is scaled by rows of outputs."""
        last = self.initializers[-1]
        array = numpy_helper.to_array(last).transpose(permutation)
        last.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), last.name))

    def _draw(self, name, shape):
        seed = zlib.crc32(f"{self.model_name}/{name}".encode())
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)

    def _gelu(self, x, name):
        root_two = self.constant(f"/{name}/Constant", np.sqrt(2.0))
        erf = self.op("Erf", [self.op("Div", [x, root_two], f"/{name}/Div")], f"/{name}/Erf")
        shifted = self.op("Add", [erf, self.constant(f"/{name}/Constant_1", 1.0)], f"/{name}/Add")
        product = self.op("Mul", [x, shifted], f"/{name}/Mul")
        return self.op("Mul", [product, self.constant(f"/{name}/Constant_2", 0.5)],
                       f"/{name}/Mul_1")


def write_model(model, path):
    """Writes through a temporary file, so that an interrupted run leaves no half-written model."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    onnx.save(model, partial)
    partial.replace(path)
