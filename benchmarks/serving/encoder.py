"""A text encoder of MiniLM's size (arXiv 2002.10957: 6 layers of width 384, 12 heads) over any number
of tokens, with its table of words; seeded weights.

Usage: encoder.py FILE.onnx
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, HEADS, WORDS = 6, 384, 12, 30522


class Graph:
    """Nodes and weights, as they are added."""

    def __init__(self):
        self.random = np.random.default_rng(0)
        self.nodes, self.weights = [], []

    def op(self, kind, inputs, **attributes):
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{output}",
                                           **attributes))
        return output

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def linear(self, x, rows, columns):
        scale = 1 / np.sqrt(rows)
        weights = self.random.normal(0, scale, (rows, columns)).astype(np.float32)
        y = self.op("MatMul", [x, self.constant(weights)])
        return self.op("Add", [y, self.constant(np.zeros(columns, np.float32))])

    def norm(self, x):
        ones, zeros = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
        return self.op("LayerNormalization", [x, self.constant(ones), self.constant(zeros)],
                       axis=-1, epsilon=1e-12)

    def heads(self, x, order):
        shape = self.constant(np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
        return self.op("Transpose", [self.op("Reshape", [x, shape])], perm=order)


def layer(g, x):
    query = g.heads(g.linear(x, WIDTH, WIDTH), [0, 2, 1, 3])
    key = g.heads(g.linear(x, WIDTH, WIDTH), [0, 2, 3, 1])
    value = g.heads(g.linear(x, WIDTH, WIDTH), [0, 2, 1, 3])
    scale = g.constant(np.array((WIDTH // HEADS) ** -0.5, np.float32))
    scores = g.op("Mul", [g.op("MatMul", [query, key]), scale])
    y = g.op("MatMul", [g.op("Softmax", [scores], axis=-1), value])
    y = g.op("Transpose", [y], perm=[0, 2, 1, 3])
    y = g.op("Reshape", [y, g.constant(np.array([0, 0, WIDTH], np.int64))])
    x = g.norm(g.op("Add", [x, g.linear(y, WIDTH, WIDTH)]))
    y = g.op("Gelu", [g.linear(x, WIDTH, 4 * WIDTH)])
    return g.norm(g.op("Add", [x, g.linear(y, 4 * WIDTH, WIDTH)]))


def encoder():
    g = Graph()
    words = g.random.normal(0, 1, (WORDS, WIDTH)).astype(np.float32)
    x = g.norm(g.op("Gather", [g.constant(words), "ids"], axis=0))
    for _ in range(LAYERS):
        x = layer(g, x)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "tokens"])
    y = helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, "tokens", WIDTH])
    graph = helper.make_graph(g.nodes, "encoder", [ids], [y], g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


if __name__ == "__main__":
    onnx.save(encoder(), sys.argv[1])
