"""Outputs of a model computed in float64: what both corf and ONNX Runtime approximate.

onnx.reference runs every operator in the type of its inputs, so a model whose constants and
inputs are float64 is evaluated in float64. The operators here replace those that onnx.reference
computes slowly or rounds to float32.
"""

import itertools

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


def truth(path, inputs):
    """{output name: array}, floats as float64. inputs: {name: array} of the model's own types."""
    model = to_float64(onnx.load(path))
    operators = [Conv, MaxPool, AveragePool, LayerNormalization, BatchNormalization, HardSwish,
                 Resize]
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < 13:
        operators.append(type("Softmax", (SoftmaxOfMatrix,), {}))
    evaluator = ReferenceEvaluator(model, new_ops=operators)
    feeds = {name: array.astype(np.float64) if array.dtype == np.float32 else array
             for name, array in inputs.items()}
    return dict(zip((output.name for output in model.graph.output), evaluator.run(None, feeds)))


def to_float64(model):
    """The model with every float32 constant and cast turned into float64."""
    graph = model.graph
    for tensor in graph.initializer:
        _widen(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            elif node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
            elif attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                raise NotImplementedError(f"{node.name}: control flow")
    for value in itertools.chain(graph.input, graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]
    return model


def _widen(tensor):
    if tensor.data_type == TensorProto.FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


class Windows:
    """The taps of a 2-D convolution or pooling, each as a strided view of the padded input.

    Source: the formulas of output shape and padding in ONNX's Conv and AveragePool.
    """

    def __init__(self, x, kernel, strides, pads, dilations, auto_pad, ceil_mode, fill):
        if x.ndim != 4:
            raise NotImplementedError(f"windows over {x.ndim - 2} spatial axes")
        self.kernel = list(kernel)
        self.strides = list(strides or [1, 1])
        self.dilations = list(dilations or [1, 1])
        begin, end = self._padding(x.shape[2:], list(pads or [0] * 4), auto_pad)
        self.out = []
        for axis in range(2):
            span = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            room = x.shape[2 + axis] + begin[axis] + end[axis] - span
            steps = -(-room // self.strides[axis]) if ceil_mode else room // self.strides[axis]
            if ceil_mode and steps * self.strides[axis] >= x.shape[2 + axis] + begin[axis]:
                steps -= 1  # a window may not start in the padding at the end
            end[axis] += max(0, steps * self.strides[axis] - room)
            self.out.append(steps + 1)
        self.padded = np.pad(x, [(0, 0), (0, 0), (begin[0], end[0]), (begin[1], end[1])],
                             constant_values=fill)

    def __iter__(self):
        """Pairs of (i, j) in the kernel and the input under it, shaped [n, c, h_out, w_out]."""
        for tap in itertools.product(*map(range, self.kernel)):
            start = [tap[axis] * self.dilations[axis] for axis in range(2)]
            stop = [start[axis] + self.strides[axis] * (self.out[axis] - 1) + 1
                    for axis in range(2)]
            yield tap, self.padded[:, :, start[0]:stop[0]:self.strides[0],
                                   start[1]:stop[1]:self.strides[1]]

    def _padding(self, size, pads, auto_pad):
        if auto_pad in (None, "", "NOTSET"):
            return pads[:2], pads[2:]
        if auto_pad == "VALID":
            return [0, 0], [0, 0]
        begin, end = [], []
        for axis in range(2):
            out = -(-size[axis] // self.strides[axis])
            span = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            total = max(0, (out - 1) * self.strides[axis] + span - size[axis])
            low = (total + 1) // 2 if auto_pad == "SAME_LOWER" else total // 2
            begin.append(low)
            end.append(total - low)
        return begin, end


class Conv(OpRun):
    def _run(self, x, weight, bias=None, auto_pad=None, dilations=None, group=None,
             kernel_shape=None, pads=None, strides=None):
        windows = Windows(x, weight.shape[2:], strides, pads, dilations, auto_pad, False, 0.0)
        groups = group or 1
        filters = weight.reshape(groups, -1, *weight.shape[1:])
        result = 0.0
        for (i, j), view in windows:
            view = view.reshape(len(x), groups, weight.shape[1], -1)
            tap = filters[:, :, :, i, j]
            # One channel per group: a scaled copy, where a batched product would crawl.
            result = result + (tap * view if tap.shape[1:] == (1, 1) else tap @ view)
        result = result.reshape(len(x), len(weight), *windows.out)
        return (result if bias is None else result + bias[:, None, None],)


class MaxPool(OpRun):
    def _run(self, x, auto_pad=None, ceil_mode=None, dilations=None, kernel_shape=None, pads=None,
             storage_order=None, strides=None):
        windows = Windows(x, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode, -np.inf)
        result = -np.inf
        for _, view in windows:
            result = np.maximum(result, view)
        return (result,)


class AveragePool(OpRun):
    def _run(self, x, auto_pad=None, ceil_mode=None, count_include_pad=None, dilations=None,
             kernel_shape=None, pads=None, strides=None):
        if ceil_mode and count_include_pad:
            raise NotImplementedError("AveragePool with both ceil_mode and count_include_pad")
        arguments = (kernel_shape, strides, pads, dilations, auto_pad, ceil_mode, 0.0)
        total = sum(view for _, view in Windows(x, *arguments))
        if count_include_pad:
            return (total / np.prod(kernel_shape),)
        count = sum(view for _, view in Windows(np.ones_like(x[:1, :1]), *arguments))
        return (total / count,)


class LayerNormalization(OpRun):
    def _run(self, x, scale, bias=None, axis=None, epsilon=None, stash_type=None):
        axes = tuple(range(axis % x.ndim, x.ndim))
        centred = x - x.mean(axis=axes, keepdims=True)
        variance = (centred * centred).mean(axis=axes, keepdims=True)
        result = centred / np.sqrt(variance + epsilon) * scale
        return (result if bias is None else result + bias,)


class BatchNormalization(OpRun):
    def _run(self, x, scale, bias, mean, variance, epsilon=None, momentum=None, spatial=None,
             training_mode=None):
        per_channel = (slice(None),) + (None,) * (x.ndim - 2)
        factor = scale / np.sqrt(variance + epsilon)
        return (x * factor[per_channel] + (bias - mean * factor)[per_channel],)


class HardSwish(OpRun):
    def _run(self, x):
        return (x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),)


class Resize(OpRun):
    """Nearest neighbour, the coordinates being rounded down after an asymmetric scaling."""

    def _run(self, x, roi=None, scales=None, sizes=None, coordinate_transformation_mode=None,
             mode=None, nearest_mode=None, **others):
        if (coordinate_transformation_mode, mode, nearest_mode) != ("asymmetric", "nearest",
                                                                    "floor"):
            raise NotImplementedError(f"Resize {coordinate_transformation_mode} {mode}")
        if scales is None or not len(scales):
            scales = [size / extent for size, extent in zip(sizes, x.shape)]
        for axis, scale in enumerate(scales):
            steps = np.arange(int(np.floor(x.shape[axis] * scale)))
            x = x.take(np.minimum(steps / scale, x.shape[axis] - 1).astype(np.int64), axis=axis)
        return (x,)


class SoftmaxOfMatrix(OpRun):
    """Softmax before opset 13: over all axes from `axis` on, by default from the second."""

    op_domain = ""

    def _run(self, x, axis=None):
        # Where the node has no axis, the argument is the default of the newest opset.
        axis = next((each.i for each in self.onnx_node.attribute if each.name == "axis"), 1)
        axes = tuple(range(axis % x.ndim, x.ndim))
        powers = np.exp(x - x.max(axis=axes, keepdims=True))
        return (powers / powers.sum(axis=axes, keepdims=True),)
