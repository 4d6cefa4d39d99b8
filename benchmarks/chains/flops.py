"""The arithmetic of a chain, computed directly."""


def chain_flops(chain):
    """Two for each multiplication and addition of the complex operators of a chain.

    Softmax, activations and biases are left out.
    """
    return 2 * {"conv": _conv, "gemm": _gemm, "attention": _attention}[chain["kind"]](chain)


def _conv(chain):
    batch, channels, size, _ = chain["input"]
    products = 0
    for layer in chain["layers"]:
        size = (size - 1) // layer["stride"] + 1
        reduced = 1 if layer["op"] == "dwconv" else channels
        channels = layer["out_channels"]
        products += batch * channels * size * size * reduced * layer["kernel"] ** 2
    return products


def _gemm(chain):
    return chain["m"] * chain["n"] * (chain["k"] + chain["l"])


def _attention(chain):
    return 2 * chain["heads"] * chain["seq"] ** 2 * chain["head_dim"]
