"""Small models for the tests of the Python package, and what they should give."""

import numpy as np
from onnx import TensorProto, helper

from corf_command import constant, linear_model, make_model, value

WEIGHTS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
SHIFT = np.array([0.5, -100], np.float32)


def linear(x):
    """What linear_model computes."""
    return np.maximum(x @ WEIGHTS + SHIFT, 0)


def two_outputs():
    """sum = a + b, flags = a < b; a f32 [2, n], b f32 [2, n]."""
    return make_model(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Less", ["a", "b"], ["flags"])],
        [value("a", [2, "n"]), value("b", [2, "n"])],
        [value("sum", [2, "n"]), value("flags", [2, "n"], TensorProto.BOOL)])


def copies(dtype):
    """y = x + x of a type, [4]."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    node = helper.make_node("Or" if dtype == np.bool_ else "Add", ["x", "x"], ["y"])
    return make_model([node], [value("x", [4], kind)], [value("y", [4], kind)], opset=14)


def reshaped_by_input():
    """y = reshape(x, shape): the shape is known with the input's values only."""
    return make_model([helper.make_node("Reshape", ["x", "shape"], ["y"])],
                      [value("x", [6]), value("shape", [2], TensorProto.INT64)],
                      [value("y", ["a", "b"])])


def positions_of_nonzeros():
    """y = the positions of x's elements that differ from zero: as many as the data say."""
    return make_model([helper.make_node("NonZero", ["x"], ["where"]),
                       helper.make_node("Reshape", ["where", "flat"], ["y"])],
                      [value("x", [4])], [value("y", ["k"], TensorProto.INT64)],
                      [constant("flat", np.array([-1]))])


def branch_by_input():
    """y = x + 1 where rate is 16000, else the first two elements of x: branches of two shapes."""
    then = helper.make_graph([helper.make_node("Add", ["x", "one"], ["then_y"])], "then", [],
                             [value("then_y", ["n"])], [constant("one", np.float32(1))])
    otherwise = helper.make_graph(
        [helper.make_node("Slice", ["x", "zero", "two"], ["else_y"])], "else", [],
        [value("else_y", ["m"])],
        [constant("zero", np.array([0])), constant("two", np.array([2]))])
    return make_model(
        [helper.make_node("Equal", ["rate", "wanted"], ["is_wanted"]),
         helper.make_node("If", ["is_wanted"], ["y"], then_branch=then, else_branch=otherwise)],
        [value("x", [4]), value("rate", [], TensorProto.INT64)], [value("y", ["k"])],
        [constant("wanted", np.int64(16000))])


def large(extent=1024):
    """y = relu(x w): takes milliseconds."""
    weights = np.full((extent, extent), 1 / extent, np.float32)
    return make_model([helper.make_node("MatMul", ["x", "w"], ["p"]),
                       helper.make_node("Relu", ["p"], ["y"])],
                      [value("x", [extent, extent])], [value("y", [extent, extent])],
                      [constant("w", weights)])


__all__ = ["branch_by_input", "copies", "large", "linear", "linear_model", "reshaped_by_input",
           "two_outputs"]
