"""What follows from a chain's entry in chains.json alone."""

import math

FLOAT_BYTES = 4


def chain_flops(chain):
    """Two for each multiplication and addition of the complex operators, computed directly.

    Softmax, activations and biases are left out.
    """
    return 2 * {"conv": _conv, "gemm": _gemm, "attention": _attention}[chain["kind"]](chain)


def complex_operators(chain):
    """Names of the complex operators' nodes, in order."""
    if chain["kind"] == "conv":
        return [f"/layer{i}/Conv" for i in range(len(chain["layers"]))]
    if chain["kind"] == "gemm":
        return [f"/{name}/{'Gemm' if chain['bias'] else 'MatMul'}" for name in ("fc1", "fc2")]
    return ["/MatMul", "/MatMul_1"]


def intermediate_bytes(chain):
    """Bytes of the tensor between each complex operator and the next."""
    if chain["kind"] == "conv":
        return [math.prod(shape) * FLOAT_BYTES for shape in _layer_shapes(chain)[:-1]]
    if chain["kind"] == "gemm":
        return [chain["m"] * chain["n"] * FLOAT_BYTES]
    return [chain["heads"] * chain["seq"] ** 2 * FLOAT_BYTES]


def fused_links(chain, kernels):
    """For each intermediate, whether one of the kernels holds its producer and its consumer.

    A kernel is its label in `corf bench --profile`: stages joined by "->", each named after its
    first node; the stages of Winograd's method add a suffix to the convolution's name.
    """
    groups = [{_node(stage) for stage in label.split(" -> ")} for label in kernels]
    names = complex_operators(chain)
    return [any({producer, consumer} <= group for group in groups)
            for producer, consumer in zip(names, names[1:])]


def _node(stage):
    return stage.split(" +")[0].split(".")[0]


def _layer_shapes(chain):
    batch, _, size, _ = chain["input"]
    shapes = []
    for layer in chain["layers"]:
        size = (size - 1) // layer["stride"] + 1
        shapes.append((batch, layer["out_channels"], size, size))
    return shapes


def _conv(chain):
    channels, products = chain["input"][1], 0
    for layer, shape in zip(chain["layers"], _layer_shapes(chain)):
        reduced = 1 if layer["op"] == "dwconv" else channels
        products += math.prod(shape) * reduced * layer["kernel"] ** 2
        channels = layer["out_channels"]
    return products


def _gemm(chain):
    return chain["m"] * chain["n"] * (chain["k"] + chain["l"])


def _attention(chain):
    return 2 * chain["heads"] * chain["seq"] ** 2 * chain["head_dim"]
